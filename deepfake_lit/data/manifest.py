"""From CSV files or class folders to ids, labels and file names; everything that can be wrong is collected.

Two layouts are understood, in a folder or inside a .zip:

- kaggle: `train.csv` and `validation.csv` with the columns `image_id,label`, optional `test.csv` with `image_id`;
  the files are `<split>/<image_id>.<ending>`.
- folders: one folder a class, below `train/`, `validation/` (optional `test/`) or, without those, directly below the
  root; then a share of each class is held out by a hash of the image's name.
"""

import csv
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from deepfake_lit.config import DataConfig
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.source import IMAGE_SUFFIXES, Source

SPLITS = ("train", "validation", "test")
UNSAFE = re.compile(r"[/\\\x00-\x1f]|^\.{1,2}$")


@dataclass
class Split:
    name: str
    ids: list[str]
    labels: list[int] | None  # None: the split has no labels
    files: list[str]  # names in the source, one an id


@dataclass
class Manifest:
    source: Source
    splits: dict[str, Split]
    class_names: list[str]


def read_manifest(cfg: DataConfig, problems: Problems, wanted: tuple[str, ...] = SPLITS) -> Manifest:
    """Adds what is wrong with the wanted splits to `problems`; rows with a problem are left out.

    Raises:
        DataError: the layout cannot be recognised at all.
    """
    source = Source(cfg.root)
    prefix = _csv_folder(source)
    layout = cfg.layout if cfg.layout != "auto" else ("folders" if prefix is None else "kaggle")
    if layout == "kaggle":
        if prefix is None:
            raise DataError(f"data.root={cfg.root}: no train.csv in it (layout kaggle)", {"layout"})
        splits = _read_kaggle(source, prefix, wanted, problems)
        names = cfg.class_names
    else:
        splits, folder_names = _read_folders(source, cfg.validation_fraction)
        splits = {name: split for name, split in splits.items() if name in wanted}
        names = cfg.class_names or folder_names
    class_names = _check_labels(cfg, splits, names, problems)
    _check_ids(splits, problems)
    return Manifest(source, splits, class_names)


def _csv_folder(source: Source) -> str | None:
    """The folder that holds train.csv ("" for the root, else with a trailing slash), the shallowest if several."""
    found = [name for name in source.files if PurePosixPath(name).name == "train.csv"]
    if not found:
        return None
    return min(found, key=lambda name: (name.count("/"), name)).removesuffix("train.csv")


def _read_kaggle(source: Source, prefix: str, wanted: tuple[str, ...], problems: Problems) -> dict[str, Split]:
    splits = {}
    for name in wanted:
        csv_name = f"{prefix}{name}.csv"
        if csv_name in source.files:
            splits[name] = _read_split(source, prefix, name, problems)
        elif name != "test":
            problems.add("csv", f"{csv_name} does not exist")
        elif f"{prefix}test" in source.images:  # without a CSV the folder itself lists the test images
            files = source.images[f"{prefix}test"]
            splits[name] = Split(name, [PurePosixPath(f).stem for f in files], None, files)
    return splits


def _read_split(source: Source, prefix: str, split: str, problems: Problems) -> Split:
    csv_name, folder = f"{prefix}{split}.csv", f"{prefix}{split}"
    by_id: dict[str, list[str]] = {}
    for file in source.images.get(folder, []):
        by_id.setdefault(PurePosixPath(file).stem, []).append(file)
    for files in by_id.values():
        if len(files) > 1:
            problems.add("ambiguous_file", ", ".join(files))

    result = Split(split, [], [] if split != "test" else None, [])
    rows = _read_csv(source, csv_name, split != "test", problems)
    if rows is None:
        return result
    seen: set[str] = set()
    for where, image_id, label in rows:
        if not image_id:
            problems.add("empty_id", where)
            continue
        if UNSAFE.search(image_id):
            problems.add("unsafe_id", f"{where}: {image_id!r}")
            continue
        stem = PurePosixPath(image_id).stem if PurePosixPath(image_id).suffix.lower() in IMAGE_SUFFIXES else image_id
        if stem in seen:
            problems.add("duplicate_id", f"{where}: {image_id}")
            continue
        seen.add(stem)
        if label is not None and not re.fullmatch(r"\d{1,9}", label):
            problems.add("bad_label", f"{where}: {image_id} has label {label!r}")
        elif stem not in by_id:
            problems.add("missing_file", f"{folder}/{image_id}")
        else:
            result.ids.append(image_id)
            result.files.append(by_id[stem][0])
            if result.labels is not None:
                result.labels.append(int(label))
    for image_id in by_id.keys() - seen:
        problems.add("extra_file", by_id[image_id][0])
    return result


