"""What sweeps and reports show, in the terminal: rows over seeds, their differences and verdicts."""

import shlex
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from deepfake_lit.cli.show import new_table
from deepfake_lit.core.console import out, warn
from deepfake_lit.report.claims import Claim, claims
from deepfake_lit.report.measure import Measured, measure
from deepfake_lit.report.notes import notes
from deepfake_lit.report.searches import monitored, rows_of, said, section_of_search
from deepfake_lit.report.sections import section_of_sweep, sections
from deepfake_lit.report.unchecked import unchecked
from deepfake_lit.report.verdict import MARGIN
from deepfake_lit.settings.report_file import DIRECTIONS


def of_sweep(folder: Path) -> None:
    """Print the rows of a sweep, each over its seeds, with their differences from the reference row."""
    section = section_of_sweep(folder)
    if section is None:
        return
    measured = measure(section.tables)
    for table in section.tables:
        reference = next((row.label for row in table.rows if row.key == table.reference), "")
        if any(m.accuracy for m in measured[table.key]):
            out.print(_rows(f"after the last epoch; differences from {reference}", measured[table.key]))
    out.print("next, a page of this and all other runs:")
    out.print(f"  deepfake-lit report output_dir={shlex.quote(str(folder.parents[1]))}", markup=False)


def of_search(record: dict[str, Any], folder: Path) -> None:
    """Print the trials of a search, those that came furthest first, and what it has found."""
    table = new_table("", "trial", "settings", "state", "epochs", monitored(record))
    for row in rows_of(record):
        value = "" if row.value is None else f"{row.value:.4f}"
        table.add_row(str(row.number), escape(row.label), row.state, str(row.epochs), value)
    out.print(table)
    for row in rows_of(record):
        if row.reason:
            warn(f"trial {row.number} failed: {row.reason}")
    section = section_of_search(folder)
    for sentence in section and said(record, measure(section.tables)):
        out.print(sentence, markup=False)


def of_report(output: Path, keys: list[str]) -> None:
    """Print the differences that reports claim, beside the measured ones.

    Args:
        keys: of the sections, as `<report>-<scale>`.
    """
    for section in sections(output):
        if section.key not in keys:
            continue
        measured = measure(
            section.tables, section.scale, section.reported.get("margin", MARGIN), section.looks, section.sequential
        )
        found = claims(section, measured)
        scale = f", scale {section.scale}" if section.scale else ""
        if found:
            out.print(_claims(f"{section.title}{scale}: what is claimed, and what was measured", found))
        if section.scale is None:
            for line in [
                *notes(section.reported, measured, None, own_predictions=True),
                *unchecked(found, section.reported),
            ]:
                out.print(f"- {line}", markup=False)


def _rows(title: str, rows: list[Measured]) -> Table:
    table = new_table(title, "row", "seeds", "accuracy", "95 %", "difference, points", "95 %", "verdict")
    for m in rows:
        if m.accuracy is None:
            table.add_row(escape(m.row.label), "0", *[""] * 4, "; ".join(map(str, m.problems)))
            continue
        cells = [escape(m.row.label), str(m.seeds), f"{m.accuracy.value:.4f}", _ends(m.accuracy.interval(), 1)]
        d = m.difference
        cells += [f"{100 * d.value:+.1f}", _ends(d.interval, 100), d.verdict.text] if d else ["", "", ""]
        table.add_row(*cells)
    return table


def _claims(title: str, found: list[Claim]) -> Table:
    table = new_table(title, "difference", "claimed, points", "measured, points", "95 %", "verdict")
    for claim in found:
        low, high = (f"{100 * end:+.1f}" for end in claim.claimed)
        stated = DIRECTIONS.get(claim.claimed, low if low == high else f"{low} to {high}")
        d = claim.difference
        cells = [f"{100 * d.value:+.1f}", _ends(d.interval, 100), d.verdict.text] if d else ["", "", "not measured"]
        table.add_row(escape(f"{claim.reference} to {claim.what}"), stated, *cells)
    return table


def _ends(interval: tuple[float, float], scale: float) -> str:
    return " to ".join(f"{scale * end:+.1f}" if scale > 1 else f"{end:.4f}" for end in interval)
