"""What a layout finds: splits of image files with labels and groups."""

from dataclasses import dataclass, field


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
    """Splits by name, the class names (None: the labels are numbers), and files that were left out, with reasons."""

    splits: dict[str, Split]
    class_names: list[str] | None
