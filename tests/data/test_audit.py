"""The audit's findings, on made-up data whose truth is known."""

import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from deepfake_lit.cli.main import COMMANDS
from deepfake_lit.core import system
from deepfake_lit.core.plots import radial_average
from deepfake_lit.data.audit import audit, mean_log_spectra, pixel_statistics
from deepfake_lit.data.images import SplitImages, open_data
from deepfake_lit.settings.schema import DataConfig


def write_set(root, image_of, classes=2, each=3):
    """A data set whose image number i of class c is image_of(c, i); splits differ in one corner pixel."""
    for split in ("train", "validation"):
        (root / split).mkdir(parents=True)
        with open(root / f"{split}.csv", "w") as file:
            file.write("image_id,label\n")
            for c in range(classes):
                for i in range(each):
                    pixels = image_of(c, i)
                    pixels[0, 0, :3] = (i, c, split == "train")
                    Image.fromarray(pixels).save(root / split / f"{split}-{c}-{i}.png")
                    file.write(f"{split}-{c}-{i},{c}\n")
    return root


def test_counts_alpha_and_statistics(tmp_path):
    root = write_set(tmp_path / "images", lambda c, i: np.full((40, 40, 3), (51 * c, 102, 204), np.uint8))
    found = audit(DataConfig(root=str(root)), tmp_path / "cache", tmp_path / "audit")
    f = found.findings
    assert f["splits"]["train"] == {"images": 6, "per_class": [3, 3], "sizes": {"40 x 40": 6}, "modes": {"RGB": 6}}
    assert f["alpha"]["verdict"] == "alpha is constant 255 in 12 of 12 images: RGBA carries no image information"
    assert f["train_pixels"]["per_class"][1]["mean"] == pytest.approx([0.2, 0.4, 0.8], abs=1e-3)
    assert f["train_pixels"]["per_class"][1]["std"] == pytest.approx([0, 0, 0], abs=0.02)
    assert f["problems"] == {}
    assert json.loads((found.folder / "audit.json").read_text()) == f
    for name in ("contact_sheet.png", "spectra.png"):
        assert np.asarray(Image.open(found.folder / name)).std() > 10


def test_statistics_are_numpys(samples, tmp_path):
    data = open_data(DataConfig(root=str(samples)), tmp_path)
    found = audit(DataConfig(root=str(samples)), tmp_path, tmp_path / "audit").findings["train_pixels"]["all"]
    pixels = data.splits["train"].pixels.reshape(-1, 3) / 255.0
    assert found["mean"] == pytest.approx(pixels.mean(0).tolist())
    assert found["std"] == pytest.approx(pixels.std(0).tolist())


def test_a_real_alpha_is_found(samples, tmp_path):
    alpha = audit(DataConfig(root=str(samples)), tmp_path, tmp_path / "audit").findings["alpha"]
    assert alpha["images"] == 160
    assert alpha["images"] - alpha["opaque"] == 32  # class 3 of five
    assert alpha["verdict"] == "alpha is not 255 everywhere in 32 of 160 images"


def test_spectrum_shows_a_periodic_trace(tmp_path):
    """Class 1 carries a wave of 8 pixels' period across: its spectrum peaks at 1/8 cycles a pixel."""
    generator = np.random.default_rng(0)

    def image_of(c, i):
        noise = generator.normal(128, 20, (64, 64, 1))
        wave = c * 30 * np.cos(2 * np.pi * np.arange(64) / 8)[None, :, None]
        return np.clip(noise + wave, 0, 255).astype(np.uint8).repeat(3, 2)

    data = open_data(DataConfig(root=str(write_set(tmp_path / "images", image_of, each=8))), tmp_path / "cache")
    spectra, mean = mean_log_spectra(data.splits["train"], 2)
    np.testing.assert_allclose(mean, spectra.mean(0))
    row, column = np.unravel_index((spectra[1] - spectra[0]).argmax(), (64, 64))
    assert row == 32
    assert abs(column - 32) == 8
    frequencies, _ = radial_average(spectra[1] - spectra[0])
    assert (frequencies > 0).all()
    assert frequencies.max() <= 0.5


@pytest.mark.parametrize("at_once", [1, 2**19, 2**28])
def test_memory_is_bounded_by_bytes(at_once, monkeypatch):
    """Chunks of any size give the same, and what is worked on at once is no more than is allowed, or one image."""
    monkeypatch.setattr(system, "AT_ONCE", at_once)
    pixels, labels = np.random.default_rng(0).integers(0, 256, (60, 64, 48, 3), np.uint8), np.arange(60) % 3
    split = SplitImages("train", [""] * 60, labels, [""] * 60, np.arange(60), pixels, None, [])
    tracemalloc.start()
    statistics = pixel_statistics(split, 3)
    spectra, mean = mean_log_spectra(split, 3, most=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < max(at_once, 2**19) + 2**20 or at_once > 2**20
    assert statistics["all"]["mean"] == pytest.approx((pixels / 255).mean((0, 1, 2)).tolist())
    assert statistics["per_class"][2]["std"] == pytest.approx((pixels[2::3] / 255).std((0, 1, 2)).tolist())
    monkeypatch.setattr(system, "AT_ONCE", 2**28)
    every, _ = mean_log_spectra(split, 3)
    np.testing.assert_allclose(spectra, every[:2], rtol=1e-5)
    np.testing.assert_allclose(mean, every.mean(0), rtol=1e-5)


def test_a_table_of_many_classes_is_short(tmp_path, capsys):
    root = tmp_path / "images"
    for c in range(60):
        for split in ("train", "validation"):
            (root / split / f"class-{c:02}").mkdir(parents=True)
            pixels = np.random.default_rng([c, len(split)]).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / split / f"class-{c:02}" / "a.png")
    assert COMMANDS["audit"]([f"data.root={root}", f"output_dir={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") < 50
    assert max(map(len, printed.splitlines())) < 200
    assert "the first 20 of 60 classes" in printed
    (written,) = tmp_path.glob("out/audit/*/audit.json")
    assert len(json.loads(written.read_text())["train_pixels"]["per_class"]) == 60


def test_exit_status_says_whether_a_run_would_stop(tmp_path, capsys):
    root = write_set(tmp_path / "images", lambda c, i: np.full((16, 16, 3), 100, np.uint8))
    (root / "train" / "stray.png").write_bytes((root / "train" / "train-0-0.png").read_bytes())
    arguments = [f"data.root={root}", f"output_dir={tmp_path / 'out'}"]
    assert COMMANDS["audit"](arguments) == 2
    assert "extra_file (1, a run would stop)" in capsys.readouterr().err
    assert COMMANDS["audit"]([*arguments, "data.tolerate=[extra_file]"]) == 0
    assert "extra_file (1, tolerated)" in capsys.readouterr().err
