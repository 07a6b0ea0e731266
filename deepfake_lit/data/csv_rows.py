"""Reading of CSV and JSON-lines files with any delimiter, encoding and common column names.

Each row comes with its line number.
"""

import codecs
import csv
import io
import json
import unicodedata
from posixpath import splitext
from typing import NamedTuple

from deepfake_lit.data.problems import Problems
from deepfake_lit.data.sources.base import IMAGE_SUFFIXES, Source
from deepfake_lit.data.words import GROUP_COLUMNS, LABEL_COLUMNS, PATH_COLUMNS, SPLIT_COLUMNS, column, columns

DELIMITERS = ",;\t|"


class CsvRow(NamedTuple):
    """A row: its place for messages, the image's id, and its label, group and split, each None without a column."""

    where: str
    image_id: str
    label: str | None
    group: str | None
    split: str | None


def decoded(data: bytes) -> str | None:
    """Return the text of UTF-8, UTF-16 or Latin-1 (as Windows has it); None for what is no text."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        if data.count(0) > len(data) // 4:  # every other byte of plain text in UTF-16 without a mark
            return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None if b"\0" in data else data.decode("cp1252", errors="replace")


def read_rows(source: Source, name: str, labelled: bool, problems: Problems) -> list[CsvRow] | None:
    """Return the rows; for an unreadable file add a problem and return None.

    Args:
        labelled: whether the table must have a column of labels.
    """
    try:
        text = decoded(source.read(name))
    except Exception as error:  # permission, I/O, or a damaged member of an archive
        problems.add("csv", f"{name} cannot be read: {error}")
        return None
    if text is None:
        problems.add("csv", f"{name} is not text in UTF-8, UTF-16 or Latin-1")
        return None
    if not text.strip():
        problems.add("csv", f"{name} is empty")
        return None
    try:
        reader, header = _json_reader(text) if name.endswith(".jsonl") else _reader(text, labelled)
    except ValueError as error:
        problems.add("csv", f"{name} is no file of JSON lines: {error}")
        return None
    paths, labels, *others = (
        columns(header, words) for words in (PATH_COLUMNS, LABEL_COLUMNS, GROUP_COLUMNS, SPLIT_COLUMNS)
    )
    if not paths or (labelled and not labels) or len(set(header)) < len(header):
        wanted = "image_id,label" if labelled else "image_id"
        problems.add(
            "csv",
            f"{name} needs the header {wanted} (filename and path, class and target will do); "
            f"its first line is {','.join(header)[:80]!r}",
        )
        return None
    rows, line, before = [], reader.line_num, problems.count("csv")
    try:
        for row in reader:
            where, line = f"{name} line {line + 1}", reader.line_num  # a quoted field can span several lines
            if not row:
                continue
            if len(row) != len(header):
                problems.add("csv", f"{where} has {len(row)} fields instead of {len(header)}")
                continue
            rows.append((where, row))
    except csv.Error as error:
        problems.add("csv", f"{name}, the row that begins in line {line + 1}: {error}")
        return None
    if not rows and problems.count("csv") == before:
        problems.add("csv", f"{name} has a header but no rows")
        return None
    path = next((c for c in paths if rows and _names_a_file(rows[0][1][header.index(c)])), paths[0])
    if labels[1:]:
        problems.note(f"{name}: the labels are the column {labels[0]}, not {' or '.join(labels[1:])}")
    chosen = [header.index(path), *(header.index(found[0]) if found else None for found in (labels, *others))]
    return [_row(where, row, chosen) for where, row in rows]


def _names_a_file(value: str) -> bool:
    """Tell whether a value can only be a file's name, and no number beside a column of paths."""
    return "/" in value or splitext(value.strip())[1].lower() in IMAGE_SUFFIXES


def _row(where: str, row: list[str], chosen: list[int | None]) -> CsvRow:
    # NFKC turns the blanks of other scripts, which nobody sees, into plain ones.
    others = (None if c is None else unicodedata.normalize("NFKC", row[c]).strip() for c in chosen[1:])
    return CsvRow(where, row[chosen[0]].strip(" \t"), *others)


def _json_reader(text: str):
    """Return a reader of the rows of JSON lines, and their header."""
    records = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("a line is no object")
    header = list(dict.fromkeys(name for record in records for name in record))
    file = io.StringIO(newline="")
    csv.DictWriter(file, header).writerows(records)
    file.seek(0)
    return csv.reader(file, strict=True), header


def _reader(text: str, labelled: bool):
    """Return a reader behind its header, and the header, with the delimiter that gives the columns wanted."""
    found = []
    for delimiter in DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader)]
        except csv.Error:
            continue
        found.append((reader, header))
        if column(header, PATH_COLUMNS) and (column(header, LABEL_COLUMNS) or not labelled):
            return reader, header
    return found[0] if found else (csv.reader(io.StringIO()), [text.splitlines()[0]])


def image_ids(source: Source, csv_name: str) -> list[str]:
    """Return the image ids of a CSV file such as test.csv or sample_submission.csv.

    Raises:
        DataError: the file cannot be read as such a CSV.
    """
    problems = Problems()
    rows = read_rows(source, csv_name, False, problems)
    problems.settle(csv_name, [])
    return [row.image_id for row in rows]
