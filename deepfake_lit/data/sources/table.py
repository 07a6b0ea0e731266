"""Images in tables: Parquet files, and folders of Hugging Face `datasets`, read in place by pyarrow."""

import json
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.problems import DataError
from deepfake_lit.data.sources.base import MAX_BYTES, Source, too_large
from deepfake_lit.data.words import GROUP_COLUMNS, LABEL_COLUMNS, PATH_COLUMNS, SPLIT_COLUMNS, column, columns, split_of

IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "png")
ENDINGS = (".parquet", ".arrow")


class Row(NamedTuple):
    """An image in a table: its name in the source, the split or None, its label as text or None, its group or ""."""

    file: str
    split: str | None
    label: str | None
    group: str


def tables_below(root: Path) -> list[Path]:
    """Return the table files of a folder, or of the folders in it: `data/`, or one for each split."""
    if root.is_file():
        return [root]
    return sorted(path for depth in ("*", "*/*") for ending in ENDINGS for path in root.glob(depth + ending))


def holds_tables(root: Path) -> bool:
    """Tell whether a folder is a data set of tables: it has some, with a column of images."""
    found = tables_below(root)
    if not found or any(split_of(path.stem) for path in root.glob("*.csv")):
        return False
    if find_spec("pyarrow") is None:  # then a table beside image files is taken for something else
        return not any(next(root.glob(f"*/*{ending}"), None) for ending in (".png", ".jpg", ".jpeg", ".webp"))
    schema = _schema(found[0])
    image = image_column(schema)
    if image is None:
        return False
    # A table of paths without labels is something about image files that others, such as class folders, label.
    return not _is_text(schema.field(image).type) or column(schema.names, LABEL_COLUMNS) is not None


def image_column(schema: Any) -> str | None:
    """Return the column with images: bytes, a struct of bytes and path as `datasets` writes it, or paths."""
    pa = _pyarrow()
    kinds = {field.name: field.type for field in schema}
    structs = [n for n, kind in kinds.items() if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0]
    binaries = [n for n, kind in kinds.items() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind)]
    named = [name for name in (*structs, *binaries) if name.lower() in IMAGE_COLUMNS]
    paths = columns([name for name, kind in kinds.items() if _is_text(kind)], PATH_COLUMNS)
    return next(iter((*named, *structs, *binaries, *paths)), None)


def _is_text(kind: Any) -> bool:
    pa = _pyarrow()
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


class Table(Source):
    """Tables with a column of images. The name of an image is its split and its number in it."""

    def _is_image(self, name: str) -> bool:
        return True

    def list_files(self) -> dict[str, tuple[int, ...]]:
        stats = {path: path.stat() for path in self._tables}
        return {name: (stats[path].st_size, stats[path].st_mtime_ns, row) for name, (path, row) in self._places.items()}

    @cached_property
    def _tables(self) -> list[Path]:
        return tables_below(self.root)

    @cached_property
    def _places(self) -> dict[str, tuple[Path, int]]:
        places: dict[str, tuple[Path, int]] = {}
        counts: dict[str, int] = {}
        for path in self._tables:
            part = self._split(path) or "images"
            for row in range(_rows(path)):
                places[f"{part}/{counts.get(part, 0):06d}"] = path, row
                counts[part] = counts.get(part, 0) + 1
        return places

    def _split(self, path: Path) -> str | None:
        """Return the split that a table's file, as train-00000-of-00002.parquet, or its folder is named by."""
        folder = None if path == self.root else path.parent.relative_to(self.root).name
        return split_of(path.stem.split("-")[0]) or (split_of(folder) if folder else None)

    @cached_property
    def rows(self) -> list[Row]:
        """Return every row, with its label's name where the tables know one.

        Raises:
            DataError: the tables have no column of images.
        """
        values: dict[Path, list[list]] = {}
        names: dict[Path, list[str] | None] = {}
        for path in self._tables:
            own = _schema(path)
            if image_column(own) is None:
                raise DataError(
                    f"{path} has no column of images (bytes, or paths); the columns are {', '.join(own.names[:20])}",
                    {"layout"},
                )
            wanted = [column(own.names, words) for words in (LABEL_COLUMNS, GROUP_COLUMNS, SPLIT_COLUMNS)]
            table = _columns(path, [name for name in wanted if name])
            empty = [None] * _rows(path)
            values[path] = [table.column(name).to_pylist() if name else empty for name in wanted]
            names[path] = _label_names(own, wanted[0])  # a file may have its classes in an order of its own
        rows = []
        for file, (path, row) in self._places.items():
            found, of, split = (column[row] for column in values[path])
            if isinstance(found, int) and not isinstance(found, bool) and names[path] and 0 <= found < len(names[path]):
                found = names[path][found]
            text = None if found is None else str(int(found) if isinstance(found, bool) else found)
            if split is not None and split_of(str(split)) is None:
                raise DataError(f"{path}: the split {split!r} is none of train, validation and test", {"layout"})
            rows.append(Row(file, split_of(str(split or "")) or self._split(path), text, "" if of is None else str(of)))
        return rows

    @property
    def class_names(self) -> list[str] | None:
        """Return the names that the tables give their labels, in the order of these."""
        return _label_names(_schema(self._tables[0]), next(iter(self.label_columns), None))

    @property
    def label_columns(self) -> list[str]:
        """Return the columns that can be labels; the first one is taken."""
        return columns(_schema(self._tables[0]).names, LABEL_COLUMNS)

    def read(self, name: str) -> bytes:
        path, row = self._places[name]
        found = _image(path, path.stat().st_mtime_ns, row)
        if isinstance(found, str):
            if "://" in found:
                raise OSError(f"{found} is an address; the images must be on this machine")
            beside = path.parent / found
            if (size := beside.stat().st_size) > MAX_BYTES:
                raise too_large(size)
            return beside.read_bytes()
        if found is None:
            raise OSError("the table has neither bytes nor a path for it")
        return found


