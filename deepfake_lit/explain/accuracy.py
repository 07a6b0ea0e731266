"""How accurate a network was on images that went through what a file shows signs of."""

from dataclasses import dataclass
from typing import Any

from deepfake_lit.data.history import History


@dataclass
class Measured:
    """An accuracy of the network on other images of its data.

    Attributes:
        after: what these images went through.
        low, high: the accuracy with its 95 % interval, or the accuracies of the mildest and strongest such condition.
    """

    after: str
    low: float
    high: float
    accuracy: float | None = None


def been_through(history: History) -> list[str]:
    """Return what a file shows, a sentence each."""
    found = [f"{history.format} file" + ("" if history.quality is None else f", quality {history.quality}") + "."]
    if history.metadata:
        found.append(f"The file has metadata: {history.metadata}.")
    if history.grid is not None and history.format != "JPEG":
        found.append("The pixels show the 8x8 blocks of an earlier JPEG compression.")
    if history.period is not None:
        found.append(f"The sharpness repeats every {history.period:.1f} pixels, as it does after an enlargement.")
    if history.grid is None and history.period is None:
        found.append("There are no signs of an earlier JPEG or of an enlargement.")
        found.append("Shrinking, blur and noise would leave no signs.")
    return found


def measured(card: dict[str, Any], history: History) -> list[Measured]:
    """Return the accuracies that fit what a file went through; empty if none was measured.

    A JPEG gets that of the nearest quality. Where the strength is not known, it is the range over all strengths. A file
    without signs gets the accuracy on clean images.
    """
    if "robustness" not in card:
        own = card.get("accuracy")
        return [Measured("nothing, as far as one sees", *own["interval"], own["accuracy"])] if own else []
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in card["robustness"]["conditions"]:
        rows.setdefault(row["kind"], []).append(row)
    found = []
    jpegs = rows.get("jpeg", [])
    if history.format == "JPEG" and history.quality is not None and jpegs:
        nearest = min(jpegs, key=lambda row: abs(row["strength"] - history.quality))
        found.append(Measured(f"JPEG of quality {nearest['strength']:g}", *nearest["interval"], nearest["accuracy"]))
    elif history.format == "JPEG" or history.grid is not None:
        found += _range("a JPEG", jpegs)
    if history.format == "WEBP":
        found += _range("WebP", rows.get("webp", []))
    if history.period is not None:
        found += _range("a resize", rows.get("down", []) + rows.get("up", []))
    if found:
        return found
    clean = card["robustness"]["conditions"][0]
    return [Measured("nothing, as far as one sees", *clean["interval"], clean["accuracy"])]


def _range(what: str, rows: list[dict[str, Any]]) -> list[Measured]:
    accuracies = [row["accuracy"] for row in rows]
    return [Measured(f"{what} of unknown strength", min(accuracies), max(accuracies))] if rows else []
