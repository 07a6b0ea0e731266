"""The settings that identify a run, and the fingerprint that is computed from them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from deepfake_lit.settings.kinds import KINDS
from deepfake_lit.settings.schema import Config

LENGTH_FREE = ("constant", "plateau")  # schedules whose learning rates do not depend on the number of epochs


def _settings() -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield every setting of a run with its dotted name. Groups with several kinds give the settings of every kind."""
    for top in dataclasses.fields(Config):
        groups = KINDS.get(top.name) or ([top.type] if dataclasses.is_dataclass(top.type) else [])
        for cls in groups:
            yield from ((f"{top.name}.{f.name}", f) for f in dataclasses.fields(cls))
        if not groups:
            yield top.name, top


ROLE = {name: field.metadata.get("role", "identity") for name, field in _settings()}
ADDED_LATER = {name: field.default for name, field in _settings() if field.metadata.get("since")}
READS = [name for name, field in _settings() if field.metadata.get("reads")]
NOT_IDENTITY = {name for name, role in ROLE.items() if role != "identity"}


def of_role(*roles: str) -> set[str]:
    """Return the dotted names of the settings that have one of the given roles of `roles.ROLES`."""
    return {name for name, role in ROLE.items() if role in roles}


def of_group() -> list[str]:
    """Return the names of the groups of settings, and of the settings that are in none."""
    return list(dict.fromkeys(name.partition(".")[0] for name in ROLE))


def setting_of(override: str) -> str:
    """Return the dotted name of the setting that an override changes, such as `seed` for `+seed=0`."""
    return override.lstrip("+~").partition("=")[0]


def to_dict(cfg: Config) -> dict[str, Any]:
    """Return the configuration as plain dicts, lists and scalars, the form that checkpoints and results store."""
    return dataclasses.asdict(cfg)


def identity(cfg: Config) -> dict[str, Any]:
    """Return every setting that can change a result, as a flat dict of dotted names."""
    return identity_of(to_dict(cfg))


def identity_of(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the identity of a stored configuration, which has the form that `to_dict` returns.

    It does not use `from_dict`, which takes a thousand times as long: too long for a list of many runs.
    """
    flat: dict[str, Any] = {}
    for top, value in tree.items():
        if isinstance(value, dict) and top not in NOT_IDENTITY:
            flat |= {f"{top}.{key}": v for key, v in value.items()}
        else:
            flat[top] = value
    flat = {
        name: value
        for name, value in flat.items()
        if name not in NOT_IDENTITY and (name not in ADDED_LATER or value not in (None, ADDED_LATER[name]))
    }
    if tree["scheduler"]["kind"] in LENGTH_FREE and tree["trainer"].get("swa") is None:
        flat.pop("extends", None)
    return flat


def without_nulls(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a stored configuration without the nulls of settings that were added later and are not null today."""

    def of(prefix: str, node: dict[str, Any]) -> dict[str, Any]:
        stale = {key for key, value in node.items() if value is None and ADDED_LATER.get(f"{prefix}{key}") is not None}
        return {key: value for key, value in node.items() if key not in stale}

    return {key: of(f"{key}.", value) if isinstance(value, dict) else value for key, value in tree.items()}


def fingerprint(cfg: Config, data_hash: str) -> str:
    """Return 16 hexadecimal digits that two runs share exactly when they must give the same result."""
    return digest(identity(cfg), data_hash)


def digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits of SHA-256 over plain values."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
