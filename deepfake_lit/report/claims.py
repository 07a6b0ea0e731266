"""The differences that a report claims, each once, beside the measured ones."""

from dataclasses import dataclass

from deepfake_lit.report.measure import Measured
from deepfake_lit.report.pairs import Difference
from deepfake_lit.report.rows import Section
from deepfake_lit.report.verdict import claimed


@dataclass
class Claim:
    row: str  # label
    reference: str  # label
    table: str  # title
    claimed: tuple[float, float]  # lowest and highest claim, as shares
    m: Measured  # of the row
    reference_row: str  # key
    recall_of: str  # the class whose recall it is about; empty: it is about the accuracy

    @property
    def difference(self) -> Difference | None:
        """Return the measured difference; None if it could not be measured."""
        return self.m.recall_differences.get(self.recall_of) if self.recall_of else self.m.difference

    @property
    def what(self) -> str:
        """Return the row, and what of it is claimed, if that is not the accuracy."""
        return self.row + (f": recall of class {self.recall_of}" if self.recall_of else "")

    @property
    def middle(self) -> float:
        return sum(self.claimed) / 2


def claims(section: Section, measured: dict[str, list[Measured]]) -> list[Claim]:
    """Return the claims in the order of the tables; the same claim in two tables is one.

    Args:
        measured: by the key of the table.
    """
    found: dict[tuple[str, str, str], Claim] = {}
    for table in section.tables:
        reference = next((m for m in measured[table.key] if m.row.key == table.reference), None)
        for m in measured[table.key]:
            if reference is None or m is reference:
                continue
            for recall_of, difference in claimed(m.row.reported, reference.row.reported).items():
                pair = m.row.label, reference.row.label
                claim = Claim(*pair, table.title, difference, m, table.reference, recall_of)
                found.setdefault((m.row.key, table.reference, recall_of), claim)
    return list(found.values())
