"""Whole commands, and parts that do not train: the cache, the start of a command, a sweep, prediction."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from deepfake_lit.bench.timing import BenchConfig, Comparison, compared, images, in_a_process, made, stop_workers
from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.system import cores
from deepfake_lit.data.images import cache_dir, open_data
from deepfake_lit.data.manifest import read_manifest
from deepfake_lit.data.problems import Problems
from deepfake_lit.data.sources import open_source
from deepfake_lit.prediction.checkpoint import describe
from deepfake_lit.prediction.predict import PredictConfig
from deepfake_lit.prediction.predict import predict as predict_images
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.build import build_classifier
from deepfake_lit.training.checkpoint_io import AtomicCheckpointIO

PREDICTED, ONE_BY_ONE = 1250, 150  # images per repetition: ours, the reference's
TRIALS = 8
FIRST_STEP = """\
import os, sys
from deepfake_lit.training.callbacks import DerivedRandomness
DerivedRandomness.on_train_batch_end = lambda *_: os._exit(0)
from deepfake_lit.cli.main import main
main(sys.argv[1:])
"""


def cache(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare building the image cache, with every check, with decoding the same files in one process and in one per
    core; then opening it with building it."""
    yield from in_a_process(cfg, _cache, cfg)


def start(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare `--help`, and `train` up to its first step with cached images, with importing torch."""
    with tempfile.TemporaryDirectory() as folder:
        train = ["train", *_cached(cfg), f"output_dir={folder}", "model.width=0.125"]
        for case, command in (
            ("--help", ["-m", "deepfake_lit", "--help"]),
            ("train until its first step is done", ["-c", FIRST_STEP, *train]),
        ):

            def ours(command=command) -> int:
                for run in Path(folder).glob("runs"):
                    shutil.rmtree(run)
                return _python(*command)

            yield compared(
                "start",
                case,
                ours,
                lambda: _python("-c", "import torch"),
                lambda a, b: a == b == 0,
                cfg,
                lambda a, b: "reference: import torch",
            )


def _cached(cfg: BenchConfig) -> list[str]:
    """Fill the image cache and return the settings with which `train` finds it."""
    images(cfg)
    return [f"data.root={cfg.data.root}", f"data.cache_dir={cache_dir(cfg.data, Path(cfg.output).parent)}"]


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], capture_output=True).returncode


def sweep(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare small trials side by side, one per core, with trials one after the other on all cores.

    Raises:
        UserError: Hydra's joblib launcher is not installed.
    """
    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        raise UserError("the bench sweep needs Hydra's launcher by joblib: pip install 'deepfake-lit[launchers]'")
    small = ["model.width=0.25", "trainer.max_epochs=1", "trainer.limit_train_batches=40", "data.image_size=64"]
    seeds = f"seed={','.join(map(str, range(TRIALS)))}"
    with tempfile.TemporaryDirectory() as folder:
        settings = ["train", "-m", *_cached(cfg), f"output_dir={folder}", *small, seeds]

        def run(*launcher: str) -> tuple[int, int]:
            for part in ("runs", "sweeps"):
                shutil.rmtree(Path(folder) / part, ignore_errors=True)
            status = _python("-m", "deepfake_lit", *settings, *launcher)
            return status, len(list(Path(folder).glob("runs/*/*/result.json")))

        yield compared(
            "sweep",
            f"{TRIALS} trials, {cores()} side by side",
            lambda: run("hydra/launcher=joblib", f"hydra.launcher.n_jobs={cores()}"),
            run,
            lambda a, b: a == b == (0, TRIALS),
            cfg,
            warm_up=False,
        )


def predict(cfg: BenchConfig) -> Iterator[Comparison]:
    """Compare predicting a folder of files, with the flip view, with the reports' fp32 loop over single images."""
    yield in_a_process(cfg, _predict, cfg)


def _cache(cfg: BenchConfig) -> list[Comparison]:
    manifest = read_manifest(cfg.data, Problems(), ("train", "validation"))
    paths = [str(manifest.source.root / f) for split in manifest.splits.values() for f in split.files]
    chunks = [paths[i : i + 64] for i in range(0, len(paths), 64)]

    def decoded(paths: list[str]) -> int:  # nested, so that worker processes need not import this module and torch
        return sum(np.asarray(Image.open(path).convert("RGB")).shape[0] for path in paths)

    def on_all_cores() -> int:
        pool = joblib.Parallel(cores(), batch_size=1, pre_dispatch=4 * cores(), return_as="generator")
        found = sum(pool(joblib.delayed(decoded)(chunk) for chunk in chunks))
        stop_workers()
        return found

    with tempfile.TemporaryDirectory(dir=made(cfg.output)) as folder:

        def build() -> int:
            shutil.rmtree(Path(folder) / "cache", ignore_errors=True)
            rows = _opened(cfg, folder)
            stop_workers()  # else later builds would save the start of the workers
            return rows

        def same(a: int, b: int) -> bool:
            return a == b

        case = f"{len(paths):,} images built, against decoding "
        return [
            compared("cache", case + "in one process", build, lambda: decoded(paths), same, cfg),
            compared("cache", case + f"on {cores()} cores", build, on_all_cores, same, cfg, _excess),
            compared("cache", "opened, against built", lambda: _opened(cfg, folder), build, same, cfg),
        ]


def _excess(ours: float, reference: float) -> str:
    return f"{ours / reference:.2f} times the decoding"


def _opened(cfg: BenchConfig, folder: str) -> int:
    """Open the cache, or build it if it is not there, and return the rows of pixels of all its images."""
    found = open_data(cfg.data, Path(folder) / "cache")
    return sum(len(split) * split.pixels.shape[1] for split in found.splits.values())


def _predict(cfg: BenchConfig) -> Comparison:
    data = images(cfg)
    run = compose(["experiment=deepfake_net", f"data.root={cfg.data.root}"])
    plain = hardware.resolve(precision="fp32")
    net = build_classifier(run, data, plain)
    size = run.data.image_size
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize((size, size), antialias=False),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    split = data.splits["validation"]
    source = open_source(cfg.data.root)
    with tempfile.TemporaryDirectory() as work:
        checkpoint, chosen = Path(work) / "best.ckpt", Path(work) / "images"
        AtomicCheckpointIO(describe(run, data)).save_checkpoint({"state_dict": net.state_dict()}, checkpoint)
        chosen.mkdir()
        for file in split.files[:PREDICTED]:
            (chosen / Path(file).name).write_bytes(source.read(file))
        ids = sorted(path.stem for path in chosen.iterdir())

        def ours() -> dict[str, np.ndarray]:
            found = predict_images([str(checkpoint)], PredictConfig(images=str(chosen), output=f"{work}/predictions"))
            return dict(zip(found.ids, found.probabilities, strict=True))

        @torch.no_grad()
        def reference() -> dict[str, np.ndarray]:
            module = net.eval()
            answers = {}
            for image_id in ids[:ONE_BY_ONE]:
                image = transform(Image.open(chosen / f"{image_id}.png").convert("RGB"))[None]
                views = [torch.softmax(module(view), 1)[0] for view in (image, image.flip(-1))]
                answers[image_id] = torch.stack(views).mean(0).numpy()
            return answers

        def same(a: dict, b: dict) -> bool:
            return len(a) == len(ids) and all(np.abs(a[key] - b[key]).max() < 0.02 for key in b)

        row = compared("predict", f"DeepFakeNet, {len(ids):,} files", ours, reference, same, cfg)
    row.reference_seconds *= len(ids) / min(ONE_BY_ONE, len(ids))
    row.ratio = row.reference_seconds / row.seconds
    row.note = (
        f"{len(ids) / row.seconds:.0f} images/s against {len(ids) / row.reference_seconds:.0f}, of {ONE_BY_ONE} of them"
    )
    return row
