"""Classes put together, such as all generators against photographs."""

from typing import Any

import numpy as np

from deepfake_lit.core.errors import UserError


def grouped_classes(groups: Any, class_names: list[str]) -> dict[str, list[int]]:
    """Return the numbers of the classes of each group, which may also be given by their names.

    Raises:
        UserError: they are no groups, or fewer than 2; a class does not exist; a class is in no group, or in two.
    """
    if not isinstance(groups, dict):
        raise UserError(f"data.groups={groups!r} are no groups of classes, as {{real: [0], fake: [1, 2]}} are")
    number = {name: i for i, name in enumerate(class_names)} | {i: i for i in range(len(class_names))}
    found: dict[str, list[int]] = {}
    for group, members in groups.items():
        for member in members if isinstance(members, list) else [members]:
            if not isinstance(member, str | int) or member not in number:
                raise UserError(
                    f"data.groups: there is no class {member}; the classes are {', '.join(class_names[:20])}"
                )
            found.setdefault(group, []).append(number[member])
    every = sorted(label for members in found.values() for label in members)
    if len(found) < 2:
        raise UserError("data.groups needs two groups or more, as in {real: [0], fake: [1, 2, 3, 4]}")
    if every != list(range(len(class_names))):
        wrong = next(i for i in range(len(class_names)) if every.count(i) != 1)
        times = "no group" if wrong not in every else "two groups"
        raise UserError(f"data.groups: class {class_names[wrong]} is in {times}; each class is in one")
    return found


def grouped(probabilities: np.ndarray, classes: dict[str, list[int]]) -> np.ndarray:
    """Return the probabilities of groups, float32 (N, G): the sums over their classes."""
    return np.stack([probabilities[:, members].sum(1) for members in classes.values()], 1).astype(np.float32)


def group_labels(labels: np.ndarray, classes: dict[str, list[int]]) -> np.ndarray:
    """Return the number of each label's group, int64 (N,)."""
    number = {label: i for i, members in enumerate(classes.values()) for label in members}
    return np.array([number[label] for label in labels.tolist()], np.int64)
