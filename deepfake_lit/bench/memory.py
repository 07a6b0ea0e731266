"""Peak memory of whole commands, each with its child processes, on made-up images of several sizes."""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_lit.bench.timing import BenchConfig, Comparison, made, resident
from deepfake_lit.core.errors import UserError

LARGE = 512  # pixels; networks are trained on larger images at DECODED
DECODED = 224
EVERY = 0.02  # seconds between two looks
PLAIN = [sys.executable, "-c", "import pytorch_lightning"]


def memory(cfg: BenchConfig) -> Iterator[Comparison]:
    """Run audit, train, evaluate, predict, report and export on each size; beside them a process that only imports
    Lightning, as all that train or predict do."""
    for size in cfg.memory:
        if len(size) != 3 or min(size) < 1 or size[0] < 3 * size[2]:
            raise UserError(f"memory={size}: images, side in pixels, classes; at least three images a class")
    with tempfile.TemporaryDirectory(dir=made(cfg.output)) as folder:
        plain = peak(PLAIN, Path(folder) / "log")
        for count, side, classes in cfg.memory:
            work = Path(folder) / f"{count}-{side}-{classes}"
            _write_images(work / "images", count, side, classes)
            for name, arguments in _commands(work, side):
                log = work / f"{name}.log"
                found = peak([sys.executable, "-m", "deepfake_lit", name, *arguments()], log)
                yield _row(f"{name}, {count:,} x {side} x {classes:,}", found, plain, count * side**2 * 3, log)


def _row(case: str, found: tuple, plain: tuple, decoded: int, log: Path) -> Comparison:
    status, seconds, most, own = found
    note = f"{own / 2**30:.2f} GiB that is no file's; all images decoded are {decoded / 2**30:.2f} GiB"
    if status:
        lines = log.read_text(errors="replace").strip().splitlines()
        note = f"ended with status {status}: {lines[-1] if lines else ''}"
    memories = most / 2**30, plain[2] / 2**30
    return Comparison("memory", case, seconds, plain[1], plain[1] / seconds, not status, 1, note, *memories)


def _commands(work: Path, side: int) -> Iterator[tuple]:
    """Yield each command's name and a function that returns its arguments, once those before it are done."""
    images, output = work / "images", work / "out"
    read = [f"data.root={images}", *([f"data.decode_size={DECODED}"] if side > LARGE else [])]
    steps = ["trainer.max_epochs=1", "trainer.progress_bar=false"]

    def checkpoint() -> str:
        return str(next(output.glob("runs/*/*/best.ckpt"), "none.ckpt"))

    yield "audit", lambda: [f"data.root={images}", f"output_dir={output}"]
    yield "train", lambda: [*read, f"output_dir={output}", *steps]
    yield "evaluate", lambda: [checkpoint(), *read, f"output={output}/evaluation"]
    yield "predict", lambda: [checkpoint(), f"images={images}", f"output={output}/predictions"]
    yield "report", lambda: [f"output_dir={output}"]
    yield "export", lambda: [checkpoint(), f"output={output}/model.onnx"]


def _write_images(root: Path, count: int, side: int, classes: int) -> None:
    """Write JPEG files in folders of splits and classes, a third of each class for validation."""
    random = np.random.default_rng(0)
    for i in range(count):
        split = "validation" if i // classes % 3 == 2 else "train"
        path = root / split / f"class-{i % classes:04}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).resize((side, side)).save(path, quality=90)


def peak(command: list[str], log: Path) -> tuple[int, float, float, float]:
    """Run a command to its end.

    Returns:
        Its exit status, its seconds, and the peaks in bytes of its resident memory and of what in it is no file's, each
        summed over all its processes. Pages that processes share count for each of them. NaN without /proc.
    """
    start = time.perf_counter()
    most, own = 0.0, 0.0
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            family = [process.pid, *_children(process.pid)]
            # VmHWM is the most of one process since it began, and sees what falls between two looks
            most = max(most, _sum("VmRSS", family), *(_sum("VmHWM", [each]) for each in family))
            own = max(own, _sum("RssAnon", family))
            time.sleep(EVERY)
    return process.returncode, time.perf_counter() - start, most or math.nan, own or math.nan


def _sum(which: str, family: list[int]) -> float:
    return sum(memory for each in family if math.isfinite(memory := resident(which, each)))


def _children(pid: int) -> Iterator[int]:
    """Yield the processes below one, at any depth; one that has just ended has none."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            own = list(map(int, path.read_text().split()))
        except OSError:
            continue
        for child in own:
            yield child
            yield from _children(child)
