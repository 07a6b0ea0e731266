"""Class folders as others have them: each layout is read as it lies there, or refused with what was found."""

import tarfile

import numpy as np
import pytest
from helpers.layouts import EACH, counts, opened, tree
from helpers.tiny_data import encode, noise, zipped

from deepfake_lit.data.images import open_data
from deepfake_lit.data.problems import DataError
from deepfake_lit.settings.schema import DataConfig

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
    open_data(DataConfig(root=str(root)), tmp_path / "cache")
    assert "the validation split has no image of class b: nothing can be measured on it" in capsys.readouterr().err


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


BESIDE = {
    "test among generators, train flat": (
        ["train/real", "train/fake", "test/ADM/real", "test/ADM/fake", "test/glide/fake"],
        {"train": [6, 6], "test": [12, 6]},
        {"ADM", "glide"},
    ),
    "train among generators, test flat": (
        ["train/ADM/real", "train/ADM/fake", "train/glide/real", "train/glide/fake", "test/real", "test/fake"],
        {"train": [12, 12], "test": [6, 6]},
        {""},
    ),
    "one class of the test among generators": (
        ["train/real", "train/fake", "test/real", "test/fake/ADM", "test/fake/glide"],
        {"train": [6, 6], "test": [12, 6]},
        {"", "ADM", "glide"},
    ),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_split_has_generators_where_another_has_none(name, tmp_path):
    folders, expected, groups = BESIDE[name]
    data = opened(tree(tmp_path / "data", *folders), tmp_path)
    found = counts(data)
    assert data.class_names == ["fake", "real"]
    assert np.add(found["train"], found["validation"]).tolist() == expected["train"]
    assert found["test"] == expected["test"]
    assert set(data.splits["test"].groups) == groups


def test_folders_within_a_class_folder_of_the_same_split_are_not_taken_without_a_word(tmp_path):
    with pytest.raises(DataError, match=r"extra_file \(6\)"):
        opened(tree(tmp_path / "data", "real", "fake", "fake/ADM"), tmp_path)


def test_a_test_folder_with_a_class_more_is_not_unlabelled(tmp_path, capsys):
    root = tree(tmp_path / "data", "train/a", "train/b", "test/a", "test/b", "test/c")
    with pytest.raises(DataError, match=r"(?s)bad_label \(6\).*has label 'c'"):
        opened(root, tmp_path)
    assert counts(opened(root, tmp_path, tolerate=["bad_label"]))["test"] == [6, 6]
    assert len(opened(root, tmp_path, ("train", "validation")).splits) == 2
    other = tree(tmp_path / "other", "train/a", "train/b", "test/images")
    assert opened(other, tmp_path).splits["test"].labels is None
    assert "the test images count as unlabelled: images in their folder are no classes" in capsys.readouterr().err


def test_what_are_classes_and_what_groups_is_said(tmp_path, capsys):
    opened(tree(tmp_path / "data", "ADM/cat", "ADM/dog", "glide/cat", "glide/dog"), tmp_path)
    said = capsys.readouterr().err
    assert "classes: the folders cat, dog; groups: the folders ADM, glide (data.class_names=[...]" in said


@pytest.mark.parametrize("folders", [("REAL",), ("real",), ("real/imagenet", "real/coco")])
def test_a_folder_of_one_class_is_read_with_the_names_of_all(folders, tmp_path):
    root = tree(tmp_path / "data", *folders)
    if folders != ("real/imagenet", "real/coco"):
        with pytest.raises(DataError, match=r"data\.class_names=\[\.\.\.\] with the names of all classes"):
            opened(root, tmp_path)
    found = counts(opened(root, tmp_path, class_names=["fake", "real"]))
    assert sum(map(np.array, found.values())).tolist() == [0, EACH * len(folders)]


def test_what_there_is_in_place_of_images_is_named(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / "film.mp4").write_bytes(b"\0")
    with pytest.raises(DataError, match=r"no images, only other files such as film\.mp4"):
        opened(root, tmp_path)
    tree(tmp_path / "images", "a", "b")
    zipped(tmp_path / "images").rename(root / "all.zip")
    with pytest.raises(DataError, match=r"data\.root=\S+/all\.zip reads the archive"):
        opened(root, tmp_path)


def test_a_table_of_something_else_beside_class_folders_is_no_data_set(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tree(tmp_path / "data", "real", "fake")
    pq.write_table(pa.table({"id": ["a", "b"], "score": [0.1, 0.2]}), root / "features.parquet")
    assert opened(root, tmp_path).class_names == ["fake", "real"]
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}), root / "features.parquet")
    assert opened(root, tmp_path, layout="folders").class_names == ["fake", "real"]


@pytest.mark.parametrize("name", ["{video}_frame_{i:04}", "{video} frm{i}", "{video}-Frame{i}"])
def test_frames_of_a_video_are_held_out_together(name, tmp_path):
    root = tmp_path / "data"
    for c, folder in enumerate(("real", "fake")):
        (root / folder).mkdir(parents=True)
        for i in range(24):
            file = name.format(video=f"v{i // 4}", i=i % 4)
            (root / folder / f"{file}.png").write_bytes(encode(noise(100 * c + i)))
    splits = opened(root, tmp_path, validation_fraction=0.3).splits
    videos = [{(i.split("/")[0], i.split("/")[1][:2]) for i in split.ids} for split in splits.values()]
    assert all(videos)
    assert not videos[0] & videos[1]


def test_a_class_of_one_video_stays_in_training(tmp_path):
    root = tree(tmp_path / "data", "real")
    for i in range(EACH):
        (root / "fake").mkdir(exist_ok=True)
        (root / "fake" / f"a_frame{i}.png").write_bytes(encode(noise(300 + i)))
    for fraction in (0.1, 0.9):
        assert counts(opened(root, tmp_path, validation_fraction=fraction))["train"][0] == EACH


def test_folders_of_numbers_have_the_order_of_the_numbers(tmp_path):
    names = [str(i) for i in range(12)]
    assert opened(tree(tmp_path / "data", *names, each=2), tmp_path).class_names == names
