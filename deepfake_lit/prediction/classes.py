"""Alignment of classes by their names: a label means the same class everywhere, wherever it stands in a list."""

from collections.abc import Mapping

from deepfake_lit.core.errors import UserError


def align(
    own: list[str], wanted: list[str], who: str, whose: str, mapping: Mapping[str, str] | None = None, remedy: str = ""
) -> list[int]:
    """Return, for each class of `own`, its number in `wanted`.

    Names are compared without their case. Classes that are only numbered, on either side, keep their numbers.

    Args:
        own: the names to translate, in the order of their numbers.
        who, whose: what has the names `own` and `wanted`, for the message.
        mapping: name in `own` -> name in `wanted`, for names that differ.
        remedy: what the message offers.

    Raises:
        UserError: a name of `own` has no counterpart; the message shows both lists.
    """
    mapping = dict(mapping or {})
    number = {name.lower(): i for i, name in enumerate(wanted)}
    unknown = [name for name in mapping if name not in own]
    unknown += [name for name in mapping.values() if name.lower() not in number]
    if unknown:
        raise UserError(f"classes: there is no class {unknown[0]}; {_both(own, wanted, who, whose)}")
    found = [number.get(mapping.get(name, name).lower()) for name in own]
    complete = None not in found and (mapping or len(set(found)) == len(wanted))
    if complete:
        return found
    if not mapping and len(own) == len(wanted) and (numbered(own) or numbered(wanted)):
        return list(range(len(own)))
    raise UserError(f"{who} and {whose} have different classes: {_both(own, wanted, who, whose)}{remedy}")


def same_classes(own: list[str], data: list[str], who: str) -> None:
    """Check that weights for the classes `own` fit the data's labels as they are.

    Raises:
        UserError: the classes differ, or stand in another order.
    """
    if align(own, data, who, "the data") != list(range(len(data))):
        raise UserError(
            f"{who} and the data have their classes in another order: {_both(own, data, who, 'the data')}; "
            f"data.class_names=[{','.join(own)}] gives the data that of {who}"
        )


def numbered(names: list[str]) -> bool:
    """Tell whether class names are only their numbers."""
    return names == [str(i) for i in range(len(names))]


def _both(own: list[str], wanted: list[str], who: str, whose: str) -> str:
    return f"{who}: {', '.join(own[:20])}; {whose}: {', '.join(wanted[:20])}"
