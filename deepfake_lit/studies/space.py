"""The space of a search: settings with several values, in Hydra's own grammar, as distributions of Optuna."""

import itertools
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from deepfake_lit.core.errors import UserError


def read_space(overrides: list[str]) -> tuple[list[str], dict[str, BaseDistribution]]:
    """Return the overrides of one value, and a distribution for each setting of several.

    Values that are listed are texts of overrides, so that lists and names of files in conf/ can be among them.

    Raises:
        UserError: nothing is searched, or a setting's values cannot be.
    """
    fixed, space = [], {}
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        if not override.is_sweep_override():
            fixed.append(text)
            continue
        try:
            space[override.key_or_group] = _distribution(override)
        except ValueError as error:
            raise UserError(f"{text} cannot be searched: {error}") from None
    if not space:
        raise UserError("name what is searched, as in optimizer.lr=1e-4,1e-3 or 'optimizer.lr=interval(1e-4,1e-2)'")
    return fixed, space


def _distribution(override: Override) -> BaseDistribution:
    value = override.value()
    if override.is_interval_sweep():
        log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log)
        return FloatDistribution(value.start, value.end, log)
    if isinstance(value, Glob):
        raise ValueError("give an interval or a list of values")
    value.shuffle = False  # else another process would have another space
    return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))


def chosen(params: dict[str, Any]) -> list[str]:
    """Return the overrides of a trial's values."""
    return [f"{name}={value}" for name, value in params.items()]


def size_of(space: dict[str, BaseDistribution]) -> int | None:
    """Return of how many combinations a space consists; None if that cannot be counted."""
    total = 1
    for each in space.values():
        if isinstance(each, FloatDistribution):
            return None
        total *= len(each.choices) if isinstance(each, CategoricalDistribution) else each.high - each.low + 1
    return total


def grid_of(space: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Return every combination of listed values.

    Raises:
        UserError: a setting has an interval.
    """
    for name, each in space.items():
        if not isinstance(each, CategoricalDistribution):
            raise UserError(f"sampler=grid needs a list of values for {name}, not an interval")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*(d.choices for d in space.values()))]


def any_of(distribution: BaseDistribution) -> Any:
    """Return a value of a distribution."""
    return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low
