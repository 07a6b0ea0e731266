"""What can be wrong with a data set: the kinds, and one message that lists every problem found."""

from collections import defaultdict
from dataclasses import dataclass, field

from deepfake_lit.core.errors import UserError

SHOWN = 5  # names listed of each kind; the count is always whole


@dataclass(frozen=True)
class Kind:
    meaning: str
    when_tolerated: str | None  # what happens under data.tolerate; None: cannot be tolerated


KINDS = {
    "layout": Kind("the data cannot be found or understood", None),
    "csv": Kind("a CSV file cannot be read as `image_id,label`", None),
    "class_count": Kind("the labels do not fit the number of classes", None),
    "empty_id": Kind("rows without an image id", "the row is dropped"),
    "unsafe_id": Kind("image ids that are a path or hold control characters", "the row is dropped"),
    "duplicate_id": Kind("image ids with more than one row", "the first row counts"),
    "shared_id": Kind("image ids that stand in several splits", "every split keeps its row"),
    "bad_label": Kind("labels that are not an integer of 0 or more", "the row is dropped"),
    "label_range": Kind("labels beyond the number of classes", "the row is dropped"),
    "missing_file": Kind("rows whose image file does not exist", "the row is dropped"),
    "ambiguous_file": Kind("image ids with several files (endings differ)", "the first file by name counts"),
    "extra_file": Kind("image files that no row names and no class folder holds", "the file is ignored"),
    "corrupt_image": Kind("files that cannot be decoded as an image", "the image is dropped"),
    "decompression_bomb": Kind("images that claim more pixels than any of this task has", "the image is dropped"),
    "wrong_size": Kind("images of another size than the others", "the image is resized"),
    "odd_mode": Kind("images that are not 8-bit RGB or RGBA", "the image is converted to 8-bit RGB(A)"),
    "animated": Kind("images of several frames", "the first frame counts"),
    "same_pixels": Kind("images of one split that have the same pixels", "all are kept"),
    "leaked_pixels": Kind("images of different splits that have the same pixels", "all are kept"),
}


class DataError(UserError):
    """The data set has problems that nobody tolerated. `kinds` holds their names."""

    def __init__(self, message: str, kinds: set[str]):
        super().__init__(message)
        self.kinds = kinds

    def __reduce__(self):  # a launcher's worker process sends it back to the sweep
        return DataError, (str(self), self.kinds)


def printable(text: str) -> str:
    """Names from a stranger's disk may hold line breaks, terminal codes or bytes that are no text: escaped here."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass
class Problems:
    """A growing list of problems by kind. Each entry is a file or row, with the detail that helps to mend it."""

    found: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, entry: str) -> None:
        assert kind in KINDS, kind
        self.found[kind].append(printable(entry))

    def __contains__(self, kind: str) -> bool:
        return bool(self.found.get(kind))

    def count(self, *kinds: str) -> int:
        return sum(len(self.found.get(kind, [])) for kind in kinds)

    def lines(self, kinds: list[str], tolerated: bool = False) -> list[str]:
        lines = []
        for kind in kinds:
            entries = self.found[kind]
            more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
            fate = f" - {KINDS[kind].when_tolerated}" if tolerated else ""
            lines.append(f"  {kind} ({len(entries)}): {KINDS[kind].meaning}{fate}")
            lines.append(f"      {'; '.join(entries[:SHOWN])}{more}")
        return lines

    @property
    def kinds(self) -> list[str]:
        """The kinds that were found, in a fixed order."""
        return [kind for kind in KINDS if self.found.get(kind)]

    def settle(self, root: str, tolerate: list[str]) -> None:
        """
        Raises:
            DataError: one message with every problem whose kind is not tolerated.
        """
        fatal = [kind for kind in self.kinds if kind not in tolerate]
        if not fatal:
            return
        count = self.count(*fatal)
        message = [f"{count} problem{'s' if count > 1 else ''} in the data {root}; nothing was done with them."]
        message += self.lines(fatal)
        tolerable = [kind for kind in fatal if KINDS[kind].when_tolerated]
        if tolerable:
            setting = ",".join(kind for kind in KINDS if kind in tolerable or kind in tolerate)
            message.append(f"Mend the files, or go on in spite of these with data.tolerate=[{setting}]")
            message += [f"      {kind}: {KINDS[kind].when_tolerated}" for kind in tolerable]
        raise DataError("\n".join(message), set(fatal))
