"""What `images=` names: where the images are, in which order, and by which ids.

It takes folders with folders in them, archives, image files, CSV files with a column of ids or paths, text files with a
path a line, and lists of all of these.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from posixpath import basename, dirname, splitext
from typing import Any, NamedTuple

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.csv_rows import decoded, image_ids
from deepfake_lit.data.problems import DataError
from deepfake_lit.data.sources import Source, open_source
from deepfake_lit.data.sources.base import IMAGE_SUFFIXES, hidden, looks_like_an_image, stem_of
from deepfake_lit.data.sources.folder import Folder

LISTS = ("sample_submission.csv", "test.csv")  # in a folder or archive, they say which images are meant
TABLES, PATHS = (".csv", ".tsv"), (".txt", ".lst", ".list")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".parquet", ".arrow")
MODELS = (".ckpt", ".skops", ".safetensors", ".pt", ".pth", ".onnx")
LONGEST_LIST = 2**28  # bytes; a larger file is no list of paths


class Item(NamedTuple):
    """An image that is meant: its name in a `Several` (None: there is none), its place for people, and the id that a
    CSV gives it."""

    file: str | None
    place: str
    id: str | None = None


@dataclass
class Several:
    """Sources under one roof: a file's name is `<number of its source>/<name there>`."""

    sources: list[Source] = field(default_factory=list)

    def read(self, name: str) -> bytes:
        number, _, own = name.partition("/")
        return self.sources[int(number)].read(own)

    def number(self, source: Source) -> int:
        self.sources.append(source)
        return len(self.sources) - 1


@dataclass
class Found:
    """The images that are meant, in the order of the answer.

    `files` are names in the source, None where there is no such file; `places` are what people know them by. `skipped`
    (id, file, reason) are files that were left out on purpose.
    """

    source: Several
    ids: list[str]
    files: list[str | None]
    places: list[str]
    skipped: list[tuple[str, str, str]]


def find_images(images: Any) -> Found:
    """Find the images of one path or of a list of them.

    Raises:
        UserError: a path is none, holds no images, or names an id twice; the message speaks of `images=`.
    """
    given = [str(each) for each in (images if isinstance(images, list | tuple) else [images])]
    reader = _Reader()
    items = list(_once([item for each in given for item in reader.items(each)]))
    if not any(item.file for item in items):
        raise UserError(f"images={_listed(given)}: no images found{_instead(items, reader)}")
    root = reader.roots[0] if len(given) == 1 else os.path.commonpath(reader.roots)
    ids = _ids(items, root)
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise UserError(f"images={_listed(given)}: the image id {twice} stands there more than once")
    places = [_below(root, item.place) for item in items]
    skipped = list(dict.fromkeys(reader.skipped))
    return Found(reader.several, ids, [item.file for item in items], places, skipped)


def _once(items: list[Item]) -> Iterator[Item]:
    """Leave out files that are given twice, as by a folder and by a name in it; a CSV's rows all stay."""
    seen = set()
    for item in items:
        if item.id is not None or item.place not in seen:
            yield item
        seen.add(item.place)


def are_images(argument: str) -> bool:
    """Return whether a plain argument names images, or a list of them, and no checkpoint."""
    path = Path(argument).expanduser()
    ending = path.suffix.lower()
    if ending in MODELS:
        return False
    if "://" in argument or ending in (*IMAGE_SUFFIXES, *TABLES, *PATHS, *ARCHIVES):
        return True
    if path.is_dir():  # the folder of a run, or of runs, has checkpoints in it
        return not any(next(path.glob(f"{depth}*{kind}"), None) for depth in ("", "*/") for kind in MODELS[:3])
    return path.is_file() and _is_image(path)


