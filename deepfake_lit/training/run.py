"""One run, from a configuration to its result; read this file from top to bottom."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from deepfake_lit.baselines.fit import Baselines
from deepfake_lit.core import console, hardware, system
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import write_json
from deepfake_lit.core.groups import grouped_classes
from deepfake_lit.core.processes import is_main_process, process_group_left
from deepfake_lit.data.datamodule import ImageDataModule
from deepfake_lit.data.images import ImageData
from deepfake_lit.data.shortcuts import open_run_data
from deepfake_lit.data.views import check_places
from deepfake_lit.prediction.checkpoint import LAST, PREVIOUS, describe
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.provenance import now, origin
from deepfake_lit.results.result import ARRAYS, Result, Results, read_result, write_result
from deepfake_lit.results.state import locked, recorded_failure
from deepfake_lit.settings.checks import check_against_data
from deepfake_lit.settings.identity import fingerprint, to_dict
from deepfake_lit.settings.schema import Config
from deepfake_lit.training.averaging import build_average
from deepfake_lit.training.build import build_parts
from deepfake_lit.training.callbacks import History
from deepfake_lit.training.checkpointing import CheckpointWriter, Interrupts, Pause
from deepfake_lit.training.classifier import Classifier
from deepfake_lit.training.ensemble import gains
from deepfake_lit.training.lineage import lineage_of, member_of, pinned
from deepfake_lit.training.resume import PlannedAnew, checkpoint_to_resume, put_aside
from deepfake_lit.training.trainer import build_trainer, quiet_lightning, refusals


def run(cfg: Config, data: ImageData | None = None, wait: bool = False, stop_after: int | None = None) -> Results:
    """Train, evaluate and write the result to `<output_dir>/runs/<name>/<fingerprint>/`.

    The results of the baselines are written beside it. The same configuration on the same data is the same run: a
    finished run is returned at once, and an unfinished run resumes from its last checkpoint.

    Args:
        data: the images that `open_run_data` returns, if they are open already.
        wait: True waits until another process has left this run; False raises an error.
        stop_after: number of epochs after which a training that has more pauses; None: it goes to its end.

    Raises:
        UserError: the data or the configuration cannot be used, or another process is in this run.
        Paused: the training has come to `stop_after`; without it, the same call goes on from there.
    """
    baselines = Baselines(cfg)
    cfg = pinned(cfg)
    data = data or open_run_data(cfg)
    system.keep_freed_memory()
    if cfg.model.kind == "none":
        return Results(baselines.run(data))
    folder = _folder(cfg, data)
    with locked(folder, wait) if is_main_process() else contextlib.nullcontext():
        result = read_result(folder)
        if result is not None:
            console.note(f"finished before: {folder}")
            (folder / PREVIOUS).unlink(missing_ok=True)  # left if the run was killed between its last two steps
            baselines.run(data)
        else:
            with recorded_failure(folder):
                result = _train_and_evaluate(cfg, data, folder, baselines, stop_after)
    return Results(baselines.results, result)


def _run_alone(cfg: Config, data: ImageData) -> Path:
    return Path(run(cfg, data, wait=True).main.folder)


def run_folder(cfg: Config, data: ImageData) -> Path:
    """Return the folder to which `run` writes the network's result."""
    return _folder(pinned(cfg), data)


def _folder(cfg: Config, data: ImageData) -> Path:
    return Path(cfg.output_dir) / "runs" / cfg.name / fingerprint(cfg, data.hash)


