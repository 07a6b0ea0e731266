"""The layout of class folders, alone or among folders of splits and of generators.

The path of a folder with images, such as `ADM/train/ai`, has a part that means a split, a part that is the class, and
others that are the group. A part that all folders share, as the top folder of many archives, says nothing.
"""

from collections.abc import Iterable
from posixpath import basename
from typing import NamedTuple

from deepfake_lit.data.problems import DataError, Problems
from deepfake_lit.data.sources.base import Source, stem_of
from deepfake_lit.data.split import SPLITS, Found, Split, in_given_order
from deepfake_lit.data.words import FAKE, REAL, split_of
from deepfake_lit.settings.schema import DataConfig

SHOWN = 8  # folders that a message lists

Parts = tuple[str, ...]


class Place(NamedTuple):
    """Where the images of a folder belong. No class: images without a label."""

    split: str
    class_name: str = ""
    group: str = ""


def read_folders(source: Source, cfg: DataConfig, wanted: tuple[str, ...], problems: Problems) -> Found:
    """Return splits and class names. Ids are `<class>/<file name>`, below their group where there are groups.

    Raises:
        DataError: there are no folders of two classes or more, or it is not clear which folders are the classes.
    """

    def unclear(reason: str) -> DataError:
        folders = sorted(f"{folder or '.'}/" for folder in source.images)
        more = f" and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
        listed = f"the folders with images are {', '.join(folders[:SHOWN])}{more}"
        return DataError(f"{source.name}={cfg.root}: {reason}; {listed}", {"layout"})

    if not source.images:
        raise DataError(f"{source.name}={cfg.root}: {_no_images(source)}", {"layout"})
    paths = {folder: tuple(folder.split("/")) for folder in source.images if folder}
    paths = _without_wrappers(paths, _lower(cfg.class_names or ()))
    level = _split_level(paths.values())
    below: dict[str, tuple[str, Parts]] = {}  # folder -> its split, and its path without the split's part
    for folder, parts in paths.items():
        if level is None:
            below[folder] = "train", parts
        elif len(parts) > level and (split := split_of(parts[level])):
            below[folder] = split, parts[:level] + parts[level + 1 :]
    twice = _named_twice(paths.values(), level)
    if twice:
        raise unclear(f"{' and '.join(twice)} mean the same split; keep one of them")

    places = _places(below, cfg)
    if places is None:
        raise unclear("which folders are the classes? data.class_names=[...] with their names says it")
    classes = sorted(next(filter(None, (_classes(places, split) for split in SPLITS)), set()), key=_by_number)
    given = cfg.class_names or []
    if classes and _lower(classes) <= _lower(given):
        classes = given  # all of them, where the folders are only of some
    if len(classes) < 2:
        alone = "; data.class_names=[...] with the names of all classes reads a folder of one class" if classes else ""
        raise unclear(f"neither train.csv nor at least two class folders with images in it{alone}")
    alike = {name.strip().lower(): name for name in classes}
    places = {
        folder: place._replace(class_name=alike.get(place.class_name.strip().lower(), place.class_name))
        for folder, place in places.items()
    }
    if unknown := sorted(_classes(places, "validation") - set(classes)):
        raise unclear(f"validation/ has classes that train/ lacks: {', '.join(unknown)}")
    classes = in_given_order(classes, given, problems, "the class folders")

    splits = {name: Split(name) for name in wanted}
    tested = _classes(places, "test")
    if "test" in splits and not tested & set(classes):
        splits["test"].labels = None
        if tested:
            problems.note(f"the test images count as unlabelled: {_listed(tested)} in their folder are no classes")
    groups = {place.group for place in places.values()}
    grouped = groups != {""}
    if grouped:
        problems.note(
            f"classes: the folders {_listed(classes)}; groups: the folders {_listed(groups - {''})} "
            "(data.class_names=[...] makes other folders the classes)"
        )
    for folder, files in source.images.items():
        place = places.get(folder)
        rows = splits.get(place.split) if place else None
        if place is None or (rows and rows.labels is not None and not place.class_name):
            if folder not in below:
                problems.add_all("unused_file", files)
            elif below[folder][0] in wanted or level is None:
                problems.add_all("extra_file", files)
            continue
        if rows is None:
            continue
        if rows.labels is not None and place.class_name not in classes:
            problems.add_all("bad_label", (f"{file} has label {place.class_name!r}" for file in files))
            continue
        for file in files:
            above = [part for part in (place.group, place.class_name) if part]
            rows.ids.append("/".join([*above, basename(file)]) if above else stem_of(file))
            rows.files.append(file)
            if rows.labels is not None:
                rows.labels.append(classes.index(place.class_name))
            if grouped:
                rows.groups.append(place.group)
    for rows in splits.values():
        rows.declared = set(rows.labels or ())
    return Found({name: rows for name, rows in splits.items() if rows.files}, list(classes))


def _classes(places: dict[str, Place], split: str) -> set[str]:
    return {place.class_name for place in places.values() if place.split == split} - {""}


def _lower(names: Iterable[str]) -> set[str]:
    return {name.strip().lower() for name in names}


def _by_number(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else 0), name


