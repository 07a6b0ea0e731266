"""Choice of the checkpoint that a run resumes from: its own newest intact one, or that of the run it extends."""

import contextlib
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from deepfake_lit.core.console import note, warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic
from deepfake_lit.prediction.checkpoint import BEST, ENTRY, LAST, PREVIOUS, read_checkpoint
from deepfake_lit.settings.compose import from_dict
from deepfake_lit.settings.identity import LENGTH_FREE, fingerprint, identity
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.classifier import Classifier
from deepfake_lit.training.lightning import progress_of
from deepfake_lit.training.lineage import misfits
from deepfake_lit.training.optimizers import build_scheduler

NEEDED = ("loops", "callbacks", "optimizer_states", "lr_schedulers", "train_sums")
NEEDED_BY_AVERAGE = ("current_model_state", "averaging_state")
MAY_DIFFER = ("extends", "trainer.max_epochs")  # settings in which a run may differ from the one it extends


def checkpoint_to_resume(folder: Path, cfg: Config, data_hash: str, module: Classifier) -> tuple[Path | None, int]:
    """Return the checkpoint that a run resumes from, and its number of completed steps.

    This is the last checkpoint, else the one before it, else that of the run that `cfg.extends` names, else None. A
    file that is truncated, foreign or of another run is renamed and named in a warning. No file is ever deleted.

    Args:
        module: the module that will be trained; a checkpoint's weights must fit it.

    Raises:
        UserError: the run that `cfg.extends` names is missing, is not shorter, or differs in other settings.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists():
            try:
                step = _read_checked(path, cfg, data_hash, module)["global_step"]
            except UserError as error:
                put_aside(path, error)
            else:
                note(f"goes on from {path}, after step {step:,}")
                return path, step
    return (None, 0) if cfg.extends is None else _extended(folder, cfg, data_hash, module)


def put_aside(path: Path, reason: Exception) -> None:
    """Rename an unusable checkpoint and print a warning with the reason."""
    aside = path.with_name(f"{path.stem}.unusable-{time.time_ns()}.ckpt")
    with contextlib.suppress(FileNotFoundError):  # another process of this run has renamed it
        path.rename(aside)
    warn(f"{reason}; it is kept as {aside.name}")


def _extended(folder: Path, cfg: Config, data_hash: str, module: Classifier) -> tuple[Path, int]:
    """Return the last checkpoint of the run that `cfg` extends and its steps; copy its best one to this run."""
    other = folder.parent / cfg.extends
    path = other / LAST
    checkpoint = _read_checked(path, cfg, data_hash, module, MAY_DIFFER)
    before = checkpoint[ENTRY]["config"]["trainer"]["max_epochs"]
    epochs = cfg.trainer.max_epochs
    if before >= epochs:
        raise UserError(f"extends={cfg.extends} is of {before} epochs; trainer.max_epochs must be more, not {epochs}")
    for file in (other / BEST, *(other.glob("epoch-*.ckpt") if cfg.trainer.keep_epochs else ())):
        with open(file, "rb") as source, atomic(folder / file.name, "wb") as copy:
            shutil.copyfileobj(source, copy)
    note(f"extends {path}, after step {checkpoint['global_step']:,}, to {epochs} epochs")
    return path, checkpoint["global_step"]


class PlannedAnew(Callback):
    """A callback that plans the schedule of an extending run for its own length and continues at the current step."""

    def on_train_start(self, trainer: pl.Trainer, module: Classifier) -> None:
        if module.cfg.scheduler.kind in LENGTH_FREE:
            return
        optimizer = trainer.optimizers[0]
        before = optimizer.param_groups[0]["lr"]
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = module.cfg.optimizer.lr
        total = int(trainer.estimated_stepping_batches)
        plan = build_scheduler(module.cfg.scheduler, optimizer, total)["scheduler"]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*`lr_scheduler.step\\(\\)` before `optimizer.step.*")
            for _ in range(trainer.global_step):
                plan.step()
        trainer.lr_scheduler_configs[0].scheduler = plan
        note(
            f"the schedule is planned anew for {total:,} steps: the learning rate goes on at "
            f"{plan.get_last_lr()[0]:.2e} instead of {before:.2e}, so this is not the run that "
            f"{trainer.max_epochs} epochs from the start would be"
        )


def _read_checked(
    path: Path, cfg: Config, data_hash: str, module: Classifier, may_differ: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read a checkpoint of this run, or of one that differs in the given settings, that training can resume from."""
    checkpoint = read_checkpoint(path)
    try:
        meta = checkpoint[ENTRY]
        other, other_hash = from_dict(meta["config"]), meta["data_hash"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if fingerprint(other, other_hash) != fingerprint(cfg, data_hash):
        there, here = identity(other), identity(cfg)
        found = [
            f"{name} ({there.get(name)!r}, {here.get(name)!r})"
            for name in sorted(there.keys() | here.keys())
            if name not in may_differ and there.get(name) != here.get(name)
        ]
        found += [] if other_hash == data_hash else ["the images"]
        if found:
            raise UserError(f"{path} is of another run; it differs in {', '.join(found)}")
    _check_fits(path, checkpoint, module)
    return checkpoint


def _check_fits(path: Path, checkpoint: dict[str, Any], module: Classifier) -> None:
    t = module.cfg.trainer
    needed = NEEDED + (NEEDED_BY_AVERAGE if t.ema or t.swa is not None else ())
    missing = [key for key in needed if key not in checkpoint]
    if missing:
        raise UserError(f"{path} holds no state to go on from: it lacks {', '.join(missing)}")
    if not isinstance(checkpoint.get("global_step"), int):
        raise UserError(f"{path} is damaged: it does not say how many steps it is after")
    try:
        counts = progress_of(checkpoint)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: it lacks {error} of the training's progress") from None
    if not all(isinstance(count, int) for count in counts):
        raise UserError(f"{path} is damaged: its training's progress is {counts}")
    if wrong := misfits(module, checkpoint["state_dict"]):
        raise UserError(f"{path} is damaged: {len(wrong)} weights do not fit the network, as {wrong[0]}")