class _Reader:
    """Collects the images of several paths.

    Attributes:
        roots: for each path the folder that ids are relative to where file names clash.
        skipped: as `Found`.
    """

    def __init__(self):
        self.several = Several()
        self.roots: list[str] = []
        self.skipped: list[tuple[str, str, str]] = []
        self._disk: dict[str, int] = {}  # numbers of the sources of single files, by drive

    def items(self, text: str) -> Iterator[Item]:
        """Yield the images of one path."""
        if "://" in text:
            raise UserError(f"images={text} is an address, not a path on this machine; download the images first")
        try:
            path = Path(text).expanduser().absolute()
        except RuntimeError as error:  # ~ of an unknown user
            raise UserError(f"images={text}: {error}") from None
        if not path.exists():
            raise UserError(f"images={text}: there is no such folder or file")
        kind = path.suffix.lower()
        self.roots.append(str(path if path.is_dir() else path.parent))
        if path.is_dir():
            yield from self._whole(open_source(path, "images"), str(path))
        elif kind in PATHS:
            yield from self._lines(path, text)
        elif kind in TABLES:
            yield from self._rows(Folder(path.parent, "images"), path.name, path.stem, str(path.parent))
        elif _is_image(path):
            yield self._single(path)
        else:
            yield from self._archive_or_list(path, text)

    def _archive_or_list(self, path: Path, text: str) -> Iterator[Item]:
        try:
            source = open_source(path, "images")
        except DataError:
            text_or_none = None if path.stat().st_size > LONGEST_LIST else decoded(path.read_bytes())
            if path.suffix.lower() in ARCHIVES or text_or_none is None or "\0" in text_or_none:
                raise
            yield from self._lines(path, text)
            return
        self.roots[-1] = str(path)
        yield from self._whole(source, str(path))

    def _single(self, path: Path) -> Item:
        if path.anchor not in self._disk:
            self._disk[path.anchor] = self.several.number(Folder(Path(path.anchor), "images"))
        return Item(f"{self._disk[path.anchor]}/{path.relative_to(path.anchor).as_posix()}", path.as_posix())

    def _lines(self, path: Path, text: str) -> Iterator[Item]:
        """Yield the images of a text file with a path a line, relative to its folder or to the working directory."""
        found = False
        for line in filter(None, map(str.strip, (decoded(path.read_bytes()) or "").split("\n"))):
            if line.startswith("#"):
                continue
            own = next((p for p in (path.parent / Path(line).expanduser(), Path(line).absolute()) if _exists(p)), None)
            if own is None:
                yield Item(None, str(path.parent / line))
                continue
            found = True
            if own.is_dir() or own.suffix.lower() in ARCHIVES:
                yield from self.items(str(own))
            else:
                yield self._single(Path(os.path.normpath(own)))
        if not found:
            raise UserError(f"images={text}: neither an image nor a list of images; none of its lines is a path")

    def _whole(self, source: Source, root: str) -> Iterator[Item]:
        """Yield the images of a folder or archive: those that a list in it names, else all."""
        lists = [name for name in source.files if basename(name) in LISTS and self._holds_all(source, dirname(name))]
        if lists:
            first = min(lists, key=lambda name: (basename(name) != LISTS[0], name.count("/")))
            yield from self._rows(source, first, "/".join(filter(None, (dirname(first), "test"))), root, True)
            return
        number = self.several.number(source)
        for name in self._taken(source):
            yield Item(f"{number}/{name}", f"{root}/{name}")

    def _holds_all(self, source: Source, folder: str) -> bool:
        """Tell whether all images lie below a folder, so that a list in it can be meant for all."""
        return not folder or all(f"{name}/".startswith(f"{folder}/") for name in source.images)

    def _taken(self, source: Source, within: str | None = None) -> list[str]:
        """Return the names of the image files, by folder; `within` is the one folder that counts.

        What ends as an image and is none is among them: decoding says what is wrong with it.
        """

        def counts(name: str) -> bool:
            return within is None or name.startswith(f"{within}/")

        for name in filter(counts, sorted(source.files)):
            if hidden(name) and splitext(name)[1].lower() in IMAGE_SUFFIXES:
                self.skipped.append(("", name, "a hidden file"))
        return [name for names in source.images.values() for name in names if counts(name)]

    def _rows(self, source: Source, name: str, folder: str, root: str, whole: bool = False) -> Iterator[Item]:
        """Yield the images of a CSV's rows, which stand in `folder`, else beside the CSV, else anywhere below it.

        Args:
            whole: whether the whole folder of the CSV was asked for, so that what no row names is worth a warning.
        """
        wanted = image_ids(source, name)
        number = self.several.number(source)
        beside = f"{dirname(name)}/" if dirname(name) else ""
        inside = self._taken(source, folder)
        files = inside or [n for n in self._taken(source) if n.startswith(beside)]
        places = _Places(files, (f"{folder}/", beside))
        used = set()
        for value in wanted:
            several = places.all(value)
            file = several[0] if several else None
            used.update(several)
            if several[1:]:
                self.skipped += [(value, other, f"{several[0]} is taken for this id") for other in several[1:]]
            other = file is None and isinstance(source, Folder) and splitext(value)[1]
            if other and (path := Path(root, beside, value)).is_file():  # absolute, or beginning with ..
                yield self._single(Path(os.path.normpath(path)))._replace(id=value)
            else:
                yield Item(file and f"{number}/{file}", f"{root}/{file or value}", value)
        if inside or whole:
            self.skipped += [("", n, f"no row of {basename(name)} names it") for n in files if n not in used]


