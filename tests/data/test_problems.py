"""Everything that can be wrong with a data set is one clear error, or is tolerated as the error's text promises."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import exit_status
from helpers.tiny_data import (
    SIDE,
    chain,
    class_folders,
    copy,
    cut_zip,
    damaged_zip,
    edit,
    encode,
    noise,
    png,
    put,
    remove,
    rename,
    replace,
    row,
    write_csvs,
    write_healthy,
)
from PIL import Image

from deepfake_lit.data.images import ImageData, open_data
from deepfake_lit.data.problems import DataError
from deepfake_lit.settings.choices import PROBLEMS
from deepfake_lit.settings.schema import DataConfig


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    return write_healthy(tmp_path_factory.mktemp("healthy"))


@pytest.fixture
def root(healthy, tmp_path) -> Path:
    return shutil.copytree(healthy, tmp_path / "data")


def directory_for_image(root):
    (root / "train/t03.png").unlink()
    (root / "train/t03.png").mkdir()


def huge_file(root):
    with (root / "train/t03.png").open("r+b") as file:
        file.truncate(2**30 + 1)  # sparse


def case(break_it, kinds: str, *texts: str, **settings):
    return break_it, set(kinds.split()), texts, settings


CLASS_2 = [f"t{i:02}" for i in (2, 5, 8, 11)]
GREY, COLOUR, OTHER = noise(1000, (SIDE, SIDE)), noise(1001), noise(1002)
WHOLE = encode(COLOUR)
CORRUPT = WHOLE[:400] + bytes([WHOLE[400] ^ 0x55]) + WHOLE[401:]
BOMB = png(8, b"\0" * 100, side=100_000)
RGB16 = png(16, (b"\0" + bytes(6 * SIDE)) * SIDE)
GREY16 = encode(GREY.astype(np.uint16) * 257)
CMYK = encode(Image.fromarray(COLOUR).convert("CMYK"), format="JPEG")
PALETTE = encode(Image.fromarray(COLOUR).convert("P"))
GREY_ALPHA = encode(Image.merge("LA", [Image.fromarray(GREY)] * 2))
ONE_BIT = encode(Image.fromarray(GREY).convert("1"))
GIF = encode(COLOUR, OTHER, format="GIF")
WEBP = encode(COLOUR, OTHER, format="WEBP", lossless=True)

# what is broken: how, the kinds of problem, what the message must hold, settings
BROKEN = {
    "root missing": case(lambda r: r / "nowhere", "layout", "nowhere: there is no such folder"),
    "root is a text file": case(lambda r: r / "train.csv", "layout", "neither a folder nor a readable .zip"),
    "root name too long": case(lambda r: r / ("x" * 300), "layout", "cannot be read"),
    "nothing in root": case(lambda r: (r / "empty").mkdir() or r / "empty", "layout", "it has no images"),
    "train.csv missing": case(remove("train.csv"), "class_count", "no images of the split train, only of validation"),
    "layout kaggle without train.csv": case(remove("train.csv"), "layout", "no train.csv in it", layout="kaggle"),
    "train and test are no classes": case(
        chain(remove("train.csv", "validation.csv"), rename("validation", "test")),
        "layout",
        "neither train.csv nor at least two class folders",
        "the folders with images are test/, train/",
    ),
    "two folders for a split": case(
        class_folders(train_a=3, train_b=3, val_a=3, val_b=3, valid_a=3, valid_b=3),
        "layout",
        "val and valid mean the same split",
    ),
    "folders that could both be the classes": case(
        class_folders(x_a=3, x_b=3, y_a=3, y_c=3), "layout", "which folders are the classes? data.class_names="
    ),
    "one class folder": case(class_folders(train_a=3, validation_a=3), "layout", "at least two class folders"),
    "class in validation alone": case(
        class_folders(train_a=3, train_b=3, validation_a=3, validation_c=3),
        "layout",
        "validation/ has classes that train/ lacks: c",
    ),
    "zip cut off": case(cut_zip, "layout", "neither a folder nor a readable .zip"),
    "zip contents table damaged": case(lambda r: damaged_zip(r, b"PK\x01\x02", -4), "layout", "cannot be listed"),
    "zip member damaged": case(
        lambda r: damaged_zip(r, b"train/t03.png", 60), "corrupt_image", "train/t03.png (cannot be read: Bad CRC-32"
    ),
    "zip CSV damaged": case(lambda r: damaged_zip(r, b"image_id,label\n"), "csv", "train.csv cannot be read: Bad CRC"),
    "CSV empty": case(put(b"", "train.csv"), "csv", "train.csv is empty"),
    "CSV blank": case(put(b" \n\t\n\n", "train.csv"), "csv", "train.csv is empty"),
    "CSV without header": case(edit("image_id,label\n", ""), "csv", "needs the header", "first line is 't00,0'"),
    "CSV with another header": case(edit("image_id,label", "id;label"), "csv", "has 1 fields instead of 2"),
    "CSV column twice": case(edit("image_id,label", "image_id,label,label"), "csv", "'image_id,label,label'"),
    "CSV header only": case(put(b"image_id,label\n", "train.csv"), "csv", "train.csv has a header but no rows"),
    "CSV blank rows only": case(put(b"image_id,label\n\n\n", "train.csv"), "csv", "train.csv has a header but no rows"),
    "CSV binary": case(put(bytes(range(256)), "train.csv"), "csv", "train.csv is not text in UTF-8, UTF-16 or Latin-1"),
    "CSV quote unclosed": case(edit("t03,0", '"t03,0'), "csv", "train.csv, the row that begins in line 5"),
    "CSV too many fields": case(edit("t03,0", "t03,0,9"), "csv", "train.csv line 5 has 3 fields instead of 2"),
    "CSV too few fields": case(edit("t03,0", "t03"), "csv", "csv (1)", "line 5 has 1 fields instead of 2"),
    "image missing": case(remove("train/t03.png"), "missing_file", "train.csv line 5: train/t03"),
    "images of a class missing": case(
        remove(*(f"train/{i}.png" for i in CLASS_2)), "missing_file", "missing_file (4)", "train/t11"
    ),
    "directory for an image": case(directory_for_image, "missing_file", "train/t03"),
    "row missing": case(edit("t03,0\n", ""), "extra_file", "extra_file (1)", "train/t03.png"),
    "image in a folder within": case(put(WHOLE, "train/more/x.png"), "extra_file", "train/more/x.png"),
    "image outside of classes": case(
        chain(class_folders(train_a=3, train_b=3, validation_a=3), put(WHOLE, "train/x.png")),
        "extra_file",
        "train/x.png",
    ),
    "file name with control characters": case(put(WHOLE, "train/a\n\x1b[2Jb.png"), "extra_file", "a\\n\\x1b[2Jb.png"),
    "file name that is no text": case(put(WHOLE, "train/\udcff.png"), "extra_file", "train/\\udcff.png"),
    "id twice": case(row("t03,0"), "duplicate_id", "train.csv line 14: t03, as in train.csv line 5"),
    "id twice with two labels": case(row("t03,1"), "duplicate_id", "line 14: t03", "labels '0' and '1'"),
    "id twice with ending": case(row("t03.png,0"), "duplicate_id", "line 14: t03.png"),
    "id in both splits": case(
        chain(row("t03.png,0", "validation.csv"), put(WHOLE, "validation/t03.png")),
        "shared_id",
        "t03.png in train and validation",
    ),
    "id with parent": case(edit("t03", "../t03"), "unsafe_id", "train.csv line 5: '../t03'"),
    "id absolute": case(edit("t03", "/etc/passwd"), "missing_file extra_file", "line 5: train/etc/passwd"),
    "id with NUL": case(edit("t03", "t\0"), "unsafe_id", "line 5: 't\\x00'"),
    "id over two lines": case(edit("t03", '"t\n03"'), "unsafe_id", "line 5: 't\\n03'"),
    "id is a dot": case(edit("t03", "."), "unsafe_id", "line 5: '.'"),
    "id empty": case(edit("t03", ""), "empty_id", "empty_id (1)", "train.csv line 5"),
    "label a word": case(edit("t03,0", "t03,cat"), "bad_label", "train.csv line 5: t03 has label 'cat'"),
    "label a fraction": case(edit("t03,0", "t03,1.5"), "bad_label", "t03 has label '1.5'"),
    "label negative": case(edit("t03,0", "t03,-1"), "bad_label", "t03 has label '-1'"),
    "label empty": case(edit("t03,0", "t03,"), "bad_label", "t03 has label ''"),
    "label over num_classes": case(edit("t03,0", "t03,3"), "label_range", "t03 has label 3, not 0..2", num_classes=3),
    "label of validation alone": case(edit("v03,0", "v03,3", "validation.csv"), "label_range", "validation: v03"),
    "label that makes a billion classes": case(edit("t03,0", "t03,999999999"), "class_count", "1000000000 classes"),
    "class without images": case(
        chain(*(edit(f"{i},2", f"{i},1") for i in CLASS_2)), "class_count", "no image of class 2", num_classes=3
    ),
    "one class": case(lambda r: write_csvs(r, classes=1), "class_count", "every training image has the same label"),
    "num_classes 1": case(lambda r: None, "class_count", "1 by data.num_classes; at least 2", num_classes=1),
    "too few class names": case(lambda r: None, "label_range", "label_range (8)", class_names=["a", "b"]),
    "too many class names": case(
        lambda r: None, "class_count", "no image of class d (4 classes", class_names=[*"abcd"]
    ),
    "class names against num_classes": case(
        lambda r: None,
        "class_count",
        "data.num_classes=3, but there are 2 classes: a, b",
        class_names=["a", "b"],
        num_classes=3,
    ),
    "class names that are no folders": case(
        class_folders(train_a=3, train_b=3, validation_a=3),
        "class_count",
        "data.class_names are a, c, but the class folders are a, b",
        class_names=["a", "c"],
    ),
    "two files for an id": case(
        put(encode(OTHER, format="JPEG"), "train/t03.jpg"), "ambiguous_file", "train/t03.jpg, train/t03.png"
    ),
    "file empty": case(replace(b""), "corrupt_image", "train/t03.png (the file is empty)"),
    "file is text": case(replace(b"not an image"), "corrupt_image", "train/t03.png (none of PNG, JPEG"),
    "file of a foreign format": case(replace(encode(COLOUR, format="EPS")), "corrupt_image", "none of PNG, JPEG"),
    "file of a gigabyte": case(huge_file, "corrupt_image", "1,073,741,825 bytes are more"),
    "PNG cut off": case(replace(WHOLE[: len(WHOLE) // 2]), "corrupt_image", "train/t03.png (OSError: "),
    "PNG data corrupted": case(replace(CORRUPT), "corrupt_image", "train/t03.png (OSError: broken data stream"),
    "PNG header only": case(replace(WHOLE[:33]), "corrupt_image", "train/t03.png"),
    "all of train corrupt": case(
        chain(*(put(b"?", f"train/t{i:02}.png") for i in range(12))),
        "corrupt_image",
        "corrupt_image (12)",
        "and 7 more",
    ),
    "decompression bomb": case(replace(BOMB), "decompression_bomb", "train/t03.png (100000 x 100000 pixels)"),
    "another size": case(replace(encode(noise(1, (16, 20, 3)))), "wrong_size", "t03.png (20 x 16, not 16 x 16)"),
    "16-bit grey": case(replace(GREY16), "odd_mode", "train/t03.png (mode I;16)"),
    "16-bit colour": case(replace(RGB16), "odd_mode", "train/t03.png (mode RGB;16)"),
    "CMYK": case(replace(CMYK, "jpg"), "odd_mode", "train/t03.jpg (mode CMYK)"),
    "palette": case(replace(PALETTE), "odd_mode", "train/t03.png (mode P)"),
    "grey": case(replace(encode(GREY)), "odd_mode", "train/t03.png (mode L)"),
    "grey and alpha": case(replace(GREY_ALPHA), "odd_mode", "train/t03.png (mode LA)"),
    "1 bit": case(replace(ONE_BIT), "odd_mode", "train/t03.png (mode 1)"),
    "animated PNG": case(replace(encode(COLOUR, OTHER)), "animated", "train/t03.png (2 frames)"),
    "animated WebP": case(replace(WEBP, "webp"), "animated", "train/t03.webp (2 frames)"),
    "animated GIF": case(replace(GIF, "gif"), "animated odd_mode", "t03.gif (2 frames)"),
    "same image twice": case(copy("train/t00.png", "train/t03.png"), "same_pixels", "train/t03.png = train/t00.png"),
    "same pixels in WebP": case(
        replace(encode(noise(0), format="WEBP", lossless=True), "webp"), "same_pixels", "train/t03.webp = train/t00.png"
    ),
    "same image in two classes": case(
        copy("train/t00.png", "train/t04.png"), "conflicting_labels", "train/t04.png = train/t00.png (label 1, not 0)"
    ),
    "same image in two classes of two splits": case(
        copy("train/t00.png", "validation/v04.png"), "conflicting_labels leaked_pixels", "v04.png = train/t00.png"
    ),
    "same image in two class folders": case(
        chain(class_folders(real=12, fake=12), copy("real/0.png", "fake/0.png")), "conflicting_labels", "real/0.png"
    ),
    "same image in two splits": case(
        copy("train/t00.png", "validation/v03.png"), "leaked_pixels", "validation/v03.png = train/t00.png"
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_data_is_one_clear_error(name, root, tmp_path):
    break_it, kinds, texts, settings = BROKEN[name]
    root = break_it(root) or root
    with pytest.raises(DataError) as caught:
        open_data(DataConfig(root=str(root), **settings), tmp_path / "cache")
    assert caught.value.kinds == kinds
    for text in (root.name, *texts):
        assert text in str(caught.value)


def test_all_problems_are_in_one_message_with_counts(root, tmp_path):
    chain(edit("t03,0", "t03,cat"), row("x y,1"), put(b"", "train/t00.png"), put(b"", "train/t01.png"))(root)
    chain(*(put(WHOLE, f"validation/extra{i}.png") for i in range(9)))(root)
    with pytest.raises(DataError) as caught:
        open_data(DataConfig(root=str(root), tolerate=["odd_mode"]), tmp_path / "cache")
    message = str(caught.value)
    assert caught.value.kinds == {"bad_label", "missing_file", "corrupt_image", "extra_file"}
    assert message.startswith(f"13 problems in the data {root}")
    for text in ("bad_label (1)", "missing_file (1)", "corrupt_image (2)", "extra_file (9)", "and 4 more"):
        assert text in message
    assert message.count("validation/extra") == 5
    assert "data.tolerate=[bad_label,missing_file,extra_file,corrupt_image,odd_mode]" in message  # keeps what was set


def test_error_reaches_the_parent_of_a_worker_process_whole():
    error = pickle.loads(pickle.dumps(DataError("no rows", {"csv"})))
    assert (str(error), error.kinds) == ("no rows", {"csv"})


def pixels(data: ImageData, image_id: str, split: str = "train") -> np.ndarray:
    images = data.splits[split]
    return images.pixels[images.rows[images.ids.index(image_id)]]


def dropped(data: ImageData) -> bool:
    train = data.splits["train"]
    others = [f"t{i:02}" for i in range(12) if i != 3]
    return train.ids == others and all(np.array_equal(pixels(data, i), noise(int(i[1:]))) for i in others)


def kept(data: ImageData) -> bool:
    return [len(split) for split in data.splits.values()] == [12, 12]


SMALL = np.asarray(Image.fromarray(OTHER).resize((20, 12)))
TOLERATED = {  # kind: how to break the data, whether what `when_tolerated` says came true, settings
    "empty_id": (edit("t03", ""), dropped),
    "unsafe_id": (edit("t03", "../t03"), dropped),
    "duplicate_id": (row("t03,1"), lambda d: kept(d) and d.splits["train"].labels[3] == 0),
    "shared_id": (
        chain(row("t03,2", "validation.csv"), put(WHOLE, "validation/t03.png")),
        lambda d: np.array_equal(pixels(d, "t03"), noise(3)) and np.array_equal(pixels(d, "t03", "validation"), COLOUR),
    ),
    "bad_label": (edit("t03,0", "t03,cat"), dropped),
    "label_range": (edit("t03,0", "t03,7"), dropped, {"num_classes": 3}),
    "missing_file": (remove("train/t03.png"), dropped),
    "ambiguous_file": (
        put(encode(COLOUR, format="BMP"), "train/t03.bmp"),
        lambda d: kept(d) and np.array_equal(pixels(d, "t03"), COLOUR),
    ),
    "extra_file": (put(WHOLE, "train/x.png"), kept),
    "unused_file": (
        chain(class_folders(train_a=6, train_b=6, validation_a=6, validation_b=6), put(WHOLE, "x.png")),
        kept,
    ),
    "corrupt_image": (replace(CORRUPT), dropped),
    "decompression_bomb": (replace(BOMB), dropped),
    "wrong_size": (
        replace(encode(SMALL)),
        lambda d: np.array_equal(
            pixels(d, "t03"), Image.fromarray(SMALL).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        ),
    ),
    "odd_mode": (replace(GREY16), lambda d: np.array_equal(pixels(d, "t03"), np.stack([GREY] * 3, -1))),
    "animated": (replace(encode(COLOUR, OTHER)), lambda d: np.array_equal(pixels(d, "t03"), COLOUR)),
    "same_pixels": (copy("train/t00.png", "train/t03.png"), kept),
    "conflicting_labels": (copy("train/t00.png", "train/t04.png"), kept),
    "leaked_pixels": (copy("train/t00.png", "validation/v00.png"), kept),
}


def test_every_tolerable_kind_is_tested():
    assert TOLERATED.keys() == {name for name, kind in PROBLEMS.items() if kind.when_tolerated}


@pytest.mark.parametrize("kind", TOLERATED)
def test_tolerated_problem_has_the_effect_that_its_text_promises(kind, root, tmp_path, capsys):
    break_it, came_true, *settings = TOLERATED[kind]
    break_it(root)
    cfg = DataConfig(root=str(root), tolerate=[kind], **dict(*settings))
    data = open_data(cfg, tmp_path / "cache")
    assert data.problems.kinds == [kind]
    assert f"{kind} (1): {PROBLEMS[kind].meaning} - {PROBLEMS[kind].when_tolerated}" in capsys.readouterr().err
    assert came_true(data)


def test_tolerating_must_leave_something_of_every_class(root, tmp_path):
    chain(*(put(b"", f"train/{i}.png") for i in CLASS_2))(root)
    with pytest.raises(DataError, match="no usable training image is left of class 2"):
        open_data(DataConfig(root=str(root), tolerate=["corrupt_image"]), tmp_path / "cache")


def test_command_line_prints_the_message_alone_and_exits_with_2(root, tmp_path, capfd):
    put(b"", "train/t03.png")(root)
    assert exit_status(["train", f"data.root={root}", f"output_dir={tmp_path / 'out'}"]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"deepfake-lit: 1 problem in the data {root}; nothing was done with them.")
    assert "Traceback" not in said.err