def _read_csv(source: Source, name: str, labelled: bool, problems: Problems):
    """Rows as (where, image_id, label or None), or None with one problem for a file that is no such CSV."""
    try:
        text = source.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add("csv", f"{name} is not UTF-8 text (byte {error.start})")
        return None
    if not text.strip():
        problems.add("csv", f"{name} is empty")
        return None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    wanted = ["image_id", "label"] if labelled else ["image_id"]
    rows = []
    try:
        header = [column.strip() for column in next(reader)]
        if not set(wanted) <= set(header) or len(set(header)) < len(header):
            problems.add("csv", f"{name} needs the header {','.join(wanted)}; its first line is {','.join(header)!r}")
            return None
        columns = [header.index(column) for column in wanted]
        for row in reader:
            if not row:
                continue
            where = f"{name} line {reader.line_num}"
            if len(row) != len(header):
                problems.add("csv", f"{where} has {len(row)} fields instead of {len(header)}")
                continue
            values = [row[column].strip(" \t") for column in columns]
            rows.append((where, values[0], values[1] if labelled else None))
    except csv.Error as error:
        problems.add("csv", f"{name} line {reader.line_num}: {error}")
        return None
    if reader.line_num <= 1:
        problems.add("csv", f"{name} has a header but no rows")
    return rows


def image_ids(source: Source, csv_name: str) -> list[str]:
    """The image ids of a CSV, such as test.csv or sample_submission.csv.

    Raises:
        DataError: the file cannot be read as one.
    """
    problems = Problems()
    rows = _read_csv(source, csv_name, False, problems)
    problems.settle(csv_name, [])
    return [image_id for _, image_id, _ in rows]


def _read_folders(source: Source, validation_fraction: float) -> tuple[dict[str, Split], list[str]]:
    """Splits and class names of the layout "folders"; ids are `<class>/<file stem>`-like names, unique in a split."""
    folders = source.images
    top = _common_folder(folders)
    inside = {folder.removeprefix(top): files for folder, files in folders.items() if folder.startswith(top)}
    split_dirs = {f.split("/")[0] for f in inside} & {"train", "validation"}
    if split_dirs == {"train", "validation"}:
        classes = sorted({f.split("/")[1] for f in inside if f.startswith("train/")})
        members = [(f.split("/")[0], f.split("/")[1], file) for f in inside if f.count("/") == 1 for file in inside[f]]
        members += [("test", "", file) for file in inside.get("test", [])]
        unknown = sorted({c for s, c, _ in members if s != "test" and c not in classes})
        if unknown:
            raise DataError(f"validation/ has classes that train/ lacks: {', '.join(unknown)}", {"layout"})
    else:
        classes = sorted(f for f in inside if f and "/" not in f)
        members = [
            ("validation" if _held_out(c, file, validation_fraction) else "train", c, file)
            for c in classes
            for file in inside[c]
        ]
    if len(classes) < 2:
        raise DataError(
            f"data.root={source.root}: neither train.csv nor at least two class folders with images in it",
            {"layout"},
        )
    splits = {}
    for name in SPLITS:
        rows = [(c, file) for s, c, file in members if s == name]
        if rows or name != "test":
            ids = [f"{c}/{PurePosixPath(file).name}" if c else PurePosixPath(file).stem for c, file in rows]
            labels = None if name == "test" else [classes.index(c) for c, _ in rows]
            splits[name] = Split(name, ids, labels, [file for _, file in rows])
    return splits, classes


def _common_folder(folders: dict[str, list[str]]) -> str:
    """A single top folder that everything lies in, as zips often have, with its slash; else ""."""
    tops = {folder.split("/")[0] for folder in folders}
    nested = len(tops) == 1 and all("/" in folder for folder in folders)
    return f"{tops.pop()}/" if nested else ""


def _held_out(class_name: str, file: str, fraction: float) -> bool:
    digest = hashlib.sha256(f"{class_name}/{PurePosixPath(file).name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < fraction * 2**32


def _check_labels(cfg: DataConfig, splits: dict[str, Split], names: list[str] | None, problems: Problems) -> list[str]:
    """The class names. Labels beyond their number are problems, and their rows are dropped."""
    labelled = [split for split in splits.values() if split.labels is not None]
    train = splits.get("train")
    count = cfg.num_classes or (len(names) if names else None)
    if count is None:
        count = max(train.labels, default=-1) + 1 if train else 0
    if names and len(names) != count:
        problems.add("class_count", f"data.num_classes={count}, but there are {len(names)} class names")
        names = None
    if train and train.ids and count < 2:
        problems.add("class_count", "every training image has the same label; 2 classes are needed")
    elif train and train.ids:
        empty = sorted(set(range(count)) - set(train.labels))
        if empty:
            problems.add("class_count", f"train has no image of class {', '.join(map(str, empty[:10]))} of {count}")
    for split in labelled:
        bad = [i for i, label in enumerate(split.labels) if label >= count]
        for i in bad:
            problems.add("label_range", f"{split.name}: {split.ids[i]} has label {split.labels[i]} of 0..{count - 1}")
        _keep(split, sorted(set(range(len(split.ids))) - set(bad)) if bad else None)
    return list(names) if names else [str(i) for i in range(count)]


def _check_ids(splits: dict[str, Split], problems: Problems) -> None:
    seen: dict[str, str] = {}
    for split in splits.values():
        for image_id in split.ids:
            if image_id in seen:
                problems.add("shared_id", f"{image_id} in {seen[image_id]} and {split.name}")
            seen[image_id] = split.name


def _keep(split: Split, rows: list[int] | None) -> None:
    """Leave only these rows in a split; None keeps all."""
    if rows is not None:
        split.ids = [split.ids[i] for i in rows]
        split.files = [split.files[i] for i in rows]
        if split.labels is not None:
            split.labels = [split.labels[i] for i in rows]
