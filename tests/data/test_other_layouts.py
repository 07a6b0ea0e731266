"""Data sets as others have them: every layout is read as it lies there, or refused with what was found."""

import io
import json
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_data import encode, noise, zipped

from deepfake_lit.data.images import open_data
from deepfake_lit.data.problems import DataError
from deepfake_lit.settings.schema import DataConfig

EACH = 6


def tree(root: Path, *folders: str, each: int = EACH, ending: str = "png") -> Path:
    """Images of their own in each of the folders."""
    for i, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for j in range(each):
            format = {"png": "PNG", "jpg": "JPEG", "jfif": "JPEG"}[ending]
            (root / folder / f"{j:05}.{ending}").write_bytes(encode(noise(1000 * i + j), format=format))
    return root


def opened(root: Path, tmp_path: Path, splits=("train", "validation", "test"), **settings):
    return open_data(DataConfig(root=str(root), **settings), tmp_path / "cache", splits, required=())


def counts(data) -> dict[str, list[int]]:
    k = len(data.class_names)
    return {name: np.bincount(split.labels, minlength=k).tolist() for name, split in data.splits.items()}


GENERATORS = {
    "GenImage": (
        [f"{g}/imagenet_ai_{g}/{s}/{c}" for g in ("ADM", "BigGAN") for s in ("train", "val") for c in ("ai", "nature")],
        ["ai", "nature"],
        {"train": [12, 12], "validation": [12, 12]},
        {"ADM", "BigGAN"},
    ),
    "CNNDetection": (
        [f"{g}/{c}" for g in ("progan/cat", "progan/car", "biggan") for c in ("0_real", "1_fake")],
        ["0_real", "1_fake"],
        None,
        {"progan/cat", "progan/car", "biggan"},
    ),
    "split above generators": (
        [f"set/{s}/{g}/{c}" for s in ("train", "test") for g in ("ADM", "VQDM") for c in ("real", "fake")],
        ["fake", "real"],
        None,
        {"ADM", "VQDM"},
    ),
    "generators below classes": (
        ["real/imagenet", "real/coco", "fake/ADM", "fake/glide", "fake/BigGAN"],
        ["fake", "real"],
        None,
        {"imagenet", "coco", "ADM", "glide", "BigGAN"},
    ),
    "one class without generators": (
        ["0_real", "1_fake/ADM", "1_fake/glide"],
        ["0_real", "1_fake"],
        None,
        {"", "ADM", "glide"},
    ),
    "classes of five generators, by camera": (
        [f"{camera}/{c}" for camera in ("canon", "nikon") for c in "01234"],
        list("01234"),
        None,
        {"canon", "nikon"},
    ),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_among_class_folders_are_groups(name, tmp_path):
    folders, classes, expected, groups = GENERATORS[name]
    data = opened(tree(tmp_path / "data", *folders), tmp_path)
    assert data.class_names == classes
    found = counts(data)
    assert sum(map(sum, found.values())) == EACH * len(folders)
    if expected:
        assert found == expected
    for split in data.splits.values():
        assert len(set(split.ids)) == len(split)
        for file, group, label in zip(split.files, split.groups, split.labels, strict=True):
            assert classes[label] in file.split("/")
            assert set(group.split("/")) - {""} <= set(file.split("/"))
    assert {group for split in data.splits.values() for group in split.groups} == groups


SPLIT_NAMES = {
    "CIFAKE": (["train/REAL", "train/FAKE", "test/REAL", "test/FAKE"], {"train", "validation", "test"}),
    "val": (["train/a", "train/b", "val/a", "val/b"], {"train", "validation"}),
    "capitals": (["Train/a", "Train/b", "VALID/a", "VALID/b"], {"train", "validation"}),
    "dev and testing": (
        ["training/a", "training/b", "dev/a", "dev/b", "testing/a", "testing/b"],
        {"train", "validation", "test"},
    ),
    "two wrappers": (
        ["archive/images/train/a", "archive/images/train/b", "archive/images/val/a", "archive/images/val/b"],
        {"train", "validation"},
    ),
    "train alone": (["train/a", "train/b"], {"train", "validation"}),
    "validation alone": (["validation/a", "validation/b"], {"validation"}),
    "test alone": (["test/a", "test/b"], {"test"}),
    "classes alone": (["a", "b"], {"train", "validation"}),
}


@pytest.mark.parametrize("name", SPLIT_NAMES)
@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_splits_by_the_names_that_people_give_them(form, name, tmp_path):
    folders, splits = SPLIT_NAMES[name]
    root = tree(tmp_path / "data", *folders)
    if form == "zip":
        root = zipped(root, "top/")
    if form == "tar":
        with tarfile.open(tmp_path / "data.tar", "w") as archive:
            archive.add(root, "./top")
        root = tmp_path / "data.tar"
    data = opened(root, tmp_path)
    assert set(data.splits) == splits
    assert sum(map(sum, counts(data).values())) == EACH * len(folders)
    assert all(min(each) > 0 for each in counts(data).values())
    assert len(data.class_names) == 2


def test_class_names_tell_which_folders_are_the_classes(tmp_path):
    root = tree(tmp_path / "data", "x/a", "x/b", "y/a", "y/c")
    with pytest.raises(DataError, match=r"which folders are the classes\?.*x/a/, x/b/, y/a/, y/c/"):
        opened(root, tmp_path)
    data = opened(root, tmp_path, class_names=["y", "x"])
    assert (data.class_names, set(data.splits["train"].groups)) == (["y", "x"], {"a", "b", "c"})


def test_every_class_has_an_image_held_out(tmp_path):
    for each in (2, 3, 20):
        data = opened(tree(tmp_path / str(each), "real", "fake", each=each), tmp_path)
        assert min(counts(data)["validation"]) >= 1
        assert min(counts(data)["train"]) >= 1


def test_a_class_without_validation_images_is_warned_of(tmp_path, capsys):
    root = tree(tmp_path / "data", "train/a", "train/b", "validation/a")
    opened(root, tmp_path)
    assert "the validation split has no image of class b: nothing can be measured on it" in capsys.readouterr().err


def write_csv(root: Path, text: str, name: str = "train.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_bytes(text.encode(encoding))
    return root


def rows(template: str, count: int = EACH) -> str:
    return "".join(template.format(i=i, label=i % 2, word=("real", "fake")[i % 2]) + "\n" for i in range(count))


CSVS = {
    "another header": ("filename,target\n" + rows("{i:05}.png,{label}"), "utf-8"),
    "capitals": ("Image_ID,Label\n" + rows("{i:05},{label}"), "utf-8"),
    "semicolons": ("image_id;label\n" + rows("{i:05};{label}"), "utf-8"),
    "tabs": ("path\tclass\n" + rows("train/{i:05}.png\t{label}"), "utf-8"),
    "UTF-16": ("image_id,label\n" + rows("{i:05},{label}"), "utf-16"),
    "UTF-16 unmarked": ("image_id,label\n" + rows("{i:05},{label}"), "utf-16-le"),
    "Latin-1": ("image_id,label,gér\n" + rows("{i:05},{label},é"), "latin-1"),
    "labels as words": ("file_name,label\n" + rows("{i:05}.png,{word}"), "utf-8"),
    "labels as floats": ("image_id,label\n" + rows("{i:05},{label}.0"), "utf-8"),
    "ids without zeros": ("id,label\n" + rows("{i},{label}"), "utf-8"),
    "paths from elsewhere": ("path,label\n" + rows("data/all/train/{i:05}.png,{label}"), "utf-8"),
    "backslashes": ("path,label\n" + rows("train\\{i:05}.png,{label}"), "utf-8"),
}


@pytest.mark.parametrize("name", CSVS)
def test_tables_as_others_write_them(name, tmp_path):
    text, encoding = CSVS[name]
    data = opened(
        write_csv(tree(tmp_path / "data", "train"), text, encoding=encoding), tmp_path, validation_fraction=0.4
    )
    labels = {}
    for split in data.splits.values():
        labels |= {
            Path(file).stem: data.class_names[label] for file, label in zip(split.files, split.labels, strict=True)
        }
    words = ("real", "fake") if name == "labels as words" else ("0", "1")
    assert labels == {f"{i:05}": words[i % 2] for i in range(EACH)}


def test_names_that_look_alike_are_the_same_file(tmp_path):
    root = tmp_path / "data"
    (root / "train").mkdir(parents=True)
    for i, name in enumerate(("café", "naïve", "b", "c")):
        (root / "train" / f"{unicodedata.normalize('NFD', name)}.png").write_bytes(encode(noise(i)))
    write_csv(root, "image_id,label\ncafé,0\nnaïve,1\nB,0\nc,1\n")
    assert len(opened(root, tmp_path).splits["train"]) + len(opened(root, tmp_path).splits["validation"]) == 4


def test_all_splits_share_a_folder(tmp_path):
    root = tree(tmp_path / "data", "images", each=8)
    write_csv(root, "image_id,label\n" + rows("{i:05},{label}", 4))
    write_csv(root, "image_id,label\n" + "".join(f"{i:05},{i % 2}\n" for i in range(4, 8)), "val.csv")
    data = opened(root, tmp_path)
    assert counts(data) == {"train": [2, 2], "validation": [2, 2]}
    write_csv(root, "image_id,label\n" + rows("{i:05},{label}", 3))
    with pytest.raises(DataError, match=r"images/00003\.png"):
        opened(root, tmp_path)


def test_one_table_with_a_column_of_splits_and_of_generators(tmp_path):
    root = tree(tmp_path / "data", "files", each=8)
    lines = [f"files/{i:05}.png,{('real', 'fake')[i % 2]},{('train', 'valid')[i // 4]},G{i % 3}\n" for i in range(8)]
    data = opened(write_csv(root, "file_name,label,split,generator\n" + "".join(lines), "metadata.csv"), tmp_path)
    assert (data.class_names, counts(data)) == (["fake", "real"], {"train": [2, 2], "validation": [2, 2]})
    assert set(data.splits["train"].groups) == {"G0", "G1", "G2"}


def test_rows_never_take_the_image_of_another_split_or_folder(tmp_path):
    root = tree(tmp_path / "data", "validation", "train/real")
    write_csv(root, "image_id,label\n" + rows("{i:05},{label}"), "validation.csv")
    write_csv(root, "path,label\n" + rows("train/fake/{i:05}.png,{label}"))
    with pytest.raises(DataError, match=r"(?s)no usable image is left in the split train.*missing_file \(6\)"):
        open_data(DataConfig(root=str(root)), tmp_path / "cache")


@pytest.mark.parametrize(
    ("label", "reason"),
    [("", "label ''"), ("-1", "label '-1'"), ("1.5", "label '1.5'")],
    ids=["empty", "negative", "half"],
)
def test_a_refusal_has_its_reasons_and_offers_nothing_that_leaves_nothing(label, reason, tmp_path):
    root = write_csv(tree(tmp_path / "data", "train"), "image_id,label\n" + rows("{i:05}," + (label or '""')) + "9,1\n")
    with pytest.raises(DataError) as caught:
        open_data(DataConfig(root=str(root)), tmp_path / "cache")
    assert reason in str(caught.value)
    assert "data.tolerate" not in str(caught.value)


def image_bytes(i: int) -> bytes:
    return encode(noise(i))


def write_parquet(root: Path, name: str, start: int, count: int, kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    numbers = range(start, start + count)
    images = [image_bytes(i) for i in numbers]
    columns = {"image": [{"bytes": b, "path": f"{i}.png"} for i, b in zip(numbers, images, strict=True)]}
    if kind == "bytes":
        columns = {"picture": images}
    if kind == "paths":
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        for i, b in zip(numbers, images, strict=True):
            (root / name).with_name(f"{i}.png").write_bytes(b)
        columns = {"file_name": [f"{i}.png" for i in numbers]}
    words = kind != "names"
    columns["label"] = [("nature", "ai")[i % 2] if words else i % 2 for i in numbers]
    columns["generator"] = [f"G{i % 3}" for i in numbers]
    table = pa.table(columns)
    if kind == "names":
        features = {"info": {"features": {"label": {"names": ["nature", "ai"], "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".arrow"):
        with pa.OSFile(str(root / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    else:
        parquet.write_table(table, root / name, row_group_size=4)


TABLES = {
    "Hub": [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/validation-00000-of-00001.parquet",
    ],
    "datasets on disk": ["train/data-00000-of-00001.arrow", "validation/data-00000-of-00001.arrow"],
    "one file": ["all.parquet"],
}


@pytest.mark.parametrize("kind", ["names", "bytes", "paths"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_images_are_read_in_place(name, kind, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    for i, file in enumerate(TABLES[name]):
        write_parquet(root, file, 10 * i, 10, kind)
    for place in (root, root / "all.parquet") if name == "one file" else (root,):
        data = opened(place, tmp_path)
        assert data.class_names == (["nature", "ai"] if kind == "names" else ["ai", "nature"])
        assert set(data.splits) == {"train", "validation"}
        seen = set()
        for split in data.splits.values():
            for row, label, group in zip(split.pixels[split.rows], split.labels, split.groups, strict=True):
                i = next(i for i in range(10 * len(TABLES[name])) if np.array_equal(row, noise(i)))
                assert data.class_names[label] == ("nature", "ai")[i % 2]
                assert group == f"G{i % 3}"
                seen.add(i)
        assert seen == set(range(10 * len(TABLES[name])))
        again = opened(place, tmp_path)  # from the cache
        assert again.hash == data.hash


def test_a_damaged_table_and_a_compressed_tar_are_refused_by_name(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match=r"train\.parquet is not a readable table"):
        opened(tmp_path / "data", tmp_path)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(tree(tmp_path / "images", "a", "b"), "x")
    with pytest.raises(DataError, match=r"compressed \.tar cannot be read in place"):
        opened(tmp_path / "x.tar.gz", tmp_path)


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


def test_absolute_paths_are_those_below_the_root(tmp_path):
    root = tree(tmp_path / "data", "train/x")
    write_csv(root, "path,label\n" + rows(f"{root}/train/x/{{i:05}}.png,{{label}}"))
    assert sum(map(sum, counts(opened(root, tmp_path)).values())) == EACH
    write_csv(root, "path,label\n" + rows("C:\\Users\\a\\data\\train\\x\\{i:05}.png,{label}"))
    assert sum(map(sum, counts(opened(root, tmp_path)).values())) == EACH


def test_labels_in_capitals_are_no_classes_of_their_own(tmp_path):
    text = "filename,label\n" + "".join(f"{i:05}.png,{('Real', 'fake', 'real', 'FAKE')[i % 4]}\n" for i in range(EACH))
    with pytest.raises(DataError, match="differ in capitals alone: FAKE and fake, Real and real; write them alike"):
        opened(write_csv(tree(tmp_path / "data", "train"), text), tmp_path)


def test_numbers_among_words_are_named(tmp_path):
    text = "filename,label\n" + "".join(f"{i:05}.png,{('0', 'fake')[i % 2]}\n" for i in range(EACH))
    root = write_csv(tree(tmp_path / "data", "train"), text)
    with pytest.raises(DataError, match="has label 'fake'"):
        open_data(DataConfig(root=str(root)), tmp_path / "cache", strict=False)


def test_a_test_split_of_a_table_can_be_without_labels(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    (tmp_path / "data").mkdir()
    for split, labels in (("train", [i % 2 for i in range(20)]), ("test", [-1] * 5)):
        images = [{"bytes": image_bytes(i + 100 * (split == "test")), "path": None} for i in range(len(labels))]
        write_table(pa.table({"image": images, "label": labels}), tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    data = opened(tmp_path / "data", tmp_path)
    assert data.class_names == ["0", "1"]
    assert (data.splits["test"].labels, len(data.splits["test"])) == (None, 5)


def test_a_table_without_images_is_refused_with_its_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"no column of images .*; the columns are text, label"):
        opened(tmp_path / "x.parquet", tmp_path)


def test_every_table_has_an_order_of_classes_and_names_of_its_own(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    (tmp_path / "data").mkdir()
    for split, names, start in (("train", ["real", "fake"], 0), ("validation", ["fake", "real"], 100)):
        images = [{"bytes": image_bytes(start + i), "path": None} for i in range(10)]
        labels = [names.index(("real", "fake")[i % 2]) for i in range(10)]
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = pa.table({"image": images, "label": labels}).replace_schema_metadata(
            {"huggingface": json.dumps(features)}
        )
        write_table(table, tmp_path / "data" / f"{split}.parquet")
    for split in opened(tmp_path / "data", tmp_path).splits.values():
        assert split.labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize("word", ["holdout", "PrivateTest", "3"])
def test_a_split_that_is_none_is_not_taken_for_training_images(word, tmp_path):
    lines = "".join(f"{i:05}.png,{i % 2},{('train', word)[i // 4]}\n" for i in range(EACH))
    root = write_csv(tree(tmp_path / "data", "images"), "path,label,split\n" + lines, "labels.csv")
    with pytest.raises(DataError, match=f"the split '{word}' is none of train, validation and test"):
        opened(root, tmp_path)


def test_csv_files_in_several_folders_are_not_ignored(tmp_path):
    root = tree(tmp_path / "data", "train", "test")
    for split in ("train", "test"):
        write_csv(root, "file_name,label\n" + rows("{i:05}.png,{word}"), f"{split}/metadata.csv")
    with pytest.raises(DataError, match=r"which CSV files count\? test/metadata\.csv, train/metadata\.csv"):
        opened(root, tmp_path)


def test_class_folders_in_other_capitals_are_the_same_classes(tmp_path):
    data = opened(
        tree(tmp_path / "data", "train/real", "train/fake", "val/Real", "val/FAKE", "test/REAL ", "test/Fake"), tmp_path
    )
    assert data.class_names == ["fake", "real"]
    assert counts(data)["test"] == [EACH, EACH]


def test_links_that_lead_nowhere_are_named(tmp_path):
    root = tree(tmp_path / "data", "real", "fake")
    (root / "real" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"real/gone\.png \(cannot be read"):
        opened(root, tmp_path)
