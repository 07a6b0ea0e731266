r"""Cross-entropy with class weights, label smoothing and soft targets, as one formula.

For a batch of targets t_i (one-hot, or mixtures of one-hot vectors after CutMix and MixUp; each sums to 1), class
weights w, smoothing e and K classes:

    s_ik = (1 - e) t_ik + e / K
    loss = sum_i sum_k  w_k s_ik (-log p_ik)  /  sum_i sum_k w_k t_ik

For hard targets this is exactly torch's `cross_entropy(weight=w, label_smoothing=e)`. For soft targets torch divides
by the batch size instead, which makes the loss of a mixed batch differ in scale from that of a plain one as soon as
the weights are not all 1; the denominator above is continuous between the two.
"""

import torch
from torch import Tensor

from deepfake_lit.core.errors import UserError


def soft_cross_entropy(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean loss of a batch, computed in float32.

    Args:
        logits: (B, K).
        targets: float (B, K), rows sum to 1.
        class_weights: float (K,), or None for all ones.
    """
    log_p = torch.log_softmax(logits.float(), 1)
    smooth = targets * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    if class_weights is None:
        return -(smooth * log_p).sum() / len(logits)
    return -(smooth * log_p * class_weights).sum() / (targets * class_weights).sum()


def resolve_class_weights(setting, counts: list[int]) -> list[float] | None:
    """Weights a class from `loss.class_weights`.

    Args:
        setting: None; a list of numbers; "balanced", which is N / (K n_k) as in scikit-learn; or
            {"focus": {class: weight}}, every other class 1.
        counts: training images of each class.

    Raises:
        UserError: anything else, or a list of another length than the classes.
    """
    k = len(counts)
    if setting is None:
        return None
    if setting == "balanced":
        return [sum(counts) / (k * n) for n in counts]
    if isinstance(setting, dict) and set(setting) == {"focus"} and isinstance(setting["focus"], dict):
        weights = [1.0] * k
        for label, weight in setting["focus"].items():
            if not str(label).isdigit() or int(label) >= k:
                raise UserError(f"loss.class_weights.focus names class {label!r}; the classes are 0..{k - 1}")
            weights[int(label)] = weight
    elif isinstance(setting, list):
        weights = setting
    else:
        raise UserError(f"loss.class_weights={setting!r} is neither a list, nor balanced, nor {{focus: {{4: 2.7}}}}")
    if len(weights) != k:
        raise UserError(f"loss.class_weights has {len(weights)} numbers for {k} classes")
    if any(not isinstance(w, int | float) or w < 0 for w in weights) or sum(weights) == 0:
        raise UserError("loss.class_weights must be numbers of 0 or more, not all 0")
    return [float(w) for w in weights]
