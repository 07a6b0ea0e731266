"""Reads ids, labels and file names from CSV files or class folders, and collects every problem with them.

Two layouts are understood, in a folder or inside a .zip:

- kaggle: `train.csv` and `validation.csv` with the columns `image_id,label`, optional `test.csv` with `image_id`;
  the files are `<split>/<image_id>.<ending>`.
- folders: one folder per class, below `train/` and `validation/` (optional `test/`) or, without those, directly below
  the root; then a share of each class is held out for validation, chosen by a hash of the image's name.
"""

import hashlib
import re
from dataclasses import dataclass, field
from itertools import islice
from posixpath import basename, splitext

from deepfake_lit.data.csv_rows import read_rows
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.source import IMAGE_SUFFIXES, Source, stem_of
from deepfake_lit.settings.schema import DataConfig

SPLITS = ("train", "validation", "test")
NAMELESS = ("csv", "empty_id", "unsafe_id")  # kinds of problem whose rows cannot be matched to a file
UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]|^\.{1,2}$")


@dataclass
class Split:
    name: str
    ids: list[str]
    labels: list[int] | None  # None: the split has no labels
    files: list[str]  # names in the source, one per id
    declared: set[int] = field(default_factory=set)  # the labels of all rows, including rows without a file


@dataclass
class Manifest:
    source: Source
    splits: dict[str, Split]
    class_names: list[str]


def read_manifest(cfg: DataConfig, problems: Problems, wanted: tuple[str, ...] = SPLITS) -> Manifest:
    """Read the wanted splits. Problems are added to `problems`; rows that cannot be used are left out.

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
        _check_ids(splits, problems)
        names = cfg.class_names
    else:
        splits, names = _read_folders(source, cfg, wanted, problems)
    return Manifest(source, splits, _check_labels(cfg, splits, names, problems))


def _csv_folder(source: Source) -> str | None:
    """Return the shallowest folder with a train.csv: "" for the root, else with a trailing slash; None without one."""
    found = [name for name in source.files if name == "train.csv" or name.endswith("/train.csv")]
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
        elif f"{prefix}test" in source.images:  # without test.csv, the images are those in the folder
            files = source.images[f"{prefix}test"]
            splits[name] = Split(name, [stem_of(f) for f in files], None, files)
    return splits


def _read_split(source: Source, prefix: str, split: str, problems: Problems) -> Split:
    csv_name, folder = f"{prefix}{split}.csv", f"{prefix}{split}"
    by_id: dict[str, list[str]] = {}
    for file in source.images.get(folder, []):
        by_id.setdefault(stem_of(file), []).append(file)

    result = Split(split, [], [] if split != "test" else None, [])
    before = problems.count(*NAMELESS)
    rows = read_rows(source, csv_name, split != "test", problems)
    if rows is None:
        return result
    seen: dict[str, tuple[str, str | None]] = {}
    for where, image_id, label in rows:
        if not image_id:
            problems.add("empty_id", where)
            continue
        if UNSAFE.search(image_id):
            problems.add("unsafe_id", f"{where}: {image_id!r}")
            continue
        stem = _id_stem(image_id)
        if stem in seen:
            first, other = seen[stem]
            labels = f" (labels {other!r} and {label!r})" if label != other else ""
            problems.add("duplicate_id", f"{where}: {image_id}, as in {first}{labels}")
            continue
        seen[stem] = where, label
        if label is not None and not re.fullmatch(r"\d{1,9}", label):
            problems.add("bad_label", f"{where}: {image_id} has label {label[:40]!r}")
            continue
        if label is not None:
            result.declared.add(int(label))
        if stem not in by_id:
            problems.add("missing_file", f"{where}: {folder}/{image_id}")
            continue
        files = by_id[stem]
        if len(files) > 1:
            problems.add("ambiguous_file", ", ".join(files))
        result.ids.append(image_id)
        result.files.append(files[0])
        if result.labels is not None:
            result.labels.append(int(label))
    extra = [file for stem in sorted(by_id.keys() - seen.keys()) for file in by_id[stem]]
    if len(extra) > problems.count(*NAMELESS) - before:  # as many or fewer can belong to the rows whose id is unknown
        for file in extra:
            problems.add("extra_file", file)
    for nested, files in source.images.items():
        if nested.startswith(f"{folder}/"):
            for file in files:
                problems.add("extra_file", file)
    return result


def _id_stem(image_id: str) -> str:
    """Return an id without its file's ending; both forms name the same image."""
    return stem_of(image_id) if splitext(image_id)[1].lower() in IMAGE_SUFFIXES else image_id


