"""Which settings make a run what it is, and the fingerprint that follows from them."""

import dataclasses
import hashlib
import json
from typing import Any

from deepfake_lit.settings.schema import ADDED_LATER, NOT_IDENTITY, Config

LENGTH_FREE = ("constant", "plateau")  # schedules whose learning rates do not depend on the number of epochs


def to_dict(cfg: Config) -> dict[str, Any]:
    """The configuration as plain dicts, lists and scalars, as checkpoints and results store it."""
    return dataclasses.asdict(cfg)


def identity(cfg: Config) -> dict[str, Any]:
    """Every setting that can change a result, as a flat dict of dotted names."""
    return identity_of(to_dict(cfg))


def identity_of(tree: dict[str, Any]) -> dict[str, Any]:
    """`identity` of a configuration as `to_dict` gives it and results store it. `from_dict` takes a thousand times as
    long, which is too long for a list of many runs."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if name in NOT_IDENTITY or (name in ADDED_LATER and value is None):
                continue
            if isinstance(value, dict) and not prefix:
                walk(f"{name}.", value)
            else:
                flat[name] = value

    walk("", tree)
    if tree["scheduler"]["kind"] in LENGTH_FREE and tree["trainer"].get("swa") is None:
        flat.pop("extends", None)
    return flat


def fingerprint(cfg: Config, data_hash: str) -> str:
    """16 hexadecimal digits that two runs share exactly when they must give the same result."""
    return digest(identity(cfg), data_hash)


def digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
