"""What a layout finds: splits of image files with labels and groups."""

from dataclasses import dataclass, field

from deepfake_lit.data.problems import Problems
from deepfake_lit.data.words import SPLITS as WORDS

SPLITS = tuple(WORDS)
NAMED = 20  # class names that a message lists


@dataclass
class Split:
    """The files of one split.

    Attributes:
        ids: unique in the split.
        labels: one a file, from 0; None: the split has no labels.
        files: names in the source.
        declared: the labels of all rows, including rows without a file.
        groups: what the files are also sorted by, such as the generator that made them; empty: by nothing else.
    """

    name: str
    ids: list[str] = field(default_factory=list)
    labels: list[int] | None = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    declared: set[int] = field(default_factory=set)
    groups: list[str] = field(default_factory=list)

    def only(self, chosen: list[int], name: str) -> "Split":
        """Return a split of the files at these positions."""
        labels = None if self.labels is None else [self.labels[i] for i in chosen]
        groups = [self.groups[i] for i in chosen] if self.groups else []
        ids, files = [self.ids[i] for i in chosen], [self.files[i] for i in chosen]
        return Split(name, ids, labels, files, set(labels or ()), groups)


@dataclass
class Found:
    """Splits by name, and the class names (None: the labels are numbers)."""

    splits: dict[str, Split]
    class_names: list[str] | None


def in_given_order(found: list[str], given: list[str] | None, problems: Problems, what: str) -> list[str]:
    """Return the class names in the order that data.class_names gives them; other names there are a problem.

    Args:
        what: has the names that were found, for the message.
    """
    if given and sorted(given) == sorted(found):
        return given
    if given:
        listed = ", ".join(found[:NAMED])
        problems.add("class_count", f"data.class_names are {', '.join(given)}, but {what} are {listed}")
    return found
