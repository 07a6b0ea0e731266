"""What tells the classes apart without the image is found, and nothing else is."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import exit_status
from helpers.tiny_data import encode, noise
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from scipy.ndimage import gaussian_filter

from deepfake_lit.data.copies import turned_copies
from deepfake_lit.data.decode import decode
from deepfake_lit.data.images import open_data
from deepfake_lit.data.shortcuts import shortcut_warnings, shortcuts, traces_in_pixels
from deepfake_lit.results.result import read_result
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import DataConfig
from deepfake_lit.training.run import run

SIDE = 16


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F] = "a camera"
    return tags


def noted() -> PngInfo:
    info = PngInfo()
    info.add_text("parameters", "a cat, 20 steps")
    return info


# property that gives the class away: how a real and how a fake image is encoded, what the message must hold
WAYS = {
    "format": (lambda p: encode(p, format="JPEG"), lambda p: encode(p), "real: JPEG (12)"),
    "size": (lambda p: encode(p[:12]), lambda p: encode(p), "real: 16 x 12 (12)"),
    "mode": (lambda p: encode(Image.fromarray(p).convert("L")), lambda p: encode(p), "real: L (12)"),
    "JPEG quality": (
        lambda p: encode(p, format="JPEG", quality=96),
        lambda p: encode(p, format="JPEG", quality=75),
        "fake: 75 (12); real: 96 (12)",
    ),
    "metadata": (
        lambda p: encode(p, format="PNG", exif=exif()),
        lambda p: encode(p, pnginfo=noted()),
        "fake: parameters (12); real: exif (12)",
    ),
}


def write(root, real, fake, each: int = 12):
    for c, (name, way) in enumerate((("real", real), ("fake", fake))):
        for split in ("train", "validation"):
            (root / split / name).mkdir(parents=True)
            for i in range(each):
                (root / split / name / f"{i}.img").write_bytes(way(noise(1000 * c + 100 * (split == "train") + i)))
    return root


@pytest.mark.parametrize("name", WAYS)
def test_a_property_that_gives_the_class_away_is_reported(name, tmp_path):
    *ways, text = WAYS[name]
    cfg = DataConfig(root=str(write(tmp_path / "data", *ways)), decode_size=SIDE, tolerate=["odd_mode"])
    data = open_data(cfg, tmp_path / "cache")
    found = shortcuts(data.splits["train"], data.class_names)
    assert found[name]["accuracy"] == 1
    assert found[name]["chance"] == 0.5
    [line] = [line for line in shortcut_warnings(data) if f"files' {name} alone" in line]
    assert "100% of the images (chance 50%)" in line
    assert text in line


def test_files_that_are_alike_give_nothing_away(samples, tmp_path):
    data = open_data(DataConfig(root=str(samples)), tmp_path)
    assert [line for line in shortcut_warnings(data) if "mode" not in line] == []


def test_a_value_of_one_image_alone_predicts_nothing(tmp_path):
    root = tmp_path / "data"
    for split in ("train", "validation"):
        for c, name in enumerate(("real", "fake")):
            (root / split / name).mkdir(parents=True)
            for i in range(20):
                pixels = noise(500 * c + 100 * (split == "train") + i, (SIDE + i + 20 * c, SIDE, 3))  # every size once
                (root / split / name / f"{i}.png").write_bytes(encode(pixels))
    data = open_data(DataConfig(root=str(root), decode_size=SIDE), tmp_path / "cache")
    assert shortcuts(data.splits["train"], data.class_names)["size"]["accuracy"] <= 0.5
    assert shortcut_warnings(data) == []


def test_an_earlier_jpeg_of_one_class_is_seen_in_the_pixels(tmp_path, capsys):
    """All files are PNG, but those of one class were JPEG before."""

    def smooth(seed: int) -> np.ndarray:
        texture = np.random.default_rng(seed).normal(0, 1, (64, 64, 3))
        return np.clip(128 + 90 * gaussian_filter(texture, (1, 1, 0)), 0, 255).astype(np.uint8)

    root = tmp_path / "data"
    for split in ("train", "validation"):
        for c, name in enumerate(("real", "fake")):
            (root / split / name).mkdir(parents=True)
            for i in range(12):
                pixels = smooth(500 * c + 100 * (split == "train") + i)
                pixels = np.asarray(Image.open(io.BytesIO(encode(pixels, format="JPEG")))) if c else pixels
                (root / split / name / f"{i}.png").write_bytes(encode(pixels))
    data = open_data(DataConfig(root=str(root)), tmp_path / "cache")
    found = traces_in_pixels(data.splits["train"], data.class_names)
    assert (found["accuracy"], found["values"]["real"]) == (1, {"no signs": 12})
    assert exit_status(["audit", f"data.root={root}", f"output_dir={tmp_path / 'out'}"]) == 0
    assert "the files' traces of JPEG or resize alone tells the class in 100%" in capsys.readouterr().err
    resized = open_data(DataConfig(root=str(root), decode_size=32), tmp_path / "cache")
    assert traces_in_pixels(resized.splits["train"], data.class_names) is None


def test_audit_train_and_the_page_warn(tmp_path, capsys):
    root = write(tmp_path / "data", *WAYS["format"][:2])
    out = [f"data.root={root}", f"output_dir={tmp_path / 'out'}"]
    assert exit_status(["audit", *out]) == 0
    said = capsys.readouterr()
    assert "format" in said.out
    assert "the files' format alone tells the class in 100% of the images (chance 50%)" in said.err
    tiny = ["model.width=0.125", "trainer.max_epochs=1", "data.batch_size=12", "trainer.progress_bar=false"]
    result = run(compose([*out, *tiny])).main
    assert "the files' format alone" in capsys.readouterr().err
    stored = read_result(Path(result.folder))
    assert "the files' format alone" in stored.data["shortcuts"][0]
    assert exit_status(["report", f"output_dir={tmp_path / 'out'}", "images=false"]) == 0
    assert "format alone tells the class" in (tmp_path / "out" / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    "turn", [lambda p: np.rot90(p), lambda p: np.rot90(p, 3), lambda p: p[:, ::-1], lambda p: p[::-1]]
)
def test_turned_copies_in_another_split_are_found(turn, tmp_path, capsys):
    root = write(tmp_path / "data", encode, encode)
    original = noise(5000)
    (root / "train" / "real" / "x.img").write_bytes(encode(original))
    (root / "validation" / "real" / "y.img").write_bytes(encode(np.ascontiguousarray(turn(original))))
    shuffled = np.random.default_rng(0).permutation(original.reshape(-1, 3)).reshape(original.shape)
    (root / "validation" / "real" / "z.img").write_bytes(encode(shuffled))  # the same values, another image
    data = open_data(DataConfig(root=str(root)), tmp_path / "cache")
    assert turned_copies(data) == [["validation/real/y.img", "train/real/x.img"]]
    assert exit_status(["audit", f"data.root={root}", f"output_dir={tmp_path / 'out'}"]) == 0
    assert "1 images are turned or mirrored copies of images in another split" in capsys.readouterr().err
    [folder] = (tmp_path / "out" / "audit").iterdir()
    assert json.loads((folder / "audit.json").read_text())["turned_copies"]


GREY = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)


@pytest.mark.parametrize(
    "pixels",
    [
        GREY.astype(np.float32),
        (GREY * 255).astype(np.float32),
        (GREY * 255).astype(np.int32),
        (GREY * 65535).astype(np.int32),
        (GREY * 65535).astype(np.uint16),
    ],
    ids=["F in 0..1", "F in 0..255", "I in 0..255", "I in 0..65535", "I;16"],
)
def test_every_depth_of_grey_keeps_its_shades(pixels):
    fact, rgb, _ = decode(encode(Image.fromarray(pixels), format="TIFF"), None)
    assert fact.error is None
    assert np.abs(rgb[..., 0].astype(int) - np.rint(GREY * 255)).max() <= 1


@pytest.mark.parametrize(
    "pixels", [GREY.astype(np.float32) * 7e5, -GREY.astype(np.float32), (GREY * 1e8).astype(np.int32)]
)
def test_grey_of_an_unknown_range_is_refused_by_name(pixels):
    fact, rgb, _ = decode(encode(Image.fromarray(pixels), format="TIFF"), None)
    assert rgb is None
    assert "neither 0..1 nor 8 nor 16 bits" in fact.error[1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_photograph_is_that_of_viewers(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = Image.fromarray(noise(1, (12, 16, 3)))
    data = encode(image, exif=tags)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    fact, rgb, _ = decode(data, None)
    np.testing.assert_array_equal(rgb, expected)
    assert (fact.height, fact.width) == expected.shape[:2]
