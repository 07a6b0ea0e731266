"""The layout of CSV files: one for each split, or one for all, with the images in folders beside them."""

import re
import unicodedata
from collections import defaultdict
from posixpath import basename, splitext

from deepfake_lit.data.csv_rows import CsvRow, read_rows
from deepfake_lit.data.labels import class_numbers, known_numbers, to_number
from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.sources.base import IMAGE_SUFFIXES, Source, stem_of
from deepfake_lit.data.split import SPLITS, Found, Split
from deepfake_lit.data.words import split_of
from deepfake_lit.settings.schema import DataConfig

LISTS = ("labels", "label", "metadata", "annotations", "data", "dataset", "index", "images", "all")  # of all splits
NAMELESS = ("csv", "empty_id", "unsafe_id")  # kinds of problem whose rows cannot be matched to a file
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f]|(^|/)\.{1,2}(/|$)")
ABSOLUTE = re.compile(r"^(?:[A-Za-z]:)?/+")  # of a machine that need not be this one
PADDING = re.compile(r"(?:(?<=/)|^)0+(?=\d+$)|(?<=\d)\.0+$")  # what tells 0007 and 7.0 from 7


def csv_tables(source: Source) -> dict[str, str]:
    """Return the CSV file of each split, or under "" that of all splits, from the shallowest folder that has one."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in source.others:
        stem, ending = splitext(basename(name).lower())
        if ending in (".csv", ".tsv", ".jsonl") and (split_of(stem) or stem in LISTS):
            found[name.rpartition("/")[0]].setdefault(split_of(stem) or "", name)
    folders = [folder for folder, tables in found.items() if "train" in tables] or list(found)
    if not folders:
        return {}
    chosen = min(folders, key=lambda folder: (folder.count("/") + bool(folder), folder))
    tables = found[chosen]
    elsewhere = [own for folder, own in found.items() if folder != chosen]
    ignored = [name for own in elsewhere for split, name in own.items() if split not in tables or not split]
    if ignored:
        raise DataError(
            f"{source.name}={source.root}: which CSV files count? {', '.join([*tables.values(), *ignored][:6])}; put "
            "them beside each other, one for each split, as train.csv, validation.csv and test.csv",
            {"layout"},
        )
    return {split: name for split, name in tables.items() if split} or tables


def read_test_csv(
    source: Source, name: str, folders: Found, cfg: DataConfig, wanted: tuple[str, ...], problems: Problems
) -> None:
    """Let a test.csv beside class folders say which images are the test split, and of which classes."""
    own = Problems()
    test = read_csv_files(source, {"test": name}, cfg, ("test",), own, folders.class_names).splits.get("test")
    if "test" in wanted and test:
        folders.splits["test"] = test
        for kind in own.kinds:
            if kind != "extra_file":  # the images in the class folders
                problems.add_all(kind, own.found[kind])


def read_csv_files(
    source: Source,
    tables: dict[str, str],
    cfg: DataConfig,
    wanted: tuple[str, ...],
    problems: Problems,
    known: list[str] | None = None,
) -> Found:
    """Return the rows that have an image file, by split. Every other row, and every file without a row, is a problem.

    Args:
        tables: what `csv_tables` found.
        known: the classes, where class folders say them; other labels are wrong.
    """
    folder = next(iter(tables.values())).rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    own = _split_folders(source, prefix)
    nameless = problems.count(*NAMELESS)
    rows: dict[str, list[CsvRow]] = {}
    for split, name in tables.items():
        for row in read_rows(source, name, split != "test", problems) or ():
            if not split and row.split and split_of(row.split) is None:
                problems.add("csv", f"{row.where}: the split {row.split!r} is none of train, validation and test")
                continue
            rows.setdefault(split or split_of(row.split or "") or "train", []).append(row)
    labels = {split: {row.label for row in found if row.label} for split, found in rows.items()}
    names, numbers = known_numbers(labels, known) if known else class_numbers(labels, cfg.class_names, problems)

    # Without a folder of its own, a split's images are anywhere but in the folders of the other splits.
    every = [file for files in source.images.values() for file in files if file.startswith(prefix)]
    pool = [file for file in every if not file.startswith((*own.values(),))]
    shared = [split for split in rows if split not in own]
    splits, taken = {}, set()
    for split in SPLITS:
        if split in rows and (split in wanted or split in shared):
            folder = own.get(split)
            files = [file for file in every if file.startswith(folder)] if folder else pool
            named = Files(files, folder or prefix, folder or f"{prefix}{split}/")
            with_label = [bool(row.label) for row in rows[split]]
            labelled = split != "test" or (any(with_label) if split in wanted else all(with_label))
            splits[split] = _matched(
                Split(split, labels=[] if labelled else None), rows[split], named, numbers, problems, taken
            )
        elif split == "test" and split in wanted and split in own and not {"test", ""} & tables.keys():
            files = source.images.get(own[split].rstrip("/"), [])  # without test.csv, they are those in the folder
            splits[split] = Split(split, [stem_of(f) for f in files], None, list(files))
            taken.update(files)
    expected = tuple(own[split] for split in splits if split in own)
    extra = [file for file in every if file.startswith(expected) and file not in taken]
    extra += [file for file in pool if shared and file not in taken]
    if len(extra) > problems.count(*NAMELESS) - nameless:  # as many or fewer can belong to rows whose id is unknown
        problems.add_all("extra_file", extra)
    splits = {name: split for name, split in splits.items() if name in wanted}
    _check_ids(splits, problems)
    return Found(splits, names)


def _split_folders(source: Source, prefix: str) -> dict[str, str]:
    """Return the folder of each split, with its slash: beside the CSV files, or in a folder `images` there."""
    found: dict[str, str] = {}
    for folder in source.images:
        if not f"{folder}/".startswith(prefix):
            continue
        parts = f"{folder}/".removeprefix(prefix).split("/")[:-1]
        for depth in (1, 2):
            if len(parts) >= depth and (split := split_of(parts[depth - 1])):
                if depth == 1 or parts[0].lower() in ("images", "imgs", "img", "data"):
                    found.setdefault(split, prefix + "/".join(parts[:depth]) + "/")
                break
    return found


class Files:
    """Image files by what a row may call them.

    Args:
        files: in the source, sorted by name.
        above: the folder that their relative names leave out, with its slash.
        folder: where a file is said to be missing.
    """

    def __init__(self, files: list[str], above: str, folder: str):
        self.folder = folder
        self.exact: dict[str, list[str]] = {}
        self.loose: dict[str, list[str]] = {}
        for file in files:
            name = _without_ending(file.removeprefix(above))
            if "/" not in name:
                self.exact.setdefault(name, []).append(file)
            parts = _loose(name).split("/")
            for i in range(len(parts)):
                self.loose.setdefault("/".join(parts[i:]), []).append(file)
        self.all_flat = sum(map(len, self.exact.values())) == len(files)

    def of(self, image_id: str) -> list[str]:
        """Return the files that an id means: by its exact name, else whatever its case, padding, form and folders."""
        if found := self.exact.get(_without_ending(image_id)):
            return found
        parts = _loose(_without_ending(image_id)).split("/")
        for i in range(len(parts)):
            found = self.loose.get("/".join(parts[i:]), [])
            if i and i == len(parts) - 1 and not self.all_flat:
                return []  # without its folder a name may be that of another folder's file
            if found:
                return found
        return []


def _without_ending(name: str) -> str:
    """Return an id or file name without its file's ending; both forms name the same image."""
    stem, ending = splitext(name)
    return stem if ending.lower() in IMAGE_SUFFIXES else name