def _read_folders(
    source: Source, cfg: DataConfig, wanted: tuple[str, ...], problems: Problems
) -> tuple[dict[str, Split], list[str]]:
    """Return splits and class names of the layout "folders"; ids are `<class>/<file name>`, unique in a split."""

    def unclear(reason: str) -> DataError:
        return DataError(f"data.root={cfg.root}: {reason}", {"layout"})

    top = _common_folder(source.images)
    inside = {name.removeprefix(top): files for name, files in source.images.items() if name.startswith(top)}
    paths = {name: tuple(name.split("/")) for name in inside if name}
    tops = {path[0] for path in paths.values()}
    has_splits = tops <= set(SPLITS) or any(len(p) > 1 and p[0] in ("train", "validation") for p in paths.values())
    if has_splits and len(tops & {"train", "validation"}) == 1:
        raise unclear("no train.csv, and of the folders train/ and validation/ only one is there with images in it")
    if has_splits:
        classes = sorted({path[1] for path in paths.values() if path[0] == "train" and len(path) > 1})
        paths = {name: path for name, path in paths.items() if path[0] in SPLITS}
        place = {n: (p[0], p[1]) for n, p in paths.items() if len(p) == 2}
        place |= {"test": ("test", "")} if "test" in inside else {}
        unknown = sorted({c for split, c in place.values() if split != "test"} - set(classes))
        if unknown and classes:
            raise unclear(f"validation/ has classes that train/ lacks: {', '.join(unknown)}")
    else:
        classes = sorted(path[0] for path in paths.values() if len(path) == 1)
        place = {name: ("", name) for name in classes}
    if len(classes) < 2:
        raise unclear("neither train.csv nor at least two class folders with images in it")
    if cfg.class_names and sorted(cfg.class_names) == classes:
        classes = cfg.class_names  # keep the given order
    elif cfg.class_names:
        given, found = ", ".join(cfg.class_names), ", ".join(classes)
        problems.add("class_count", f"data.class_names are {given}, but the class folders are {found}")

    splits = {name: Split(name, [], None if name == "test" else [], []) for name in wanted}
    for folder in paths:
        for file in inside[folder]:
            name = basename(file)
            if folder not in place:
                if not has_splits or paths[folder][0] in wanted:
                    problems.add("extra_file", file)
                continue
            split, c = place[folder]
            if not split:
                split = "validation" if _held_out(c, file, cfg.validation_fraction) else "train"
            if split in wanted:
                rows = splits[split]
                rows.ids.append(f"{c}/{name}" if c else stem_of(file))
                rows.files.append(file)
                if rows.labels is not None:
                    rows.labels.append(classes.index(c))
    for rows in splits.values():
        rows.declared = set(rows.labels or ())
    return {name: rows for name, rows in splits.items() if rows.files or name != "test"}, list(classes)


def _common_folder(folders: dict[str, list[str]]) -> str:
    """Return the one top folder that holds everything, as in many .zip files, with its slash; "" without one."""
    tops = {folder.split("/")[0] for folder in folders}
    nested = len(tops) == 1 and all("/" in folder for folder in folders)
    return f"{tops.pop()}/" if nested else ""


def _held_out(class_name: str, file: str, fraction: float) -> bool:
    name = f"{class_name}/{basename(file)}"
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()  # a file's name can be undecodable
    return int.from_bytes(digest[:4], "big") < fraction * 2**32


def _check_labels(cfg: DataConfig, splits: dict[str, Split], names: list[str] | None, problems: Problems) -> list[str]:
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
    if train:
        absent = list(islice((c for c in range(count) if c not in train), 6))
        if absent:
            shown = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
            problems.add("class_count", f"train has no image of class {shown} ({count} classes by {why})")
    for split in splits.values():
        bad = {i for i, label in enumerate(split.labels or ()) if label >= count}
        for i in sorted(bad):
            problems.add("label_range", f"{split.name}: {split.ids[i]} has label {split.labels[i]}, not 0..{count - 1}")
        if bad:
            keep = [i for i in range(len(split.ids)) if i not in bad]
            split.ids, split.files, split.labels = (
                [x[i] for i in keep] for x in (split.ids, split.files, split.labels)
            )
    if "class_count" in problems:  # a wrong label of 999999999 must not create as many names
        return []
    return list(names) if names else [str(i) for i in range(count)]


def _check_ids(splits: dict[str, Split], problems: Problems) -> None:
    seen: dict[str, str] = {}
    for split in splits.values():
        for image_id in split.ids:
            stem = _id_stem(image_id)
            if stem in seen:
                problems.add("shared_id", f"{image_id} in {seen[stem]} and {split.name}")
            seen[stem] = split.name