class _Places:
    """Files by what a row may call them: a path from one of the folders, or a name, each with or without its ending."""

    def __init__(self, files: list[str], folders: tuple[str, ...]):
        self.files, self.folders = set(files), folders
        self.bare = defaultdict(list)
        for name in files:
            self.bare[splitext(name)[0]].append(name)
        self.stems = {stem_of(name): name for name in reversed(files)}
        self.shared = {stem for stem, count in Counter(map(stem_of, files)).items() if count > 1}

    def all(self, value: str) -> list[str]:
        """Return the files that a value means; several where it has no ending and they differ in theirs."""
        own = value.replace("\\", "/").removeprefix("./")
        for folder in self.folders:
            if (name := folder + own) in self.files:
                return [name]
            if names := self.bare.get(folder + own) or self.bare.get(folder + splitext(own)[0]):
                return names
        if "/" in own:  # without its folder it may be another folder's file
            return []
        for stem in (basename(own), stem_of(own)):
            if stem in self.stems and stem not in self.shared:
                return [self.stems[stem]]
        return []


def _exists(path: Path) -> bool:
    """Tell whether there is such a path; a line of any text may be too long for one, or hold a null byte."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_image(path: Path) -> bool:
    """Tell whether a file is an image by its ending or, as `Source.images`, by its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    with open(path, "rb") as file:
        return looks_like_an_image(file.read(16))


def _ids(items: list[Item], root: str) -> list[str]:
    """Return the ids: those of a CSV; else the files' stems; where these clash, all paths below the root."""
    own = [_below(root, item.place) for item in items if item.id is None]
    ids = [stem_of(name) for name in own]
    if len(set(ids)) < len(ids):
        bare = Counter(splitext(name)[0] for name in own)
        ids = [name if bare[splitext(name)[0]] > 1 else splitext(name)[0] for name in own]
        ids = ids if len(set(ids)) == len(ids) else own  # a.png.jpg beside a.png and a.jpg
    rest = iter(ids)
    return [next(rest) if item.id is None else item.id for item in items]


def _below(root: str, place: str) -> str:
    return place.removeprefix(root.rstrip("/") + "/").lstrip("/")


def _listed(given: list[str]) -> str:
    return given[0] if len(given) == 1 else f"[{','.join(given[:3])}{',...' if len(given) > 3 else ''}]"


def _instead(items: list[Item], reader: _Reader) -> str:
    """Say what there is in place of images."""
    if items:
        return f" of the {len(items):,} that are named, such as {items[0].id or items[0].place}"
    if reader.skipped:
        return f"; {len(reader.skipped):,} files are hidden, such as {reader.skipped[0][1]}"
    names = (name for source in reader.several.sources for name in source.files)
    shown = ", ".join(islice(_visible(names), 3))
    return f"; there are other files, such as {shown}" if shown else "; nothing is in there"


def _visible(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not basename(name).startswith("."))
