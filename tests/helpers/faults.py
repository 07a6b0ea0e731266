"""A run in a process of its own that dies where a test wants it to, and what is not the same in two runs."""

import errno
import gc
import json
import math
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.utils.tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import deepfake_lit.cli.train  # noqa: F401 (what every run imports is imported once)
from deepfake_lit.bench.timing import stop_workers
from deepfake_lit.cli.main import main
from deepfake_lit.core import files
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.result import read_result
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.callbacks import DerivedRandomness
from deepfake_lit.training.checkpointing import CheckpointWriter
from deepfake_lit.training.run import run

WRITES = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod"}  # audit events


def start(
    output: Path,
    overrides: list[str],
    fuse: str = "none",
    number: float = 0,
    every_step: bool = True,
    sweep: list[str] | None = None,
    command: str = "",
):
    """The process of a run that was started, forked from one that has imported everything.

    Args:
        sweep: overrides with several values; None: one run.
        command: that is typed in place of `train`.
        fuse: what kills it: "step" before the number-th training step, "file" at the number-th time that a file of it
            is opened, renamed or removed, "write" half way through the number-th file written, "time" after so many
            seconds. "size" lets no file grow beyond so many bytes, as on a full disk; "locked" lets it write no file
            from the number-th on, as in a folder that has become read-only; "clock" sets its clock to that time; a
            signal's name sends that to all its processes before the number-th step. "none" counts steps and files and
            leaves the counts in OUTPUT.json.
        every_step: checkpoints after every step, not only at epoch ends.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.faults"])
    process = context.Process(target=_run, args=(str(output), overrides, fuse, number, every_step, sweep, command))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # else the server of Python 3.11 does not find this module
    try:
        process.start()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return process


def ended(process) -> int:
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def _run(output: str, overrides: list[str], fuse: str, number: float, every_step: bool, sweep, command: str) -> None:
    log = os.open(f"{output}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    gc.freeze()
    multiprocessing.set_start_method("fork", force=True)  # of the loader's workers, as a user's are on Linux
    CheckpointWriter.SHARE = math.inf
    os.setpgrp()
    counts = dict.fromkeys(("step", "file", "write"), 0)

    def count(kind: str) -> bool:
        counts[kind] += 1
        return fuse == kind and counts[kind] == number

    begin = DerivedRandomness.on_train_batch_start

    def step(*arguments):
        if count("step"):
            die()
        if fuse.startswith("SIG") and counts["step"] == number:
            os.killpg(0, signal.Signals[fuse])
        begin(*arguments)

    def fsync(descriptor: int) -> None:
        if count("write"):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        if fuse == "locked" and counts["write"] >= number:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        # Nothing is waited for: of what is written, a killed process loses nothing, only a power cut does.

    def audit(event: str, arguments: tuple) -> None:
        if event in WRITES and str(arguments[0]).startswith((f"{output}/runs", f"{output}/sweeps")) and count("file"):
            die()

    DerivedRandomness.on_train_batch_start = step
    files.os.fsync = fsync
    sys.addaudithook(audit)
    if fuse == "time":
        timer = threading.Timer(number, die)
        timer.daemon = True
        timer.start()
    if fuse == "clock":
        ahead = time.time() - number
        read, read_ns = time.time, time.time_ns
        time.time = lambda: read() - ahead
        time.time_ns = lambda: read_ns() - int(ahead * 1e9)
    if fuse == "size":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), int(number)))
    overrides = [*overrides, f"trainer.checkpoint_minutes={0 if every_step else 1000}", f"output_dir={output}"]
    if sweep or command:
        try:
            main([command, *overrides] if command else ["train", "-m", *overrides, *sweep])
        except SystemExit as end:
            if end.code:
                raise
    else:
        run(compose(overrides))
    stop_workers()  # of joblib's launcher
    if fuse == "none":
        Path(f"{output}.json").write_text(json.dumps(counts))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def differences(folder: Path, other: Path) -> list[str]:
    """What is not the same in two finished runs, times apart."""
    found = []
    if {p.name for p in folder.iterdir()} != {p.name for p in other.iterdir()}:
        found.append(f"files: {sorted(p.name for p in folder.iterdir())}")
    for name in ("best.ckpt", "last.ckpt", *(p.name for p in folder.glob("epoch-*.ckpt"))):
        a, b = (read_checkpoint(f / name)["state_dict"] for f in (folder, other))
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            found.append(f"weights of {name}")
    a, b = (read_predictions(f / "predictions.npz") for f in (folder, other))
    if a.keys() != b.keys() or not all(np.array_equal(a[key], b[key]) for key in a):
        found.append("predictions")
    a, b = map(read_result, (folder, other))
    found += [
        key for key in ("best", "best_tta", "last", "last_tta", "best_epoch") if getattr(a, key) != getattr(b, key)
    ]
    timing = ("seconds", "images_per_second")
    a, b = ([{k: v for k, v in row.items() if k not in timing} for row in tree.history] for tree in (a, b))
    if a != b:
        found.append("history")
    a, b = (EventAccumulator(str(f / "tensorboard")).Reload() for f in (folder, other))
    for tag in a.Tags()["scalars"]:
        if [(e.step, e.value) for e in a.Scalars(tag)] != [(e.step, e.value) for e in b.Scalars(tag)]:
            found.append(f"TensorBoard's {tag}")
    return found
