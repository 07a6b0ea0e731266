"""Growth of time and memory with the number of images and of runs, on made-up ones."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_lit.bench.timing import BenchConfig, Comparison, in_a_process, made, resident
from deepfake_lit.data.audit import audit
from deepfake_lit.data.images import open_data
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import DataConfig
from deepfake_lit.studies.status import StatusConfig, look
from deepfake_lit.training.run import run

SIDE = 32  # pixels
CLASSES = 5


def growth(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare each size with the smallest one: a ratio of 1 is linear time, below 1 the time grows faster than that."""
    with tempfile.TemporaryDirectory(dir=made(cfg.output)) as folder:
        work, first = Path(folder), {}
        for size in sorted(cfg.growth):
            images = work / f"images-{size}"
            _write_images(images, size)
            for name, what in (("cache built", _build), ("audit", _audit), ("cache opened", _build), ("epoch", _epoch)):
                seconds, gib = in_a_process(cfg, _measured, what, images, work / f"out-{size}")
                yield _row(f"{name}, {size:,} images", size, seconds, first.setdefault(name, (size, seconds)), gib)
        for size in sorted(cfg.growth_runs):
            runs = work / f"runs-{size}"
            _write_runs(work / f"out-{min(cfg.growth)}", runs, size)
            for name, what in (("status", _status), ("report", _report)):
                seconds, gib = in_a_process(cfg, _measured, what, runs, runs)
                yield _row(f"{name}, {size:,} runs", size, seconds, first.setdefault(name, (size, seconds)), gib)


def _row(case: str, size: int, seconds: float, smallest: tuple[int, float], gib: float) -> Comparison:
    expected = smallest[1] * size / smallest[0]
    note = f"{1e6 * seconds / size:.0f} us each, {gib:.2f} GiB of memory that is not a file's"
    return Comparison("growth", case, seconds, expected, expected / seconds, True, 1, note, gib)


def _write_images(root: Path, count: int) -> None:
    """Write images of noise in the competition's layout, a tenth of them for validation."""
    random = np.random.default_rng(0)
    for split, number in (("train", count - count // 10), ("validation", count // 10)):
        (root / split).mkdir(parents=True)
        for i in range(number):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(root / split / f"{split}-{i}.png", compress_level=0)
        rows = "".join(f"{split}-{i},{i % CLASSES}\n" for i in range(number))
        (root / f"{split}.csv").write_text(f"image_id,label\n{rows}")


def _write_runs(trained: Path, root: Path, count: int) -> None:
    """Write as many copies of a trained run."""
    source = next(trained.glob("runs/*/*/result.json"))
    result = json.loads(source.read_text())
    predictions = source.with_name("predictions.npz").read_bytes()
    for i in range(count):
        folder = root / "runs" / "x" / f"{i:016x}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result | {"seed": i, "fingerprint": folder.name}))
        (folder / "predictions.npz").write_bytes(predictions)


def _measured(what: Callable[[Path, Path], None], images: Path, output: Path) -> tuple[float, float]:
    """Return (seconds, GiB of anonymous memory at the end; the kernel's cache of files does not count)."""
    start = time.perf_counter()
    what(images, output)
    return time.perf_counter() - start, resident("RssAnon") / 2**30


def _build(images: Path, output: Path) -> None:
    open_data(DataConfig(root=str(images)), output / "cache")


def _audit(images: Path, output: Path) -> None:
    audit(DataConfig(root=str(images)), output / "cache", output / "audit")


def _epoch(images: Path, output: Path) -> None:
    overrides = [f"data.root={images}", f"output_dir={output}", "model.width=0.125", "trainer.max_epochs=1"]
    run(compose([*overrides, "data.batch_size=250", "evaluate.views=[identity]", "trainer.progress_bar=false"]))


def _report(_: Path, output: Path) -> None:
    report(ReportConfig(str(output), images=False))


def _status(_: Path, output: Path) -> None:
    look(StatusConfig(str(output)))
