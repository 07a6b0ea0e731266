"""The differences that a report claims, each once, beside the measured ones."""

from dataclasses import dataclass

from deepfake_lit.report.measure import Measured
from deepfake_lit.report.rows import Section
from deepfake_lit.report.verdict import claimed


@dataclass
class Claim:
    row: str  # label
    reference: str  # label
    table: str  # title
    claimed: tuple[float, float]  # lowest and highest claim, as shares
    m: Measured  # of the row; its `difference` is None if it could not be measured
    reference_row: str = ""  # key

    @property
    def middle(self) -> float:
        return sum(self.claimed) / 2


def claims(section: Section, measured: dict[str, list[Measured]]) -> list[Claim]:
    """Return the claims in the order of the tables; the same pair of rows in two tables is one claim.

    Args:
        measured: by the key of the table.
    """
    found: dict[tuple[str, str], Claim] = {}
    for table in section.tables:
        reference = next((m for m in measured[table.key] if m.row.key == table.reference), None)
        for m in measured[table.key]:
            if reference is None or m is reference:
                continue
            difference = claimed(m.row.reported, reference.row.reported)
            if difference is not None:
                claim = Claim(m.row.label, reference.row.label, table.title, difference, m, table.reference)
                found.setdefault((m.row.key, table.reference), claim)
    return list(found.values())
