"""What counts as an image file."""

import io

import numpy as np
import pytest
from helpers.layouts import EACH, opened, tree
from helpers.tiny_data import encode, noise

from deepfake_lit.data.problems import DataError


def test_files_are_images_by_their_content(tmp_path):
    root = tree(tmp_path / "data", "a", "b", ending="jfif")
    for name, data in {
        "a/avif.avif": encode(noise(50), format="AVIF"),
        "a/no_ending": encode(noise(51)),
        "a/wrong.txt_": encode(noise(52), format="JPEG"),
        "b/x.jp2": encode(noise(53), format="JPEG2000"),
        "b/wrong.png": encode(noise(54), format="WEBP", lossless=True),
        "b/readme.md": b"no image",
        "b/noise.bin": b"\1\2\3",
    }.items():
        (root / name).write_bytes(data)
    data = opened(root, tmp_path)
    files = {file for split in data.splits.values() for file in split.files}
    assert len(files) == 2 * EACH + 5
    formats = {
        file: fact.format for split in data.splits.values() for file, fact in zip(split.files, split.facts, strict=True)
    }
    assert formats["b/wrong.png"] == "WEBP"
    (root / "a" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(DataError, match=r"a/phone\.heic \(HEIF, which Pillow does not read; convert it to PNG\)"):
        opened(root, tmp_path)


def test_a_photograph_is_turned_as_viewers_turn_it_so_that_its_copy_is_found(tmp_path):
    from PIL import Image

    root = tree(tmp_path / "data", "train/a", "train/b", "validation/a", "validation/b")
    upright = noise(77, (16, 16, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    lying = io.BytesIO()
    Image.fromarray(np.rot90(upright)).save(lying, "PNG", exif=exif)
    (root / "train/a/x.png").write_bytes(lying.getvalue())
    (root / "validation/a/y.png").write_bytes(encode(upright))
    with pytest.raises(DataError, match="leaked_pixels"):
        opened(root, tmp_path)
