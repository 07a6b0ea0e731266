"""Healthy data sets in every layout, and their content hash."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_data import class_folders, edit, encode, noise, put, write_healthy, zipped

from deepfake_lit.data.csv_rows import image_ids
from deepfake_lit.data.images import open_data
from deepfake_lit.data.problems import DataError
from deepfake_lit.data.sources import open_source
from deepfake_lit.settings.schema import DataConfig


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return write_healthy(tmp_path / "data")


def opened(root: Path, splits=("train", "validation"), **settings):
    return open_data(DataConfig(root=str(root), **settings), root.parent / "cache", splits)


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a top folder", "relative folder", "links to folders"])
def test_kaggle_layout(form, root, monkeypatch):
    if form.startswith("zip"):
        put(encode(noise(5)), "__MACOSX/train/._t00.png")(root)  # as macOS packs them
        place = zipped(root, "images/" if "top" in form else "")
    elif form == "relative folder":
        monkeypatch.chdir(root.parent)
        place = Path("data")
    else:
        place = root
    if form == "links to folders":
        for name in ("up", "train/up"):  # loops must not hang
            (root / name).symlink_to(root, target_is_directory=True)
        (root / "validation").rename(root.parent / "elsewhere")
        (root / "validation").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    data = open_data(DataConfig(root=str(place)), root.parent / "cache")
    train, validation = data.splits["train"], data.splits["validation"]
    assert train.ids == [f"t{i:02}" for i in range(12)]
    assert len(validation) == 12
    assert (data.class_names, data.size) == (["0", "1", "2"], (16, 16))
    for split, seed in ((train, 0), (validation, 100)):
        np.testing.assert_array_equal(split.labels, np.arange(12) % 3)
        np.testing.assert_array_equal(split.pixels[split.rows], np.stack([noise(seed + i) for i in range(12)]))


def test_test_images_come_from_test_csv_or_else_from_their_folder(root):
    for i in (2, 1, 0):
        put(encode(noise(200 + i)), f"test/e{i}.png")(root)
    everything = ("train", "validation", "test")
    assert opened(root, everything).splits["test"].ids == ["e0", "e1", "e2"]
    put(b"image_id\ne2\ne0\ne1\n", "test.csv")(root)
    test = opened(root, everything).splits["test"]
    assert (test.ids, test.labels) == (["e2", "e0", "e1"], None)
    np.testing.assert_array_equal(test.pixels[test.rows[0]], noise(202))
    assert image_ids(open_source(root), "test.csv") == ["e2", "e0", "e1"]


def test_a_list_of_ids_that_cannot_be_read_is_a_data_error(root):
    with pytest.raises(DataError, match=r"missing\.csv cannot be read"):
        image_ids(open_source(root), "missing.csv")


@pytest.mark.parametrize("top", ["", "images_"])
def test_class_folders_with_splits(top, root):
    counts = {"train_real": 3, "train_fake": 4, "validation_fake": 2, "validation_real": 1, "test": 2}
    class_folders(**{top + name: count for name, count in counts.items()})(root)
    data = opened(root, ("train", "validation", "test"))
    assert data.class_names == ["fake", "real"]
    assert data.splits["train"].ids == [*(f"fake/{i}.png" for i in range(4)), *(f"real/{i}.png" for i in range(3))]
    assert data.splits["train"].labels.tolist() == [0] * 4 + [1] * 3
    assert data.splits["validation"].labels.tolist() == [0, 0, 1]
    assert data.splits["test"].ids == ["0", "1"]


def test_class_folders_without_splits_hold_a_share_out_by_name(root):
    class_folders(real=40, fake=40)(root)
    data = opened(root, validation_fraction=0.25)
    train, validation = data.splits["train"], data.splits["validation"]
    assert len(train) + len(validation) == 80
    assert 10 <= len(validation) <= 30
    assert not set(train.ids) & set(validation.ids)
    put(encode(noise(5555)), "fake/new.png")(root)  # another image moves none of the others
    again = opened(root, validation_fraction=0.25).splits
    assert set(again["validation"].ids) - {"fake/new.png"} == set(validation.ids)


def test_class_names_set_the_order_of_class_folders(root):
    class_folders(train_real=3, train_fake=3, validation_real=1, validation_fake=1)(root)
    data = opened(root, class_names=["real", "fake"])
    assert data.class_names == ["real", "fake"]
    assert dict(zip(data.splits["validation"].ids, data.splits["validation"].labels, strict=True)) == {
        "real/0.png": 0,
        "fake/0.png": 1,
    }


def test_names_of_class_folder_files_need_not_be_text(root):
    class_folders(real=8, fake=8)(root)
    os.rename(os.fsencode(root / "real/0.png"), os.fsencode(root) + b"/real/\xff.png")
    data = opened(root, validation_fraction=0.3)
    assert sum(map(len, data.splits.values())) == 16


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("\n", " \n\n").replace(",", ", \t"),
        lambda text: text.replace("t03,0", '"t03","0"').rstrip(),
        lambda text: "".join(
            f"{line},{line}\n" for line in text.replace("image_id,label", "label,image_id").split()
        ).replace("label,image_id,label,image_id", "more,x,image_id,label"),
        lambda text: text.replace(",", ".png,").replace("image_id.png", "image_id"),
    ],
    ids=["CRLF and BOM", "CR", "blanks", "quotes", "more columns", "ids with ending"],
)
def test_harmless_ways_to_write_a_csv(rewrite, root):
    put(rewrite((root / "train.csv").read_text()).encode(), "train.csv")(root)
    train = opened(root).splits["train"]
    assert [i.removesuffix(".png") for i in train.ids] == [f"t{i:02}" for i in range(12)]
    assert train.labels.tolist() == [0, 1, 2] * 4


def test_hash_follows_the_content_and_not_the_place(root, tmp_path):
    def hash_after(change, name):
        copy = shutil.copytree(root, tmp_path / name)
        change(copy)
        return opened(copy).hash

    pixels = noise(3)
    pixels[0, 0, 0] ^= 1
    clear = np.dstack([noise(3), np.full((16, 16), 255, np.uint8)])
    clear[0, 0, 3] = 254
    original = opened(root).hash
    assert opened(zipped(root)).hash == original
    assert opened(zipped(root, "top/")).hash == original
    assert hash_after(lambda r: None, "copy") == original
    same_pixels = encode(np.dstack([noise(3), np.full((16, 16), 255, np.uint8)]))  # in another file
    assert hash_after(put(same_pixels, "train/t03.png"), "opaque") == original
    changed = [
        hash_after(put(encode(pixels), "train/t03.png"), "pixel"),
        hash_after(put(encode(clear), "train/t03.png"), "alpha"),
        hash_after(edit("t03,0", "t03,1"), "label"),
        hash_after(edit("v03,0", "v03,1", "validation.csv"), "validation label"),
        hash_after(edit("t03,0\nt04,1\n", "t04,1\nt03,0\n"), "order"),
    ]
    assert len({original, *changed}) == 6
