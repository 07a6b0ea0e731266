"""Reads ids, labels and file names of a data set in any layout, and collects every problem with them.

The layouts, in a folder, a .zip or a .tar: CSV files (layouts/csv_files.py), class folders (layouts/folders.py); and
tables with a column of images (layouts/tables.py). Without a validation split, a share of each class is held out.
"""

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from posixpath import basename

from deepfake_lit.data.layouts.csv_files import csv_tables, read_csv_files, read_test_csv
from deepfake_lit.data.layouts.folders import read_folders
from deepfake_lit.data.layouts.tables import read_tables
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.sources import Source, open_source
from deepfake_lit.data.sources.table import Table
from deepfake_lit.data.split import NAMED, SPLITS, Found, Split
from deepfake_lit.settings.schema import DataConfig

FRAME = re.compile(r"(?<=[a-z0-9])[ _-]?(?:frame|frm)[ _-]?\d+(?:\.\w+)?$", re.IGNORECASE)  # of 012_frame_0003.png


@dataclass
class Manifest:
    """The splits of a data set. `held_out` says that the validation split was made from the training images."""

    source: Source
    splits: dict[str, Split]
    class_names: list[str]
    held_out: bool = False


def read_manifest(
    cfg: DataConfig, problems: Problems, wanted: tuple[str, ...] = SPLITS, to_learn: bool = True
) -> Manifest:
    """Read the wanted splits. Problems are added to `problems`; rows that cannot be used are left out.

    Args:
        to_learn: whether a class without training images is a problem.

    Raises:
        DataError: the layout cannot be recognised at all.
    """
    source = open_source(cfg.root, tables=cfg.layout == "auto")
    read = tuple({"train", *wanted}) if "validation" in wanted else wanted  # it may have to be held out of train
    found = _read(source, cfg, tuple(split for split in SPLITS if split in read), problems)
    held_out = "validation" in wanted and "train" in found.splits and "validation" not in found.splits
    if held_out:
        _hold_out(found, cfg.validation_fraction)
    splits = {name: split for name, split in found.splits.items() if name in wanted}
    names = _check_labels(cfg, splits, found.class_names, problems, to_learn)
    return Manifest(source, splits, names, held_out)


def _read(source: Source, cfg: DataConfig, wanted: tuple[str, ...], problems: Problems) -> Found:
    if isinstance(source, Table):
        return read_tables(source, cfg, wanted, problems)
    tables = csv_tables(source) if cfg.layout != "folders" else {}
    if cfg.layout == "kaggle" and "train" not in tables:
        raise DataError(f"{source.name}={cfg.root}: no train.csv in it (layout kaggle)", {"layout"})
    if {"train", "validation"} & tables.keys():
        return read_csv_files(source, tables, cfg, wanted, problems)
    try:
        found = read_folders(source, cfg, wanted, problems)
    except DataError:
        if not tables:
            raise
        return read_csv_files(source, tables, cfg, wanted, problems)
    if "" in tables:
        problems.note(f"{tables['']} is not read: the class folders say the classes")
    if "test" in tables:
        read_test_csv(source, tables["test"], found, cfg, wanted, problems)
    return found


def _hold_out(found: Found, fraction: float) -> None:
    """Move a share of each class from the training split to a validation split.

    A hash of an image's name decides, so that further images move none of the others; frames of a video have one hash.
    The smallest hash of a class of two or more is held out in any case: no class is without validation images.
    """
    train = found.splits["train"]
    hashes = [_hash(found, i) for i in range(len(train.files))]
    of_class: dict[int, set[int]] = defaultdict(set)
    for label, own in zip(train.labels, hashes, strict=True):
        of_class[label].add(own)
    bound = {label: max(min(own) + 1, fraction * 2**32) if len(own) > 1 else 0 for label, own in of_class.items()}
    out = [own < bound[label] for label, own in zip(train.labels, hashes, strict=True)]
    for name, wanted in (("train", False), ("validation", True)):
        found.splits[name] = train.only([i for i, held in enumerate(out) if held is wanted], name)


def _hash(found: Found, i: int) -> int:
    """Return 32 bits that depend on the class and the file's name alone, and on its group where there is one."""
    train = found.splits["train"]
    label = train.labels[i]
    class_name = found.class_names[label] if found.class_names and label < len(found.class_names) else label
    name = train.ids[i] if train.groups else f"{class_name}/{basename(train.files[i])}"
    name = FRAME.sub("", name)
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()  # a file's name can be undecodable
    return int.from_bytes(digest[:4], "big")


def _check_labels(
    cfg: DataConfig, splits: dict[str, Split], names: list[str] | None, problems: Problems, to_learn: bool
) -> list[str]:
    """Return the class names. Rows with labels beyond the number of classes are dropped as problems."""
    train = splits["train"].declared if "train" in splits else set()
    declared = train or set().union(*(split.declared for split in splits.values()))
    if cfg.num_classes is not None:
        count, why = cfg.num_classes, "data.num_classes"
    elif names:
        count, why = len(names), "the class names"
    else:
        count, why = max(declared, default=-1) + 1, "the largest label"
    if names and len(names) != count:
        problems.add("class_count", f"data.num_classes={count}, but there are {len(names)} classes: {', '.join(names)}")
        return []
    if count < 2 and why != "the largest label":
        problems.add("class_count", f"{count} by {why}; at least 2 classes are needed")
        return []
    if count < 2 and train:
        problems.add("class_count", "every training image has the same label; 2 classes are needed")
        return []
    if train and to_learn:
        absent = list(islice((c for c in range(count) if c not in train), 6))
        if absent:
            shown = ", ".join(names[c] if names else str(c) for c in absent[:5]) + (", ..." if len(absent) > 5 else "")
            there = ",".join(map(str, sorted(train)[:NAMED])) if why == "the largest label" else ""
            remedy = f"; data.class_names=[{there}] takes the labels as names" if there else ""
            problems.add("class_count", f"train has no image of class {shown} ({count} classes by {why}){remedy}")
    for name, split in splits.items():
        bad = {i for i, label in enumerate(split.labels or ()) if label >= count}
        for i in sorted(bad):
            problems.add("label_range", f"{split.name}: {split.ids[i]} has label {split.labels[i]}, not 0..{count - 1}")
        if bad:
            splits[name] = split.only([i for i in range(len(split.ids)) if i not in bad], name)
    if "class_count" in problems:  # a wrong label of 999999999 must not create as many names
        return []
    return list(names) if names else [str(i) for i in range(count)]
