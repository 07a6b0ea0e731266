"""Tables with a column of images."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from helpers.layouts import opened, tree
from helpers.tiny_data import encode, noise

from deepfake_lit.data.problems import DataError


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


def test_addresses_and_lists_in_a_table_are_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    root = tmp_path / "data"
    root.mkdir()
    columns = {"image": [f"https://images.org/{i}.png" for i in range(4)], "label": [0, 1, 0, 1]}
    pq.write_table(pa.table(columns), root / "train.parquet")
    with pytest.raises(
        DataError, match=r"https://images\.org/0\.png is an address; the images must be on this machine"
    ):
        opened(root, tmp_path)
    pq.write_table(pa.table(columns | {"image": [[[1, 2], [3, 4]]] * 4}), root / "train.parquet")
    with pytest.raises(DataError, match=r"no images, only other files such as train\.parquet"):
        opened(root, tmp_path)
    pq.write_table(pa.table(columns | {"label": [[0.1, 0.9]] * 4}), root / "train.parquet")
    with pytest.raises(DataError, match="labels that name no class"):
        opened(root, tmp_path)
    pq.write_table(
        pa.table({"image": [encode(noise(i)) for i in range(4)], "class": ["a", "b"] * 2, "label": [0, 1] * 2}),
        root / "train.parquet",
    )
    assert opened(root, tmp_path).class_names == ["0", "1"]
