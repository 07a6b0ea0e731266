"""What every setting means and what it is by default, for help. The meanings are the comments beside the fields."""

import dataclasses
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Any, NamedTuple

from deepfake_lit.settings.roles import MISSING


class Meaning(NamedTuple):
    """A setting's dotted name, its default as it is typed on the command line ("" if it must be given), its meaning."""

    name: str
    default: str
    text: str


def meanings(schema: type, prefix: str = "") -> Iterator[Meaning]:
    """Yield the settings of a dataclass and of the groups in it."""
    texts = _comments(schema)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            yield from meanings(field.type, f"{prefix}{field.name}.")
        else:
            yield Meaning(f"{prefix}{field.name}", _default(field), texts.get(field.name, ""))


def _default(field: dataclasses.Field) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return typed(field.default_factory())
    return typed(field.default)


def typed(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if value is dataclasses.MISSING or value == MISSING:
        return ""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{typed(each)}" for key, each in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _comments(schema: type) -> dict[str, str]:
    """Return the comment of each field: in the lines above it, or at the end of its line. Bases come first."""
    found: dict[str, str] = {}
    for cls in reversed(schema.__mro__[:-1]):
        above: list[str] = []
        name = None
        for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc(inspect.getsource(cls))).readline):
            text = token.string.lstrip("# ")
            if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
                above.append(text)
            elif token.type == tokenize.COMMENT and name:
                found[name] = text
            elif token.type == tokenize.NEWLINE:
                if name and above:
                    found[name] = " ".join(above)
                above, name = [], None
            elif token.type == tokenize.NAME and (match := re.match(r" {4}(\w+):", token.line)):
                name = match[1]
    return found
