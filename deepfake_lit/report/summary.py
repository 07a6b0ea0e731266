"""What a section of the page shows, in a few sentences that stand above everything else."""

from collections import Counter

from deepfake_lit.report.claims import Claim
from deepfake_lit.report.measure import Measured, each_row
from deepfake_lit.report.rows import Section

NAMED = 5  # rows that a sentence names
# In the order in which they are counted: what a verdict is, of one difference and of several.
WORDS = {
    "reproduced": ("is reproduced", "are reproduced"),
    "real": ("is real", "are real"),
    "same": ("is smaller than the margin", "are smaller than the margin"),
    "unsettled": ("is not settled", "are not settled"),
    "unseen": ("is not seen at this scale", "are not seen at this scale"),
    "contradicted": ("is contradicted", "are contradicted"),
    "single": ("is of one pair of trainings alone", "are of one pair of trainings alone"),
}


def in_short(section: Section, measured: dict[str, list[Measured]], found: list[Claim]) -> list[str]:
    """Return the sentences: on other images, the best row, how many claims or rows have which verdict.

    Args:
        measured: by the key of the table.
        found: the claims of the section.
    """
    rows = [m for m in each_row(measured) if m.accuracy]
    if not rows:
        return ["No run is done yet."]
    best = max(rows, key=lambda m: m.accuracy.value)
    low, high = best.accuracy.interval()
    text = f"The best row is {best.row.label}: {100 * best.accuracy.value:.1f} % after the last epoch"
    alike = len({tuple(m.row.done[0].result.data["class_names"]) for m in rows}) == 1
    sentences = [f"{text} ({100 * low:.1f} to {100 * high:.1f})."] if len(rows) > 1 and alike else []
    if found:
        kinds = Counter(c.difference.verdict.kind if c.difference else "none" for c in found)
        parts = [f"{kinds[kind]} {WORDS[kind][kinds[kind] > 1]}" for kind in WORDS if kinds[kind]]
        sentences.append(f"Of {len(found)} claimed differences {_and(parts)}." if parts else "No claim is judged yet.")
    else:
        sentences += _of_rows(section, measured)
    return sentences


def other_images(section: Section, rows: list[Measured]) -> str | None:
    """Return a warning if a report's tables were measured on other images than the report's; else None."""
    own = section.reported.get("data_hash")
    others = {name[:8] for m in rows for name in m.data if own and name != own}
    if not others:
        return None
    found = ", ".join(sorted(others))
    return f"These are other images ({found}) than the report's ({own[:8]}): none of its claims is tested here"


def _of_rows(section: Section, measured: dict[str, list[Measured]]) -> list[str]:
    """Say which rows really differ from their reference row."""
    sentences = []
    for table in section.tables:
        compared = [m for m in measured[table.key] if m.difference]
        if not compared:
            continue
        real = sorted((m for m in compared if m.difference.verdict.kind == "real"), key=lambda m: m.difference.value)
        reference = next(row.label for row in table.rows if row.key == table.reference)
        better = [m for m in real[::-1] if m.difference.value > 0]
        for word, some in (("Better", better), ("Worse", real[: len(real) - len(better)])):
            names = [f"{m.row.label} ({100 * m.difference.value:+.1f})" for m in some]
            if names:
                more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
                sentences.append(f"{word} than {reference}: {_and(names[:NAMED] + more)}.")
        if rest := len(compared) - len(real):
            several = "s do" if rest > 1 else " does"
            sentences.append(f"{rest} row{several} not differ from {reference} by what can be seen here.")
    return sentences


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
