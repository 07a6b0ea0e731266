"""Combinations of the logits of several networks.

Report A's: concatenated logits, a linear layer to 64 units, ReLU, dropout 0.3, and a linear layer to the classes.
"""

import math

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Frozen networks and a module that combines their logits (B, M, K) into log-probabilities or logits (B, K).

    The members stay in eval mode, whatever the mode of the ensemble: their dropout is off, and their batch-norm
    statistics do not change. Report A's code froze only the weights.
    """

    def __init__(self, members: list[nn.Module], combiner: nn.Module):
        super().__init__()
        self.members, self.combiner = nn.ModuleList(members).requires_grad_(False), combiner
        self.train()

    def train(self, mode: bool = True) -> "Ensemble":
        super().train(mode)
        self.members.eval()
        return self

    def forward(self, logits: Tensor) -> Tensor:
        return self.combiner(logits)


class Head(nn.Sequential):
    """Report A's trained head on the concatenated logits."""

    def __init__(self, members: int, classes: int, hidden: int, dropout: float):
        super().__init__(
            nn.Flatten(),
            nn.Linear(members * classes, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )


class Mean(nn.Module):
    """Logarithm of the mean of the members' probabilities."""

    def forward(self, logits: Tensor) -> Tensor:
        return torch.logsumexp(torch.log_softmax(logits.float(), 2), 1) - math.log(logits.shape[1])


class WeightedMean(nn.Module):
    """Log of the weighted mean of the members' probabilities. Fitted weights are positive, sum to 1 and start equal."""

    def __init__(self, members: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(members))

    def forward(self, logits: Tensor) -> Tensor:
        weights = torch.log_softmax(self.logits, 0)
        return torch.logsumexp(torch.log_softmax(logits.float(), 2) + weights[:, None], 1)


class Vote(nn.Module):
    """Logarithm of each class's share of the members' votes. The larger mean probability breaks a tie."""

    TIE = 0.01  # weight of the mean probability, in votes

    def forward(self, logits: Tensor) -> Tensor:
        p = torch.softmax(logits.float(), 2)
        votes = nn.functional.one_hot(p.argmax(2), p.shape[2]).to(p.dtype)
        return ((votes.sum(1) + self.TIE * p.mean(1)) / (p.shape[1] + self.TIE)).log()


def build_combiner(cfg, members: int, classes: int) -> nn.Module:
    """Build the combiner of an `EnsembleConfig`. A head is initialised from torch's generator."""
    return {
        "head": lambda: Head(members, classes, cfg.hidden, cfg.dropout),
        "mean": Mean,
        "weighted_mean": lambda: WeightedMean(members),
        "vote": Vote,
    }[cfg.combine]()
