"""Muon on many matrices together."""

from collections.abc import Callable
from typing import Any

import timm.optim
import torch
from timm.optim.muon import _COEFFICIENTS as COEFFICIENTS
from timm.optim.muon import get_lr_scale, resolve_ns_coefficients, zeropower_via_newtonschulz
from torch import Tensor

from deepfake_lit.training.graphs import recorded

PADDED = 2**22  # most elements of matrices that are padded to one shape; of more, a GPU waits for the arithmetic


class Muon(timm.optim.Muon):
    """timm's Muon, with the same state and the same arithmetic, in fewer operations.

    Momentum and decay of all matrices are one operation each. Matrices of one shape are orthogonalised as one batch. On
    a GPU, which waits for the start of each operation, small ones of different shapes are padded with zeros to one, and
    all of this is one CUDA graph.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._recorded: dict[tuple[int, ...], Callable] = {}  # by the weights' identity

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        held: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            # timm's first step decides which weights are matrices, and makes their state.
            known = [p for p in group["params"] if p.grad is not None and "momentum_buffer" in self.state[p]]
            if known:
                self._update(known, group)
            held += [(p, p.grad) for p in known]
        for p, _ in held:
            p.grad = None
        super().step()  # the other weights
        for p, gradient in held:
            p.grad = gradient
        return loss

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        gradients, averages = [p.grad for p in weights], [self.state[p]["momentum_buffer"] for p in weights]
        torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, averages, momentum)  # Nesterov's
        for p, matrix in zip(weights, self._orthogonal(weights, updates, group), strict=True):
            rate = lr * get_lr_scale((len(p), p[0].numel()), group["adjust_lr_fn"])
            p.add_(matrix.reshape(p.shape), alpha=-rate)

    def _orthogonal(self, weights: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Return the weights' updates as orthogonal matrices; on a GPU all of it is started at once."""
        coefficients = resolve_ns_coefficients(group["ns_coefficients"], COEFFICIENTS)
        settings = (group["ns_steps"], coefficients, group["eps"], group["safety_factor"])
        on_cpu = weights[0].device.type == "cpu"
        groups = together([(len(p), p[0].numel()) for p in weights], 0 if on_cpu else PADDED)

        def all_of_them(*updates: Tensor) -> list[Tensor]:
            found: dict[int, Tensor] = {}
            for places in groups:
                found |= zip(places, orthogonal([updates[i].flatten(1) for i in places], *settings), strict=True)
            return [found[i] for i in range(len(updates))]

        if on_cpu:
            return all_of_them(*updates)
        key = tuple(id(p) for p in weights)
        if key not in self._recorded:
            self._recorded[key] = recorded(all_of_them, *updates)
        return self._recorded[key](*updates)


def together(shapes: list[tuple[int, int]], padded: int) -> list[list[int]]:
    """Group the places of matrices: those of one shape, and others while all have at most `padded` elements padded."""
    lying = [(min(shape), max(shape)) for shape in shapes]
    groups: list[list[int]] = []
    for i in sorted(range(len(shapes)), key=lambda i: lying[i]):
        if groups:
            rows, columns = (max(lying[k][axis] for k in (*groups[-1], i)) for axis in (0, 1))
            alike = lying[groups[-1][0]] == lying[groups[-1][-1]] == lying[i]
            if alike or (len(groups[-1]) + 1) * rows * columns <= padded:
                groups[-1].append(i)
                continue
        groups.append([i])
    return groups


def orthogonal(matrices: list[Tensor], *settings: Any) -> list[Tensor]:
    """Return the nearest orthogonal matrices, bfloat16 of the same shapes, by Newton and Schulz's iteration.

    Rows and columns of zeros stay zero in it, and change nothing else.

    Args:
        settings: those of timm's function, from the number of iterations on.
    """
    if len(matrices) == 1:
        return [zeropower_via_newtonschulz(matrices[0], *settings)]
    lying = [m.mT if m.shape[0] > m.shape[1] else m for m in matrices]
    height, width = (max(m.shape[axis] for m in lying) for axis in (0, 1))
    batch = lying[0].new_zeros(len(lying), height, width, dtype=torch.bfloat16)
    for place, m in zip(batch, lying, strict=True):
        place[: m.shape[0], : m.shape[1]] = m
    found = zeropower_via_newtonschulz(batch, *settings)
    parts = [place[: m.shape[0], : m.shape[1]] for place, m in zip(found, lying, strict=True)]
    return [part if part.shape == m.shape else part.mT for part, m in zip(parts, matrices, strict=True)]
