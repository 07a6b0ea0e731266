r"""Cross-entropy with class weights, label smoothing and soft targets, as one formula.

For a batch of targets t_i (one-hot, or mixtures of one-hot vectors after CutMix and MixUp; each sums to 1), class
weights w, smoothing e and K classes:

    s_ik = (1 - e) t_ik + e / K
    loss = sum_i sum_k  w_k s_ik (-log p_ik)  /  sum_i sum_k w_k t_ik

For hard targets this is exactly torch's `cross_entropy(weight=w, label_smoothing=e)`. For soft targets torch divides
by the batch size instead. Unless all weights are 1, this gives the loss of a mixed batch another scale than that of a
plain batch. The denominator above is continuous between the two.
"""

from typing import Any

import torch
from torch import Tensor


def soft_cross_entropy(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean loss of a batch, computed in float32.

    Args:
        logits: float (B, K).
        targets: float (B, K), each row sums to 1.
        class_weights: float (K,), or None for all ones.
    """
    log_p = torch.log_softmax(logits.float(), 1)
    smooth = targets * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    if class_weights is None:
        return -(smooth * log_p).sum() / len(logits)
    return -(smooth * log_p * class_weights).sum() / (targets * class_weights).sum()


def resolve_class_weights(setting: Any, counts: list[int]) -> list[float] | None:
    """Return one weight per class for a checked `loss.class_weights`, or None.

    Args:
        setting: None; a list of numbers; "balanced", which is N / (K n_k) as in scikit-learn; or
            {"focus": {class: weight}}, which gives every other class the weight 1.
        counts: number of training images of each class.
    """
    if setting is None:
        return None
    if setting == "balanced":
        return [sum(counts) / (len(counts) * n) for n in counts]
    if isinstance(setting, list):
        return [float(weight) for weight in setting]
    weights = {int(label): float(weight) for label, weight in setting["focus"].items()}
    return [weights.get(label, 1.0) for label in range(len(counts))]
