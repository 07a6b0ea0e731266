"""All rows of a page in one table."""

from typing import Any

from deepfake_lit.report.measure import Measured
from deepfake_lit.report.rows import Section


def all_rows(found: list[Section], measured: list[dict[str, list[Measured]]]) -> list[dict[str, Any]]:
    """Return the measured rows of all tables, the best of those on the same images first; empty if one table has all.

    A row that is in several tables of a section comes once.
    """
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for section, tables in zip(found, measured, strict=True):
        of_scale = f", {section.scale}" if section.scale else ""
        for m in (m for each in tables.values() for m in each if m.accuracy):
            where = {"section": section.key, "title": section.title.split(":")[0] + of_scale}
            rows.setdefault((section.key, m.row.key, m.row.view), {"m": m, "images": _images(m), **where})
    if len([key for tables in measured for key in tables]) < 2:
        return []
    return sorted(rows.values(), key=lambda row: (row["images"], -row["m"].accuracy.value))


def _images(m: Measured) -> str:
    """Return on which images a row was measured: the hash of the data, and whether on folds of its training images."""
    folds = " in folds" if any(run.fold is not None for run in m.row.done) else ""
    return f"{m.row.done[0].result.data['hash'][:8]}{folds}"
