"""What separates the classes without looking at the image: file format, size, mode, JPEG quality, metadata.

A network learns such a shortcut before any trace of a generator, and fails on images without it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from deepfake_lit.core.console import progress, warn_once
from deepfake_lit.data.decode import Facts
from deepfake_lit.data.history import said, traces
from deepfake_lit.data.images import ImageData, SplitImages, cache_dir, open_data
from deepfake_lit.settings.schema import Config

PROPERTIES: dict[str, Callable[[Facts], str]] = {
    "format": lambda fact: fact.format,
    "size": lambda fact: f"{fact.width} x {fact.height}",
    "mode": lambda fact: fact.mode,
    "JPEG quality": lambda fact: "-" if fact.quality is None else str(fact.quality),
    "metadata": lambda fact: fact.metadata or "-",
}
GAIN = 0.05  # a rule that is right this much more often than the largest class's share is reported
LOOKED_AT = 200  # images of a class whose pixels are looked at
SHOWN = 3  # values of a property that are listed for a class


def shortcuts(split: SplitImages, class_names: list[str]) -> dict[str, dict[str, Any]]:
    """Return, for each property of the files, its values by class and the accuracy of the rule that it alone gives.

    The rule answers the class that is the most frequent one among images with the same value. It is made from each half
    of the images and tried on the other half, so that a value of one image alone predicts nothing.

    Returns:
        By property: `values` (class name -> value -> images), `accuracy`, and `chance`, the largest class's share.
    """
    rows = range(len(split))
    return {name: rule(split, rows, [of(fact) for fact in split.facts], class_names) for name, of in PROPERTIES.items()}


def rule(split: SplitImages, rows: Sequence[int], values: list[str], class_names: list[str]) -> dict[str, Any]:
    """Return what `shortcuts` has for one property: its values for the images at some rows of the split."""
    labels = split.labels[rows].tolist()
    chance = max(Counter(labels).values()) / len(labels)
    halves = [int(split.facts[row].pixel_hash[:8] or "0", 16) % 2 for row in rows]
    by_class: dict[str, Counter] = {class_name: Counter() for class_name in class_names}
    for value, label in zip(values, labels, strict=True):
        by_class[class_names[label]][value] += 1
    return {
        "values": {class_name: dict(counts.most_common()) for class_name, counts in by_class.items()},
        "accuracy": max(_accuracy(values, labels, halves), chance),  # it need not use the property
        "chance": chance,
    }


def traces_in_pixels(split: SplitImages, class_names: list[str]) -> dict[str, Any] | None:
    """Return the rule of what pixels say of an earlier JPEG or resize; None if no image has its own size still.

    It looks at the first `LOOKED_AT` images of each class that are stored at the size of their files.
    """
    size = split.pixels.shape[1:3]
    own = [i for i, fact in enumerate(split.facts) if (fact.height, fact.width) == size]
    by_class: dict[int, list[int]] = defaultdict(list)
    for i in own:
        by_class[int(split.labels[i])].append(i)
    rows = sorted(i for members in by_class.values() for i in members[:LOOKED_AT])
    if not rows:
        return None
    found = [traces(split.gather(slice(i, i + 1))[0][0]) for i in progress(rows, "traces", len(rows))]
    return rule(split, rows, [said(*each) for each in found], class_names)


def _accuracy(values: list[str], labels: list[int], halves: list[int]) -> float:
    right = 0
    for half in (0, 1):
        seen: dict[str, Counter] = defaultdict(Counter)
        every: Counter = Counter()
        for value, label, own in zip(values, labels, halves, strict=True):
            if own != half:
                seen[value][label] += 1
                every[label] += 1
        rule = {value: counts.most_common(1)[0][0] for value, counts in seen.items()}
        otherwise = every.most_common(1)[0][0] if every else None
        tried = zip(values, labels, halves, strict=True)
        right += sum(rule.get(value, otherwise) == label for value, label, own in tried if own == half)
    return right / len(labels)


def shortcut_warnings(data: ImageData) -> list[str]:
    """Return a line for each property of the training files that predicts the class clearly better than chance."""
    train = data.splits.get("train")
    return warnings_of(shortcuts(train, data.class_names)) if train and train.labels is not None and len(train) else []


def open_run_data(cfg: Config) -> ImageData:
    """Read and check the images that a configuration names, or open them from the cache; warn of shortcuts."""
    data = open_data(cfg.data, cache_dir(cfg.data, cfg.output_dir))
    for warning in shortcut_warnings(data):
        warn_once(warning)
    return data


def warnings_of(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of `shortcut_warnings` for what `shortcuts` returned."""
    lines = []
    for name, rule in found.items():
        if rule["accuracy"] > rule["chance"] + GAIN:
            values = "; ".join(f"{c}: {_listed(counts)}" for c, counts in list(rule["values"].items())[:8])
            right = f"{rule['accuracy']:.0%} of the images (chance {rule['chance']:.0%})"
            lines.append(f"the files' {name} alone tells the class in {right}: {values}")
    return lines


def _listed(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{value} ({count:,})" for value, count in list(counts.items())[:SHOWN])
    return shown + (f" and {len(counts) - SHOWN:,} others" if len(counts) > SHOWN else "")
