"""The one exception that means "the user can mend this", and the messages that many of them share."""

import difflib
from collections.abc import Iterable

UNFINISHED = 75  # exit status of what was stopped and can go on: EX_TEMPFAIL of sysexits.h


class UserError(Exception):
    """Bad input or configuration. The command line prints the message alone and exits with `status`."""

    status = 2


class Unfinished(UserError):
    """There is no room to write; nothing is lost, and the same command goes on when there is."""

    status = UNFINISHED


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise `UserError` unless the value of the setting is allowed."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The nearest known name as the end of a message, or nothing where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