@hardware.enough_memory()
def _train_and_evaluate(
    cfg: Config, data: ImageData, folder: Path, baselines: Baselines, stop_after: int | None
) -> Result:
    check_against_data(cfg, len(data.class_names), data.size)
    if cfg.data.groups:
        grouped_classes(cfg.data.groups, data.class_names)  # so that a mistake shows before hours of training
    check_places(cfg.evaluate.views, data.splits["validation"].whole)
    machine = hardware.resolve(cfg.trainer.accelerator, cfg.trainer.precision, cfg.trainer.channels_last)
    hardware.check_devices(cfg.trainer.devices, machine.device)
    if is_main_process():
        _announce(cfg, data, folder, machine)
        write_json(folder / "run.json", {"config": to_dict(cfg), "started": now()})
    if cfg.trainer.threads:
        torch.set_num_threads(cfg.trainer.threads)

    trained = None
    while trained is None:
        trained = _train(cfg, data, folder, baselines, machine, stop_after)
    trainer, module, history, writer = trained

    split = data.splits["validation"]
    figures, predictions = {}, {}
    for which in ("best", "last"):  # from the files, so that `predict` gives the same
        alone = Predictor.load([str(folder / f"{which}.ckpt")], machine)
        both = alone.on_split(split, cfg.evaluate.views, cfg.data.eval_batch_size)
        for name, p in zip((which, f"{which}_tta"), both, strict=True):
            predictions[name] = p.numpy()
            figures[name] = figures_of(predictions[name], split.labels)

    result = Result(
        kind="ensemble" if cfg.model.kind == "ensemble" else "network",
        name=cfg.name,
        fingerprint=folder.name,
        config=to_dict(cfg),
        seed=cfg.seed,
        **origin(data),
        hardware=machine.to_dict()
        | {"threads": torch.get_num_threads(), "processes": trainer.world_size}
        | {"compiled": module.compiled is not None or module.compiled_step is not None},
        parameters=sum(p.numel() for p in module.net.parameters()),
        finished=now(),
        wall_seconds=sum(row["seconds"] for row in history.rows),
        images_per_second=float(np.median([row["images_per_second"] for row in history.rows])),
        selected_on=cfg.monitor,
        best_epoch=writer.best_epoch,
        history=history.rows,
        checkpoints={"written": writer.written, "seconds": writer.seconds},
        folder=str(folder),
        **_made_of(cfg, trainer.datamodule, predictions["last"]),
        **figures,
    )
    arrays = {ARRAYS[which]: p for which, p in predictions.items()}
    if trainer.is_global_zero:
        write_result(result, {"ids": np.array(split.ids), "labels": split.labels} | arrays)
        (folder / PREVIOUS).unlink(missing_ok=True)  # a finished run never resumes
    return result


def _announce(cfg: Config, data: ImageData, folder: Path, machine: hardware.Hardware) -> None:
    """Print what is trained, on what and where, so that a log can be understood by itself."""
    images = len(data.splits["train"])
    epochs = f"{cfg.trainer.max_epochs} epoch{'s' if cfg.trainer.max_epochs != 1 else ''}"
    without = f" (without {', '.join(data.left_out)})" if data.left_out else ""
    console.note(
        f"{cfg.name}, seed {cfg.seed}: {images:,} images of {len(data.class_names)} classes{without}, {machine.name} "
        f"({machine.device}, {machine.precision}), {epochs}, {folder}"
    )
    if (folder / "run.json").exists() and not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        console.note("starts over: it was interrupted before its first checkpoint")


def _train(
    cfg: Config, data: ImageData, folder: Path, baselines: Baselines, machine: hardware.Hardware, stop_after: int | None
) -> tuple[pl.Trainer, Classifier, History, CheckpointWriter] | None:
    """Train to the end, and resume from the newest checkpoint if there is one.

    Return None if the run cannot resume from it: it is put aside, and the next try takes the one before it."""
    module, datamodule, origins = build_parts(cfg, data, machine, _run_alone)
    average = build_average(cfg.trainer, cfg.seed)
    history = History(folder / "history.csv")
    t = cfg.trainer
    writer = CheckpointWriter(folder, cfg.monitor, t.checkpoint_minutes, t.early_stopping, average, t.keep_epochs or 0)
    callbacks = [*([average] if average else []), history, writer, Interrupts(writer), baselines]
    callbacks += [Pause(writer, stop_after)] if stop_after else []
    with quiet_lightning():
        start, step = checkpoint_to_resume(folder, cfg, data.hash, module)
        if start and start.parent != folder:
            callbacks.append(PlannedAnew())
        with refusals(ValueError, TypeError):
            trainer = build_trainer(cfg, machine, folder, callbacks, describe(cfg, data) | origins, step)
        try:
            with process_group_left(), refusals():
                trainer.fit(module, datamodule, ckpt_path=start, weights_only=True)
        except torch.OutOfMemoryError:
            raise  # which says nothing of the checkpoint
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            if writer.began or start is None or start.parent != folder:
                raise
            put_aside(start, UserError(f"{start} could not be gone on from ({type(error).__name__}: {error})"))
            return None
    if trainer.is_global_zero and not (folder / LAST).exists():  # it was put aside; the one before it was final too
        (folder / PREVIOUS).replace(folder / LAST)
    return trainer, module, history, writer


def _made_of(cfg: Config, datamodule: ImageDataModule, probabilities: np.ndarray) -> dict[str, Any]:
    """Return a result's entries for the checkpoints that the run is made of."""
    if cfg.init_from:
        return {"init_from": lineage_of(Path(cfg.init_from))}
    if cfg.model.kind != "ensemble":
        return {}
    labels = datamodule.data.splits["validation"].labels
    members = [member_of(path) for path in cfg.model.members]
    return {"members": gains(probabilities, datamodule.tables.validation, labels, members)}
