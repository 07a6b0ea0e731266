"""Training with a compiled network: the same curve, the same files, and one line where it cannot be compiled."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.faults import differences
from helpers.kills import Killed, kill_at

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.results.result import Result
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.identity import fingerprint
from deepfake_lit.training import compiled
from deepfake_lit.training.run import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings_of(settings, tmp_path_factory):
    """Two epochs of four steps, the last of 10 images; with dropout, batch norm and a moving average."""
    output = tmp_path_factory.mktemp("compiled")
    common = [*settings, "model=residual_cnn", "model.width=0.125", "data.batch_size=30", "trainer.ema=0.5"]
    return lambda name, *more: compose([*common, f"output_dir={output / name}", *more])


@pytest.fixture(scope="module")
def plain(settings_of) -> Result:
    return run(settings_of("plain", "trainer.compile=off")).main


def backend(monkeypatch, function) -> None:
    monkeypatch.setattr(compiled, "HOW", {"backend": function})
    torch._dynamo.reset()


def close(result: Result, other: Result, tolerance: float) -> bool:
    names = ("train/loss", "val/loss")
    pairs = zip(result.history, other.history, strict=True)
    return all(abs(a[name] - b[name]) <= tolerance * b[name] for a, b in pairs for name in names)


def test_whole_batches_run_compiled_and_nothing_else_changes(settings_of, plain, monkeypatch, capsys):
    sizes = []

    def counted(graph, inputs):
        images = next(i for i, value in enumerate(inputs) if value.dim() == 4 and value.shape[1:] == (3, 32, 32))
        return lambda *arguments: sizes.append(len(arguments[images])) or graph(*arguments)

    backend(monkeypatch, counted)
    result = run(settings_of("compiled", "trainer.compile=on")).main
    assert sizes == [30] * (compiled.WARM_UP + 2 * 3)
    assert (result.hardware["compiled"], plain.hardware["compiled"]) == (True, False)
    assert result.history[-1]["train/loss"] == plain.history[-1]["train/loss"]
    assert differences(Path(result.folder), Path(plain.folder)) == []
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (read_checkpoint(Path(r.folder) / name) for r in (result, plain))
        assert ours.keys() == theirs.keys()
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert "the network is compiled" in capsys.readouterr().err


def without_graphs(monkeypatch) -> list[int]:
    """Let a CPU take the way of a GPU, each step done anew in place of a replay; return the sizes of the batches."""
    sizes = []

    def recorded(function, *inputs):
        function(*inputs)
        return lambda *given: sizes.append(len(given[0])) or function(*given)

    monkeypatch.setattr(compiled, "recorded", recorded)
    monkeypatch.setattr(compiled, "in_one_graph", lambda trainer, module: True)
    backend(monkeypatch, "eager")
    return sizes


@pytest.mark.parametrize(
    "more", [[], ["trainer.gradient_clip=0.1", "optimizer=muon"], ["loss.class_weights=[1,2,3,1,1]"]]
)
def test_both_passes_in_one_call_give_the_same_run(more, settings_of, plain, monkeypatch):
    """With an epoch's smaller last batch between them, whose gradients lie elsewhere."""
    other = run(settings_of("apart", "trainer.compile=off", *more)).main if more else plain
    sizes = without_graphs(monkeypatch)
    result = run(settings_of("together", "trainer.compile=on", *more)).main
    assert sizes == [30] * 2 * 3
    assert result.hardware["compiled"]
    assert result.history[-1]["train/loss"] == other.history[-1]["train/loss"]
    assert differences(Path(result.folder), Path(other.folder)) == []


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_the_curve_is_the_same_within_rounding(settings_of, plain, monkeypatch):
    """By the compiler that a user gets."""
    torch._dynamo.reset()
    result = run(settings_of("inductor", "trainer.compile=on", "trainer.precision=fp32")).main
    assert result.hardware["compiled"]
    exact = run(settings_of("exact", "trainer.compile=off", "trainer.precision=fp32")).main
    assert close(result, exact, 1e-3)


def test_a_killed_run_goes_on_compiled(settings_of, monkeypatch):
    backend(monkeypatch, "aot_eager")
    whole = run(settings_of("whole", "trainer.compile=on", "trainer.checkpoint_minutes=0")).main
    with monkeypatch.context() as patch:
        kill_at(patch, 1, 2)
        with pytest.raises(Killed):
            run(settings_of("killed", "trainer.compile=on", "trainer.checkpoint_minutes=0"))
    assert differences(Path(run(settings_of("killed", "trainer.compile=on")).main.folder), Path(whole.folder)) == []


def test_what_cannot_be_compiled_is_one_line_and_trains_on(settings_of, plain, monkeypatch, capsys):
    def broken(graph, inputs):
        raise OSError("no compiler was found\nwith many lines\nof advice")

    backend(monkeypatch, broken)
    result = run(settings_of("broken", "trainer.compile=on")).main
    assert not result.hardware["compiled"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "trainer.compile" in line]
    assert len(lines) == 1
    assert "many lines" not in lines[0]
    assert differences(Path(result.folder), Path(plain.folder)) == []


def test_auto_compiles_where_enough_steps_are_left():
    def tried(device="cuda", steps=12_000, done=0, world=1, **settings) -> bool:
        cfg = compose(["data.root=x", *(f"trainer.{name}={value}" for name, value in settings.items())])
        callback = compiled.Compiled(cfg)
        trainer = SimpleNamespace(estimated_stepping_batches=steps, global_step=done, world_size=world)
        callback.on_train_start(trainer, SimpleNamespace(device=torch.device(device)))
        return callback._waits

    assert tried()
    assert not tried(done=8_001)
    assert not tried(device="cpu")
    assert not tried(world=2)
    assert not tried(deterministic="true")
    assert not tried(accumulate_grad_batches=2)
    assert not tried(compile="off")
    assert tried(device="cpu", steps=1, compile="on")
    assert not tried(world=2, compile="on")


def test_only_an_explicit_choice_is_part_of_the_fingerprint():
    digits = {
        how: fingerprint(compose(["data.root=x", f"trainer.compile={how}"]), "x") for how in ("auto", "on", "off")
    }
    assert len(set(digits.values())) == 3
    assert digits["auto"] == fingerprint(compose(["data.root=x"]), "x")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.compile=yes"], "must be one of auto, on, off"),
        (["trainer.compile=on", "trainer.accumulate_grad_batches=2"], "leave trainer.accumulate_grad_batches at 1"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        compose(["data.root=x", *overrides])