def _loose(name: str) -> str:
    return PADDING.sub("", unicodedata.normalize("NFC", name).casefold())


def _matched(
    result: Split, rows: list[CsvRow], files: Files, numbers: dict[str, int] | None, problems: Problems, taken: set[str]
) -> Split:
    """Fill a split with the rows that have an image file, and `taken` with these files; return the split."""
    seen: dict[str, CsvRow] = {}
    for row in rows:
        image_id = ABSOLUTE.sub("", row.image_id.replace("\\", "/"))
        if not image_id:
            problems.add("empty_id", row.where)
            continue
        if UNSAFE.search(image_id):
            problems.add("unsafe_id", f"{row.where}: {row.image_id!r}")
            continue
        found = files.of(image_id)
        taken.update(found)
        first = seen.setdefault(found[0] if found else _without_ending(image_id), row)
        if first is not row:
            labels = f" (labels {first.label!r} and {row.label!r})" if row.label != first.label else ""
            problems.add("duplicate_id", f"{row.where}: {row.image_id}, as in {first.where}{labels}")
            continue
        label = to_number(row.label or "", numbers)
        if result.labels is not None and label is None:
            problems.add("bad_label", f"{row.where}: {row.image_id} has label {(row.label or '')[:40]!r}")
            continue
        if result.labels is not None:
            result.declared.add(label)
        if not found:
            problems.add("missing_file", f"{row.where}: {files.folder}{image_id}")
            continue
        if len(found) > 1:
            problems.add("ambiguous_file", ", ".join(found))
        result.ids.append(image_id)
        result.files.append(found[0])
        if result.labels is not None:
            result.labels.append(label)
        if row.group is not None:
            result.groups.append(row.group)
    return result


def _check_ids(splits: dict[str, Split], problems: Problems) -> None:
    seen: dict[str, str] = {}
    for split in splits.values():
        for image_id in split.ids:
            stem = _without_ending(image_id)
            if stem in seen:
                problems.add("shared_id", f"{image_id} in {seen[stem]} and {split.name}")
            seen[stem] = split.name
