"""Problems of a data set: they are collected by kind and reported in one message."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.choices import PROBLEMS

SHOWN = 5  # entries that a message lists per kind; the count is always that of all


class DataError(UserError):
    """The data set has problems that are not tolerated. `kinds` holds their names."""

    def __init__(self, message: str, kinds: set[str]):
        super().__init__(message)
        self.kinds = kinds

    def __reduce__(self):  # a launcher's worker process sends it back to the sweep
        return DataError, (str(self), self.kinds)


def printable(text: str) -> str:
    """Escape line breaks, terminal codes and undecodable bytes, which names of unknown files may hold."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass
class Problems:
    """The problems found so far, by kind. Each entry is a file or row, with details that help to fix it.

    `notes` are no problems: they say how the data were read where they could have been read in another way.
    """

    found: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, entry: str) -> None:
        assert kind in PROBLEMS, kind
        self.found[kind].append(printable(entry))

    def note(self, text: str) -> None:
        if (text := printable(text)) not in self.notes:
            self.notes.append(text)

    def add_all(self, kind: str, entries: Iterable[str]) -> None:
        for entry in entries:
            self.add(kind, entry)

    def __contains__(self, kind: str) -> bool:
        return bool(self.found.get(kind))

    def count(self, *kinds: str) -> int:
        return sum(len(self.found.get(kind, [])) for kind in kinds)

    def lines(self, kinds: list[str], tolerated: bool = False) -> list[str]:
        lines = []
        for kind in kinds:
            entries = self.found[kind]
            more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
            fate = f" - {PROBLEMS[kind].when_tolerated}" if tolerated else ""
            lines.append(f"  {kind} ({len(entries)}): {PROBLEMS[kind].meaning}{fate}")
            lines.append(f"      {'; '.join(entries[:SHOWN])}{more}")
        return lines

    @property
    def kinds(self) -> list[str]:
        """The kinds that were found, in a fixed order."""
        return [kind for kind in PROBLEMS if self.found.get(kind)]

    def settle(self, root: str, tolerate: list[str], lost: str | None = None) -> None:
        """Raise one error for all problems that stop a run and are not tolerated.

        Args:
            lost: what is missing without the rows that have problems, so that to tolerate them is no way out.

        Raises:
            DataError: one message with every such problem.
        """
        fatal = [kind for kind in self.kinds if kind not in tolerate and PROBLEMS[kind].stops]
        if lost or "class_count" in fatal:
            fatal = self.kinds  # what was dropped may be the reason
        if not fatal and not lost:
            return
        count = self.count(*fatal)
        message = [f"{count} problem{'s' if count > 1 else ''} in the data {root}; nothing was done with them."]
        if lost:
            message = [f"data.root={root}: {lost}{'; these are the reasons' if fatal else ''}"]
        message += self.lines(fatal)
        tolerable = [kind for kind in fatal if PROBLEMS[kind].when_tolerated and not lost]
        if tolerable:
            setting = ",".join(kind for kind in PROBLEMS if kind in tolerable or kind in tolerate)
            message.append(f"Mend the files, or go on in spite of these with data.tolerate=[{setting}]")
            message += [f"      {kind}: {PROBLEMS[kind].when_tolerated}" for kind in tolerable]
        raise DataError("\n".join(message), set(fatal) or {"class_count"})
