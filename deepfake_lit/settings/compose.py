"""Build checked dataclasses from YAML files and overrides.

Hydra composes YAML files and the command line onto the dataclasses of schema.py (`register`). `load` checks the
composed tree once more and returns plain dataclasses, so that no code after it sees a `DictConfig`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

import deepfake_lit
from deepfake_lit.core.errors import UserError, did_you_mean, one_of
from deepfake_lit.settings.checks import check
from deepfake_lit.settings.identity import without_nulls
from deepfake_lit.settings.kinds import KINDS
from deepfake_lit.settings.schema import (
    AugmentConfig,
    BaselineConfig,
    Config,
    DataConfig,
    LossConfig,
    TrainerConfig,
    ViewsConfig,
)


def config_dir() -> Path:
    """Return the path of `conf/`, which is beside the package in a checkout and inside it in an installed wheel."""
    package = Path(deepfake_lit.__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def compose(overrides: list[str]) -> Config:
    """Return the checked configuration of a list of overrides, as `train` would see it."""
    import hydra

    register()
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        return load(hydra.compose("train", overrides))


def register() -> None:
    """Make the schema known to Hydra, so that every setting can be overridden without a `+`."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, kinds in KINDS.items():
        for cls in kinds:
            store.store(group=f"{group}/schema", name=cls().kind, node=cls, package=group)
    store.store(group="baseline/schema", name="baseline", node=BaselineConfig)


def load(composed: DictConfig) -> Config:
    """Return the composed configuration as checked plain dataclasses.

    Raises:
        UserError: one line on the first unknown key, wrong type, missing value or impossible combination.
    """
    tree = OmegaConf.to_container(composed, resolve=False)
    try:
        schema = OmegaConf.structured(Config)
        for group, kinds in KINDS.items():
            by_kind = {cls().kind: cls for cls in kinds}
            kind = (tree.get(group) or {}).get("kind")
            one_of(f"{group}.kind", kind, by_kind)
            schema[group] = OmegaConf.structured(by_kind[kind])
        schema.baselines = {name: OmegaConf.structured(BaselineConfig) for name in tree.get("baselines") or {}}
        cfg: Config = OmegaConf.to_object(OmegaConf.merge(schema, tree))
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from None
    check(cfg)
    return cfg


def explain(error: OmegaConfBaseException, schema: type | None = None) -> str:
    """Return one line on a configuration error, with the nearest existing name if a key is unknown.

    Args:
        schema: the dataclass that the settings were merged into; None: the configuration of a run.
    """
    reason = str(error).splitlines()[0]
    key = error.full_key or ""
    if isinstance(error, ConfigKeyError) or "is not in struct" in reason or "not in '" in reason:
        group, dot, leaf = key.rpartition(".")
        return f"there is no setting {key}{did_you_mean(leaf, _names(schema), group + dot)}"
    if "MISSING" in type(error).__name__.upper() or "Missing mandatory value" in reason:
        return f"{key} is not set; give it on the command line, as in {key}=VALUE"
    return f"{key}: {reason}" if key else reason


def _names(schema: type | None) -> list[str]:
    own = [Config, DataConfig, AugmentConfig, LossConfig, TrainerConfig, ViewsConfig, BaselineConfig]
    classes = [schema] if schema else own
    if not schema:
        classes += [cls for kinds in KINDS.values() for cls in kinds]
    return sorted({f.name for cls in classes for f in dataclasses.fields(cls)})


def from_dict(tree: dict[str, Any]) -> Config:
    """Return the configuration that `to_dict` stored, checked as in `load`. The tree must not hold interpolations."""
    try:
        if "${" in json.dumps(tree):
            raise UserError("a stored configuration must not hold interpolations (${...})")
        return load(OmegaConf.create(without_nulls(tree)))
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"a stored configuration is damaged: {error}") from None