def _listed(names: Iterable[str]) -> str:
    names = list(names) if isinstance(names, list) else sorted(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _no_images(source: Source) -> str:
    """Say what there is in place of images."""
    if not source.others:
        return "it has no images"
    archive = next((name for name in source.others if name.lower().endswith((".zip", ".tar"))), None)
    remedy = f"; {source.name}={source.root / archive} reads the archive" if archive else ""
    return f"it has no images, only other files such as {_listed(source.others[:3])}{remedy}"


def _without_wrappers(paths: dict[str, Parts], class_names: set[str]) -> dict[str, Parts]:
    """Leave out top folders that hold everything, unless they are named as a split or a class."""
    while paths:
        tops = {parts[0] for parts in paths.values()}
        if len(tops) > 1 or min(map(len, paths.values())) == 1 or split_of(*tops) or _lower(tops) <= class_names:
            break
        paths = {folder: parts[1:] for folder, parts in paths.items()}
    return paths


def _split_level(paths: Iterable[Parts]) -> int | None:
    """Return which part of the paths means a split: the first one, if train or validation is among the top folders
    with folders in it or if all of them are splits; else a part that means one in every path."""
    paths = list(paths)
    folders_in_splits = any(parts[1:] and split_of(parts[0]) in ("train", "validation") for parts in paths)
    if paths and (folders_in_splits or all(split_of(parts[0]) for parts in paths)):
        return 0
    depth = min(map(len, paths), default=0)
    return next((level for level in range(1, depth) if all(split_of(parts[level]) for parts in paths)), None)


def _named_twice(paths: Iterable[Parts], level: int | None) -> list[str]:
    names = sorted({parts[level] for parts in paths if len(parts) > level}) if level is not None else []
    return next(([a, b] for a in names for b in names if a < b and split_of(a) and split_of(a) == split_of(b)), [])


def _places(below: dict[str, tuple[str, Parts]], cfg: DataConfig) -> dict[str, Place] | None:
    """Return the place of every folder that has one; None if it is not clear which part of the paths is the class."""
    places = {folder: Place(split) for folder, (split, parts) in below.items() if split == "test" and not parts}
    paths = {folder: parts for folder, (_, parts) in below.items() if parts}
    flat = {parts[0] for parts in paths.values() if len(parts) == 1}
    if len(flat) < 2 and any(len(parts) > 1 for parts in paths.values()):
        level = _class_level(set(paths.values()), cfg.class_names)
        if level is None:
            return None
        levels = dict.fromkeys(paths, level)
    else:
        levels = _levels_beside(below, _lower(flat))
    groups = _groups({folder: _without(paths[folder], level) for folder, level in levels.items()})
    return places | {
        folder: Place(below[folder][0], paths[folder][levels[folder]], groups[folder]) for folder in levels
    }


def _levels_beside(below: dict[str, tuple[str, Parts]], flat: set[str]) -> dict[str, int]:
    """Return the class's part of each path where a split has class folders at its top, by folder.

    Other splits can have the same classes among folders of generators: train/real, but test/ADM/real.
    """
    levels = {folder: 0 for folder, (_, parts) in below.items() if len(parts) == 1}
    there = {(below[folder][0], below[folder][1][0].lower()) for folder in levels}
    for folder, (split, parts) in below.items():
        found = [i for i, part in enumerate(parts) if part.lower() in flat]
        if len(parts) > 1 and len(found) == 1 and (split, parts[found[0]].lower()) not in there:
            levels[folder] = found[0]
    return levels


def _without(parts: Parts, level: int) -> Parts:
    return parts[:level] + parts[level:][1:]


def _class_level(paths: set[Parts], class_names: list[str] | None) -> int | None:
    """Return the part that is the class, counted from the front or, negative, from the end; None if it is not clear."""
    depth = min(map(len, paths))
    levels = [*range(-1, -depth - 1, -1), *range(depth)]
    names = {level: {parts[level] for parts in paths} for level in levels}
    for level in levels:
        lower = {name.lower() for name in names[level]}
        if class_names and lower <= _lower(class_names):
            return level
        if not class_names and lower <= {*REAL, *FAKE} and lower & set(REAL) and lower & set(FAKE):
            return level
    if class_names:
        return None
    # Each generator's folder has the same classes, or each class has generators of its own.
    last, first = _children(paths, -1), _children(paths, 0)
    same = len(set(map(frozenset, last.values()))) == 1 and len(names[-1]) > 1 and len(last) > 1
    apart = len(first) > 1 and sum(map(len, first.values())) == len(set().union(*first.values()))
    return -1 if same and not apart else 0 if apart and not same else None


def _children(paths: set[Parts], level: int) -> dict[Parts | str, set]:
    """Return, for level -1, the last parts by what stands before them; for level 0, what follows by the first part."""
    found: dict[Parts | str, set] = {}
    for parts in paths:
        key, value = (parts[:-1], parts[-1]) if level else (parts[0], parts[1:])
        found.setdefault(key, set()).add(value)
    return found


def _groups(parts: dict[str, Parts]) -> dict[str, str]:
    """Join the parts of each group, without those that follow from the part before: ADM/imagenet_ai_0508 is ADM."""
    following: dict[Parts, set[str]] = {}
    for group in parts.values():
        for i in range(1, len(group)):
            following.setdefault(group[:i], set()).add(group[i])
    depth = max(map(len, parts.values()), default=0)
    single = {i for i in range(1, depth) if all(len(n) == 1 for above, n in following.items() if len(above) == i)}
    return {folder: "/".join(p for i, p in enumerate(group) if i not in single) for folder, group in parts.items()}
