"""Tables as CSV files."""

import csv
from pathlib import Path

from deepfake_lit.core.files import atomic
from deepfake_lit.core.metrics import METRICS
from deepfake_lit.report.measure import OF_IMAGES, Measured


def write_csv(path: Path, rows: list[Measured]) -> None:
    """Write a table's rows as CSV; accuracies and differences are shares, not percent."""
    fields = []
    for m in rows:
        d = m.difference
        fields.append(
            {
                "row": m.row.label,
                "reported": m.row.reported.get("accuracy"),
                "seeds": m.seeds,
                "last_epoch": m.accuracy and m.accuracy.value,
                "low": m.accuracy and m.accuracy.interval()[0],
                "high": m.accuracy and m.accuracy.interval()[1],
                "best_epoch": m.best,
                "difference": d and d.value,
                "difference_low": d and d.interval[0],
                "difference_high": d and d.interval[1],
                "p_corrected": d and d.p,
                "claimed_difference": d and d.claimed,
                "difference_seeds": d and d.seeds,
                "errors_removed": d and d.errors_removed,
                "another_pair_better": d and d.estimate.chance_of_more(),
                "verdict": d and d.verdict.text,
                "reason": d and d.verdict.reason,
                **{metric.column: m.metrics.get(name) for name, metric in METRICS.items() if metric.column},
                **{key: value for name in OF_IMAGES for key, value in _intervals(m, name).items()},
                "seconds": m.seconds,
                "images_per_second": m.images_per_second,
                "hardware": "; ".join(m.hardware),
                "commits": "; ".join(m.commits),
                "problems": "; ".join(map(str, m.problems)),
            }
        )
    with atomic(path) as file:
        writer = csv.DictWriter(file, fields[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(fields)


def _intervals(m: Measured, name: str) -> dict[str, float | None]:
    """Return the interval of a row's metric, and its difference from the reference row."""
    column, own, d = METRICS[name].column, m.estimates.get(name), m.difference and m.difference.metrics.get(name)
    ends = own.interval() if own else (None, None)
    low, high = d.interval if d else (None, None)
    found = {"low": ends[0], "high": ends[1], "difference": d and d.value}
    found |= {"difference_low": low, "difference_high": high, "p_corrected": d and d.p}
    return {f"{column}_{key}": value for key, value in found.items()}
