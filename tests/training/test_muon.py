"""Muon on many matrices together, beside timm's own."""

import copy
from itertools import chain

import pytest
import timm.optim
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from deepfake_lit.models.build import build_model
from deepfake_lit.settings.kinds import MuonConfig, WhiteningCNNConfig
from deepfake_lit.training import muon
from deepfake_lit.training.optimizers import build_optimizer


def gradients(net: nn.Module, step: int) -> None:
    torch.manual_seed(step)
    for p in net.parameters():
        p.grad = torch.randn_like(p) if p.requires_grad else None


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return build_model(WhiteningCNNConfig(width=0.25), 3, 5).to(memory_format=torch.channels_last)


def trained(net: nn.Module, classes: list[type], steps: int = 4):
    """A copy of the network and its optimizer after some steps, each with the next of the classes."""
    net = copy.deepcopy(net)
    optimizer = build_optimizer(MuonConfig(lr=0.01, weight_decay=0.05), net)
    for step in range(steps):
        optimizer.__class__ = classes[step % len(classes)]
        gradients(net, step)
        optimizer.step()
        assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    return net, optimizer


def furthest(net: nn.Module, other: nn.Module) -> float:
    return max((a - b).abs().max().item() for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_weights_and_state_are_timm_s_bit_for_bit_on_a_cpu(net):
    """In turn, too: a run of before goes on with the state that timm's has left."""
    theirs, expected = trained(net, [timm.optim.Muon])
    for classes in ([muon.Muon], [timm.optim.Muon, muon.Muon]):
        ours, optimizer = trained(net, classes)
        assert furthest(ours, theirs) == 0
        state, other = optimizer.state_dict(), expected.state_dict()
        assert state["param_groups"] == other["param_groups"]
        assert state["state"].keys() == other["state"].keys()
        for place, values in state["state"].items():
            assert values.keys() == other["state"][place].keys()
            assert all(
                torch.equal(torch.as_tensor(v), torch.as_tensor(other["state"][place][k])) for k, v in values.items()
            )


def test_padded_matrices_give_the_same_weights_within_rounding(net, monkeypatch):
    """As on a GPU; the updates are rounded to 8 bits."""
    theirs, _ = trained(net, [timm.optim.Muon])
    together = muon.together
    monkeypatch.setattr(muon, "together", lambda shapes, _: together(shapes, muon.PADDED))
    ours, _ = trained(net, [muon.Muon])
    moved = furthest(net, theirs)
    assert furthest(ours, theirs) < 0.01 * moved


class Products(TorchDispatchMode):
    """Counts products of matrices, or of batches of them."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += function.__name__ in ("addmm.out", "baddbmm.out")
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize(("padded", "expected"), [(0, 6 * 15), (muon.PADDED, 15)])
def test_matrices_together_take_fewer_products(net, monkeypatch, padded, expected):
    """Seven matrices, two of one shape; five iterations of three products."""
    together = muon.together
    monkeypatch.setattr(muon, "together", lambda shapes, _: together(shapes, padded))
    net, optimizer = trained(net, [muon.Muon], steps=1)
    gradients(net, 1)
    with Products() as products:
        optimizer.step()
    assert products.count == expected


def test_what_is_worked_on_together():
    shapes = [(64, 54), (54, 64), (64, 576), (64, 576), (256, 2304), (4096, 25088)]
    assert muon.together(shapes, 0) == [[0, 1], [2, 3], [4], [5]]
    assert muon.together(shapes, 2**22) == [[0, 1, 2, 3, 4], [5]]
    assert sorted(chain.from_iterable(muon.together(shapes, 10**5))) == list(range(6))


def test_zeros_around_a_matrix_change_nothing():
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((8, 20), (30, 6), (8, 8))]
    settings = (5, [(2.0, -1.5, 0.5)], 1e-7, 1.0)
    alone = [muon.orthogonal([m], *settings)[0] for m in matrices]
    for a, b in zip(muon.orthogonal(matrices, *settings), alone, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, atol=0.02, rtol=0)
