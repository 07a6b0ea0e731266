"""Labels as tables write them, and the numbers of their classes."""

import re
from collections import defaultdict

from deepfake_lit.data.problems import Problems
from deepfake_lit.data.split import in_given_order

NUMBER = re.compile(r"(\d{1,9})(?:\.0+)?")
NO_CLASS = re.compile(r"[\[({].*|[+-]?(?:\d+[.,]\d*|[.,]\d+)(?:e[+-]?\d+)?|nan", re.IGNORECASE)  # lists, probabilities
SHOWN = 5  # labels that a message lists


def class_numbers(
    labels: dict[str, set[str]], given: list[str] | None, problems: Problems
) -> tuple[list[str] | None, dict[str, int] | None]:
    """Return the class names, and the number of each label's text.

    Labels that are integers are numbers themselves, and the second value is None, unless `given` names all of them.

    Args:
        labels: by split, without those that are empty.
        given: data.class_names.
    """
    every = set().union(*labels.values())
    if given and every <= set(given):
        return given, {name: i for i, name in enumerate(given)}
    if not every or any(NUMBER.fullmatch(label) for label in every):
        return given, None
    if wrong := sorted(filter(NO_CLASS.fullmatch, every)):
        problems.add("class_count", f"labels that name no class: {', '.join(wrong[:SHOWN])}; a label names one class")
    alike = defaultdict(list)
    for name in sorted(every):
        alike[name.casefold()].append(name)
    if several := [" and ".join(each) for each in alike.values() if len(each) > 1]:
        problems.add(
            "class_count", f"labels that differ in capitals alone: {', '.join(several[:SHOWN])}; write them alike"
        )
    names = in_given_order(sorted(labels.get("train") or every), given, problems, "labels")
    return names, {name: i for i, name in enumerate(names)}


def known_numbers(labels: dict[str, set[str]], known: list[str]) -> tuple[list[str], dict[str, int]]:
    """Return known class names, and the numbers of those labels that are one of them, whatever their case."""
    number = {name.casefold(): i for i, name in enumerate(known)}
    every = set().union(*labels.values())
    return known, {label: number[label.casefold()] for label in every if label.casefold() in number}


def to_number(label: str, numbers: dict[str, int] | None) -> int | None:
    """Return the number of a label: of its text, or the integer that it is; None if it is neither."""
    if numbers is not None:
        return numbers.get(label)
    number = NUMBER.fullmatch(label)
    return int(number[1]) if number else None
