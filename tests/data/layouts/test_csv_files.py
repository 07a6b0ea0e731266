"""CSV files as others write them."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from helpers.layouts import EACH, counts, opened, rows, tree, write_csv
from helpers.tiny_data import encode, noise

from deepfake_lit.data.images import open_data
from deepfake_lit.data.problems import DataError
from deepfake_lit.settings.schema import DataConfig

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


def test_a_test_csv_beside_class_folders_is_the_test_split(tmp_path):
    root = tree(tmp_path / "data", "train/real", "train/fake", "test")
    write_csv(root, "filename,label\n" + rows("{i:05}.png,{word}"), "test.csv")
    data = opened(root, tmp_path)
    assert (data.class_names, counts(data)["test"]) == (["fake", "real"], [3, 3])
    assert sum(counts(data)["train"] + counts(data)["validation"]) == 2 * EACH
    write_csv(root, "filename,label\n" + rows("{i:05}.png,{label}"), "test.csv")
    with pytest.raises(DataError, match=r"(?s)bad_label \(6\).*label '0'"):
        opened(root, tmp_path)
    write_csv(root, "filename\n" + rows("{i:05}.png"), "test.csv")
    assert opened(root, tmp_path).splits["test"].labels is None
    flat = tree(tmp_path / "flat", "real", "fake", "new")
    write_csv(flat, "filename,label\n" + rows("new/{i:05}.png,{word}"), "test.csv")
    with pytest.raises(DataError, match="leaked_pixels"):  # `new` is a class folder, too
        opened(flat, tmp_path)


def test_one_empty_label_does_not_make_a_test_split_unlabelled(tmp_path):
    root = tree(tmp_path / "data", "train", "test")
    for file in (root / "test").iterdir():
        file.rename(file.with_name(f"t{file.name}"))
    write_csv(root, "image_id,label\n" + rows("{i:05},{label}"))
    write_csv(root, "image_id,label\n" + rows("t{i:05},{label}", 5) + "t00005,\n", "test.csv")
    with pytest.raises(DataError, match=r"(?s)bad_label \(1\).*test\.csv line 7"):
        opened(root, tmp_path)
    assert counts(opened(root, tmp_path, tolerate=["bad_label"]))["test"] == [3, 2]
    assert "train" in opened(root, tmp_path, ("train", "validation")).splits


def test_a_number_beside_a_path_is_not_the_file(tmp_path):
    root = tree(tmp_path / "data", "train")
    write_csv(root, "image_id,path,label\n" + rows("{i},train/{i:05}.png,{label}"))
    assert counts(opened(root, tmp_path, ("train",)))["train"] == [3, 3]


def test_the_column_of_labels_is_said_where_there_are_two(tmp_path, capsys):
    root = tree(tmp_path / "data", "train")
    write_csv(root, "image_id,class,label\n" + rows("{i:05},{word},{label}"))
    assert opened(root, tmp_path).class_names == ["0", "1"]
    assert "train.csv: the labels are the column label, not class" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "second", "names"), [("1", "2", ["1", "2"]), ("-1", "1", ["-1", "1"])], ids=["from 1", "plus and minus"]
)
def test_numbers_that_do_not_count_from_0_can_be_names(first, second, names, tmp_path):
    root = tree(tmp_path / "data", "train")
    write_csv(root, "image_id,label\n" + "".join(f"{i:05},{(first, second)[i % 2]}\n" for i in range(EACH)))
    with pytest.raises(DataError, match=r"data\.class_names=\[(1,2|\.\.\.)\] takes (them|the labels) as names"):
        open_data(DataConfig(root=str(root)), tmp_path / "cache")
    data = opened(root, tmp_path, class_names=names)
    assert (data.class_names, sum(map(np.array, counts(data).values())).tolist()) == (names, [3, 3])


@pytest.mark.parametrize("values", [("[0.1, 0.9]", "[0.8, 0.2]"), ("0.25", "0.75"), ("nan", "real")])
def test_probabilities_and_lists_are_no_classes(values, tmp_path):
    root = tree(tmp_path / "data", "train")
    write_csv(root, "image_id;label\n" + "".join(f"{i:05};{values[i % 2]}\n" for i in range(EACH)))
    with pytest.raises(DataError, match="labels that name no class"):
        opened(root, tmp_path)


def test_json_lines_as_the_hub_has_them(tmp_path):
    root = tree(tmp_path / "data", "train")
    lines = [json.dumps({"file_name": f"train/{i:05}.png", "label": i % 2, "generator": "ADM"}) for i in range(EACH)]
    write_csv(root, "\n".join(lines) + "\n", "metadata.jsonl")
    data = opened(root, tmp_path)
    assert sum(map(np.array, counts(data).values())).tolist() == [3, 3]
    assert set(data.splits["train"].groups) == {"ADM"}
    wrong = {"{": "no file of JSON lines", "[1]": "a line is no object", '{"x": 1}': "needs the header"}
    wrong["\n".join([*lines, lines[0]])] = r"metadata\.jsonl line 7"
    for text, reason in wrong.items():
        write_csv(root, text, "metadata.jsonl")
        with pytest.raises(DataError, match=reason):
            opened(root, tmp_path)


def test_a_list_beside_class_folders_that_is_not_read_is_named(tmp_path, capsys):
    root = tree(tmp_path / "data", "real", "fake")
    write_csv(root, "file_name,generator\n" + rows("real/{i:05}.png,ADM"), "metadata.csv")
    opened(root, tmp_path)
    assert "metadata.csv is not read: the class folders say the classes" in capsys.readouterr().err
