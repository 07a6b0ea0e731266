"""Where a run goes on: the newest of its checkpoints that is whole and its own."""

import contextlib
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepfake_lit.checkpoint import ENTRY, LAST, PREVIOUS, read_checkpoint
from deepfake_lit.config import fingerprint, from_dict, identity
from deepfake_lit.console import note, warn
from deepfake_lit.errors import UserError
from deepfake_lit.schema import Config

NEEDED = ("loops", "callbacks", "optimizer_states", "lr_schedulers", "train_metrics")


def checkpoint_to_resume(folder: Path, cfg: Config, data_hash: str, module: nn.Module) -> tuple[Path | None, int]:
    """The last checkpoint of a run, else the one before it, else None: the run starts; and the steps done till then.

    A file that is truncated, foreign or of another run is renamed and named in a warning; none is ever deleted.

    Args:
        module: as it will be trained; a checkpoint's weights must fit it.
    """
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
            _check_belongs(path, checkpoint, cfg, data_hash)
            _check_fits(path, checkpoint, module)
        except UserError as error:
            aside = path.with_name(f"{path.stem}.unusable-{time.time_ns()}.ckpt")
            with contextlib.suppress(FileNotFoundError):  # another process of this run has done it
                path.rename(aside)
            warn(f"{error}; it is kept as {aside.name}")
            continue
        step = checkpoint["global_step"]
        note(f"goes on from {path}, after step {step:,}")
        return path, step
    return None, 0


def _check_belongs(path: Path, checkpoint: dict[str, Any], cfg: Config, data_hash: str) -> None:
    try:
        meta = checkpoint[ENTRY]
        other, other_hash = from_dict(meta["config"]), meta["data_hash"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if fingerprint(other, other_hash) != fingerprint(cfg, data_hash):
        found = differences(other, cfg) + ([] if other_hash == data_hash else ["the images"])
        raise UserError(f"{path} is of another run; it differs in {', '.join(found)}")


def _check_fits(path: Path, checkpoint: dict[str, Any], module: nn.Module) -> None:
    missing = [key for key in NEEDED if key not in checkpoint]
    if missing:
        raise UserError(f"{path} holds no state to go on from: it lacks {', '.join(missing)}")
    if not isinstance(checkpoint.get("global_step"), int):
        raise UserError(f"{path} is damaged: it does not say how many steps it is after")
    own, found = module.state_dict(), checkpoint["state_dict"]
    wrong = [
        key
        for key in own.keys() | found.keys()
        if not isinstance(found.get(key), torch.Tensor) or key not in own or found[key].shape != own[key].shape
    ]
    if wrong:
        raise UserError(f"{path} is damaged: {len(wrong)} weights do not fit the network, as {sorted(wrong)[0]}")


def differences(a: Config, b: Config) -> list[str]:
    """Every setting that can change a result and is not the same in both, as "name (value in a, value in b)"."""
    left, right = identity(a), identity(b)
    return [
        f"{key} ({left.get(key)!r}, {right.get(key)!r})"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]
