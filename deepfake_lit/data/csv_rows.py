"""Reading of the competition's CSV files; each row comes with its line number."""

import csv
import io

from deepfake_lit.data.problems import Problems
from deepfake_lit.data.source import Source


def read_rows(source: Source, name: str, labelled: bool, problems: Problems):
    """Return the rows as (where, image_id, label or None); for an unreadable file add a problem and return None."""
    try:
        text = source.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add("csv", f"{name} is not UTF-8 text (byte {error.start})")
        return None
    except Exception as error:  # permission, I/O, or a damaged member of a .zip
        problems.add("csv", f"{name} cannot be read: {error}")
        return None
    if not text.strip():
        problems.add("csv", f"{name} is empty")
        return None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    wanted = ["image_id", "label"] if labelled else ["image_id"]
    rows, line, before = [], 0, problems.count("csv")
    try:
        header = [column.strip() for column in next(reader)]
        if not set(wanted) <= set(header) or len(set(header)) < len(header):
            first = ",".join(header)[:80]
            problems.add("csv", f"{name} needs the header {','.join(wanted)}; its first line is {first!r}")
            return None
        columns = [header.index(column) for column in wanted]
        line = reader.line_num
        for row in reader:
            where, line = f"{name} line {line + 1}", reader.line_num  # a quoted field can span several lines
            if not row:
                continue
            if len(row) != len(header):
                problems.add("csv", f"{where} has {len(row)} fields instead of {len(header)}")
                continue
            values = [row[column].strip(" \t") for column in columns]
            rows.append((where, values[0], values[1] if labelled else None))
    except csv.Error as error:
        problems.add("csv", f"{name}, the row that begins in line {line + 1}: {error}")
        return None
    if not rows and problems.count("csv") == before:
        problems.add("csv", f"{name} has a header but no rows")
        return None
    return rows


def image_ids(source: Source, csv_name: str) -> list[str]:
    """Return the image ids of a CSV file such as test.csv or sample_submission.csv.

    Raises:
        DataError: the file cannot be read as such a CSV.
    """
    problems = Problems()
    rows = read_rows(source, csv_name, False, problems)
    problems.settle(csv_name, [])
    return [image_id for _, image_id, _ in rows]
