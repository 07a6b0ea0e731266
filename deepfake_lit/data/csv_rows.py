"""Reading of CSV files with any delimiter, encoding and common column names; each row comes with its line number."""

import codecs
import csv
import io
import unicodedata
from typing import NamedTuple

from deepfake_lit.data.problems import Problems
from deepfake_lit.data.sources.base import Source
from deepfake_lit.data.words import GROUP_COLUMNS, LABEL_COLUMNS, PATH_COLUMNS, SPLIT_COLUMNS, column

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
    reader, header = _reader(text, labelled)
    own = [column(header, words) for words in (PATH_COLUMNS, LABEL_COLUMNS, GROUP_COLUMNS, SPLIT_COLUMNS)]
    if own[0] is None or (labelled and own[1] is None) or len(set(header)) < len(header):
        wanted = "image_id,label" if labelled else "image_id"
        problems.add(
            "csv",
            f"{name} needs the header {wanted} (filename and path, class and target will do); "
            f"its first line is {','.join(header)[:80]!r}",
        )
        return None
    columns = [None if c is None else header.index(c) for c in own]
    rows, line, before = [], reader.line_num, problems.count("csv")
    try:
        for row in reader:
            where, line = f"{name} line {line + 1}", reader.line_num  # a quoted field can span several lines
            if not row:
                continue
            if len(row) != len(header):
                problems.add("csv", f"{where} has {len(row)} fields instead of {len(header)}")
                continue
            # NFKC turns the blanks of other scripts, which nobody sees, into plain ones.
            values = (None if c is None else row[c].strip(" \t") for c in columns[:1])
            others = (None if c is None else unicodedata.normalize("NFKC", row[c]).strip() for c in columns[1:])
            rows.append(CsvRow(where, *values, *others))
    except csv.Error as error:
        problems.add("csv", f"{name}, the row that begins in line {line + 1}: {error}")
        return None
    if not rows and problems.count("csv") == before:
        problems.add("csv", f"{name} has a header but no rows")
        return None
    return rows


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
