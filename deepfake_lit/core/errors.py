"""The exception that means "the user can fix this", and the messages that many places share."""

import difflib
from collections.abc import Iterable
from typing import Any

UNFINISHED = 75  # exit status of a command that was stopped and can be continued: EX_TEMPFAIL of sysexits.h


class UserError(Exception):
    """Bad input or configuration. The command line prints only the message and exits with `status`."""

    status = 2


class Unfinished(UserError):
    """The disk is full or read-only. Nothing is lost: the same command continues once it can write again."""

    status = UNFINISHED


class OutOfMemory(UserError):
    """The memory of the GPU does not suffice, at least beside what else is on it."""


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise `UserError` unless the value of the setting `name` is one of the allowed ones."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def check_finite(answers: Any, name: str) -> None:
    """Raise `UserError` if a tensor of a checkpoint's answers has a NaN or infinity, which no label may be read from.

    Args:
        name: of the checkpoint.
    """
    if not bool(answers.isfinite().all()):
        raise UserError(
            f"{name} answers with NaN or infinity, so that it predicts nothing: its training has diverged, or its "
            "precision does not suffice (precision=fp32); take another checkpoint"
        )


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the end of a message that suggests the most similar known name, or "" if none is similar."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
