"""Runs that end early in this process and go on: where from, and what they come to. Kills from outside: test_faults."""

from pathlib import Path

import pytest
from filelock import FileLock
from helpers.faults import differences
from helpers.kills import Killed, kill_at

from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.callbacks import DerivedRandomness
from deepfake_lit.training.run import run

pytestmark = pytest.mark.slow

ONECYCLE = ["optimizer=sgd", "optimizer.momentum=0.9", "augment.cutmix_p=0.5", "scheduler=onecycle"]
PLATEAU = ["optimizer=adam", "scheduler=plateau", "scheduler.monitor=val/loss", "scheduler.patience=0"]


@pytest.mark.parametrize(
    ("overrides", "epoch", "batch", "every_step"),
    [
        (ONECYCLE, 2, 1, False),
        (ONECYCLE, 2, 1, True),
        (ONECYCLE, 0, 2, True),
        (ONECYCLE, 3, 3, True),
        ([*ONECYCLE, "data.workers=2"], 2, 1, True),
        ([*ONECYCLE, "data.workers=2"], 2, 1, False),
        ([*ONECYCLE, "data.portion=3"], 2, 2, True),
        ([*ONECYCLE, "trainer.accumulate_grad_batches=2"], 2, 3, True),
        ([*ONECYCLE, "data.class_sampling=[1,2,1,1,1]"], 1, 1, True),
        (PLATEAU, 2, 1, False),
        (PLATEAU, 2, 2, True),
        (PLATEAU, 2, 0, True),
        (["trainer.swa=0.25", "trainer.keep_epochs=2", "augment.cutmix_p=0.5"], 3, 1, True),
        (["trainer.swa=0.25", "trainer.keep_epochs=2"], 2, 3, True),
        (["optimizer=muon", "scheduler=onecycle"], 2, 1, True),
    ],
)
def test_a_killed_run_ends_as_one_that_was_not(overrides, epoch, batch, every_step, settings, tmp_path, monkeypatch):
    """Dropout, CutMix, momentum and the schedules have state or randomness; four epochs of four steps."""
    overrides = [*overrides, "trainer.max_epochs=4", "trainer.checkpoint_minutes=0"]

    def cfg(name):
        return compose([*settings, *overrides, f"output_dir={tmp_path / name}"])

    whole = run(cfg("whole")).main
    with monkeypatch.context() as patch:
        kill_at(patch, epoch, batch, every_step)
        with pytest.raises(Killed):
            run(cfg("killed"))
    resumed = run(cfg("killed")).main
    assert differences(Path(resumed.folder), Path(whole.folder)) == []
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2, 3]


def test_a_checkpoint_within_an_epoch_goes_on_from_its_step(settings, tmp_path, monkeypatch, capsys):
    cfg = compose([*settings, "trainer.checkpoint_minutes=0", f"output_dir={tmp_path}"])
    with monkeypatch.context() as patch:
        kill_at(patch, 1, 2, every_step=True)
        with pytest.raises(Killed):
            run(cfg)
    steps = []
    start = DerivedRandomness.on_train_batch_start
    monkeypatch.setattr(
        DerivedRandomness,
        "on_train_batch_start",
        lambda self, t, m, b, i: steps.append((t.current_epoch, i)) or start(self, t, m, b, i),
    )
    run(cfg)
    assert steps == [(1, 2), (1, 3)]  # the checkpoint after batch 1 is the last: the kill came before that of batch 2
    assert "after step 6" in capsys.readouterr().err


def test_an_unreadable_last_checkpoint_is_put_aside(settings, tmp_path, capsys):
    cfg = compose([*settings, f"output_dir={tmp_path}", "trainer.limit_train_batches=1"])
    folder = Path(run(cfg).main.folder)
    (folder / "result.json").unlink()
    (folder / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")
    run(cfg)
    assert "last.unusable" in capsys.readouterr().err.replace("\n", " ")
    assert list(folder.glob("last.unusable-*.ckpt"))


def test_a_file_system_without_locks_is_named(settings, tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with pytest.raises(UserError, match="has no locks; choose an output_dir on another"):
        run(compose([*settings, f"output_dir={tmp_path}"]))


def test_two_processes_cannot_be_in_one_run(settings, tmp_path):
    cfg = compose([*settings, f"output_dir={tmp_path}", "trainer.limit_train_batches=1"])
    folder = Path(run(cfg).main.folder)
    with FileLock(folder / ".lock"), pytest.raises(UserError, match="another process"):
        run(cfg)