def _pyarrow():
    try:
        import pyarrow
    except ImportError:
        raise UserError("tables of images need pyarrow: pip install 'deepfake-lit[tables]'") from None
    return pyarrow


@lru_cache(maxsize=64)
def _arrow(path: Path, modified: int):
    """Map an .arrow file into memory: a stream, as `datasets` writes it, or a file with an index."""
    pa = _pyarrow()
    mapped = pa.memory_map(str(path))
    try:
        return pa.ipc.open_stream(mapped).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@lru_cache(maxsize=64)
def _parquet(path: Path, modified: int):
    _pyarrow()
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path, memory_map=True)


def _open(path: Path):
    try:
        return (_arrow if path.suffix == ".arrow" else _parquet)(path, path.stat().st_mtime_ns)
    except (ValueError, OSError) as error:  # pyarrow's errors are of these types
        raise DataError(f"{path} is not a readable table: {str(error).splitlines()[0]}", {"layout"}) from None


def _schema(path: Path):
    return _open(path).schema if path.suffix == ".arrow" else _open(path).schema_arrow


def _rows(path: Path) -> int:
    return _open(path).num_rows if path.suffix == ".arrow" else _open(path).metadata.num_rows


def _columns(path: Path, names: list[str]):
    return _open(path).select(names) if path.suffix == ".arrow" else _open(path).read(names)


@lru_cache(maxsize=2)
def _row_group(path: Path, modified: int, group: int):
    """Read the images of one row group: neighbouring rows are asked for one after the other."""
    file = _open(path)
    name = image_column(file.schema_arrow)
    return file.read_row_group(group, columns=[name]).column(name)


def _image(path: Path, modified: int, row: int) -> bytes | str | None:
    if path.suffix == ".arrow":
        table = _open(path)
        value = table.column(image_column(table.schema))[row].as_py()
    else:
        metadata, group = _open(path).metadata, 0
        while row >= (size := metadata.row_group(group).num_rows):
            row, group = row - size, group + 1
        value = _row_group(path, modified, group)[row].as_py()
    if isinstance(value, dict):
        return value["bytes"] if value["bytes"] is not None else value.get("path")
    return value


def _label_names(schema: Any, label: str | None) -> list[str] | None:
    """Return the names of a `ClassLabel`, which `datasets` stores in the tables' metadata; None without."""
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        feature = json.loads(stored)["info"]["features"][label]
        return [str(name) for name in feature["names"]]
    except (TypeError, ValueError, KeyError):
        return None
