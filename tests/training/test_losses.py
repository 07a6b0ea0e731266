"""The loss: one formula, against a per-sample reference and against torch."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from deepfake_lit.training.losses import resolve_class_weights, soft_cross_entropy

B, K = 7, 5


def reference(logits, targets, weights, smoothing):
    """The formula of losses.py, sample by sample and class by class, in Python floats."""
    above = below = 0.0
    for z, t in zip(logits.tolist(), targets.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(v) for v in z))
        for k in range(K):
            smooth = (1 - smoothing) * t[k] + smoothing / K
            above += weights[k] * smooth * (log_sum - z[k])
            below += weights[k] * t[k]
    return above / below


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 1.0, 1.0, 2.7], [0.5, 0.0, 3.0, 1.0, 1.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_against_a_per_sample_reference(weights, smoothing, soft):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(B, K, generator=generator) * 3
    labels = torch.randint(0, K, (B,), generator=generator)
    targets = F.one_hot(labels, K).float()
    if soft:
        targets = torch.lerp(targets, targets.roll(1, 0), 0.3)
    w = None if weights is None else torch.tensor(weights)
    loss = soft_cross_entropy(logits, targets, w, smoothing)
    assert loss.item() == pytest.approx(reference(logits, targets, weights or [1.0] * K, smoothing), rel=1e-5)
    if not soft:
        expected = F.cross_entropy(logits, labels, weight=w, label_smoothing=smoothing)
        torch.testing.assert_close(loss, expected)


def test_continuous_between_hard_and_soft_targets():
    """Where torch jumps: with weights its mean divides by their sum for labels, by B for probabilities."""
    logits, w = torch.randn(B, K), torch.tensor([1.0, 1.0, 1.0, 1.0, 2.7])
    hard = F.one_hot(torch.full((B,), 4), K).float()
    nearly = torch.lerp(hard, hard.roll(1, 1), 1e-6)
    torch.testing.assert_close(soft_cross_entropy(logits, nearly, w), soft_cross_entropy(logits, hard, w))


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.randn(B, K)
    targets = F.one_hot(torch.arange(B) % K, K).float()
    loss = soft_cross_entropy(logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, soft_cross_entropy(logits.bfloat16().float(), targets))


def test_class_weight_settings():
    counts = [10, 20, 10]
    assert resolve_class_weights(None, counts) is None
    assert resolve_class_weights([1, 2, 3.5], counts) == [1.0, 2.0, 3.5]
    assert resolve_class_weights({"focus": {2: 2.7}}, counts) == [1.0, 1.0, 2.7]
    labels = np.repeat([0, 1, 2], counts)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert resolve_class_weights("balanced", counts) == pytest.approx(list(expected))
