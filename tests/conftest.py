"""Data sets that the tests share. Everything a test writes goes to pytest's temporary folders."""

import gc
import os
import subprocess
import sys
from pathlib import Path

# Before torch and NumPy are imported, here and in every process that a test starts: the nets and matrices are tiny, so
# more threads cost more than they bring, and parallel workers share the cores.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # of several GPUs the tests use one
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic runs, which must ask before the first

import pytest

from deepfake_lit.core import hardware
from deepfake_lit.core.system import cores
from deepfake_lit.data.samples import write_samples

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    """Made-up images: 100 train, 50 validation, 10 test, 32x32. Not to be changed by a test."""
    root = tmp_path_factory.mktemp("samples")
    write_samples(root, train=100, validation=50, test=10, image_size=32)
    return root


@pytest.fixture(scope="session")
def settings(samples, tmp_path_factory) -> list[str]:
    """Overrides of a run of seconds on `samples`, with one image cache for all."""
    tiny = ["model.width=0.125", "trainer.max_epochs=2", "trainer.progress_bar=false", "data.batch_size=25"]
    cache = tmp_path_factory.mktemp("cache")
    return [f"data.root={samples}", f"data.cache_dir={cache}", "augment.hflip=0.5", *tiny]


@pytest.fixture(scope="session")
def real_images(tmp_path_factory) -> Path:
    """Real images: 20 train and 10 validation a class at most, 100x100. Skips where they are not at hand."""
    unpack = SHARED_DATA / "unpack.py"
    if not unpack.exists():
        pytest.skip(f"the real images are not here ({unpack.parent.parent.name}/data beside the checkout)")
    root = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, str(unpack), str(root), "--limit", "20"], check=True, capture_output=True)
    return root


@pytest.fixture(scope="session", autouse=True)
def _on_the_cpu():
    """Tests compare bits, and most kernels of a GPU do not repeat theirs: what leaves the device open runs on the CPU,
    on every machine. The tests that are marked cuda are about a GPU, by the fixture below."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "_available", lambda: {"cpu"})
        yield


@pytest.fixture
def cuda(monkeypatch) -> str:
    """The device cuda, which the test may ask for, with exact fp32 instead of TF32; skips where there is none."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("it needs a GPU: torch finds no CUDA device here")
    monkeypatch.setattr(hardware, "_available", lambda: {"cpu", "cuda"})
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return "cuda"


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request) -> str:
    """Each device that a test is about."""
    return request.getfixturevalue("cuda") if request.param == "cuda" else "cpu"


@pytest.fixture(autouse=True)
def _few_threads():
    """The tests' nets are tiny: more threads cost more than they bring, and parallel workers share the cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """What is not waited for is lost by a power cut alone, and no test is about one."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


FIRST = (
    # These fork a loader's workers from the tests' process, which may hang once it has used other tests' pools.
    *("training/test_resume.py", "data/test_datamodule.py"),
    # These take longest: no worker is left with one of them at the end.
    *("studies/test_launchers.py", "studies/test_reproduce.py", "training/test_faults.py", "cli/test_main.py"),
    *("bench/test_bench.py", "test_notebooks.py", "training/test_ensemble.py", "training/test_extending.py"),
)


def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: much of the time goes to waiting for other processes."""
    return min(cores() + 1, 4)


def pytest_collection_modifyitems(items):
    """Put the files of `FIRST` first, in that order; workers take whole files in the order of their tests."""
    place = {Path(__file__).parent / file: number for number, file in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish():
    """What was imported stays: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()
