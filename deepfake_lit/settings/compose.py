"""Build checked dataclasses from YAML files and overrides.

Hydra composes YAML files and the command line onto the dataclasses of schema.py (`register`). `load` checks the
composed tree once more and returns plain dataclasses, so that no code after it sees a `DictConfig`.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import MISSING, DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from deepfake_lit.core.errors import UserError, one_of
from deepfake_lit.settings.checks import check
from deepfake_lit.settings.conf import config_dir
from deepfake_lit.settings.identity import without_nulls
from deepfake_lit.settings.kinds import KINDS
from deepfake_lit.settings.messages import explain, not_set
from deepfake_lit.settings.schema import BaselineConfig, Config


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


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every setting of a tree."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@cache
def _file(path: str) -> dict[str, Any]:
    """Return the settings of a file in conf/, by dotted name; none of what is not a file, such as a schema."""
    file = config_dir() / f"{path}.yaml"
    return dict(_leaves(yaml.safe_load(file.read_text(encoding="utf-8")) or {})) if file.exists() else {}


def _keep_missing(compose_files: Callable) -> Callable:
    """Let `???` in a file of conf/ mean that a value must be given, until a later file or the command line gives it.

    To OmegaConf a `???` that is merged onto a default, such as null, says nothing. Hydra offers no way to hook in here,
    so its function that merges the files is wrapped. It composes single runs, every trial of a sweep, and `--cfg`.
    """

    @wraps(compose_files)
    def composed(self: ConfigLoaderImpl, defaults: list, repo: Any) -> DictConfig:
        cfg = compose_files(self, defaults, repo)
        missing: dict[str, None] = {}
        for default in defaults:
            package = f"{default.package}." if default.package else ""
            for name, value in _file(default.config_path or "").items():
                missing[package + name] = None
                if value != MISSING:
                    del missing[package + name]
        with flag_override(cfg, "struct", False):
            for name in missing:
                OmegaConf.update(cfg, name, MISSING)
        return cfg

    return composed


ConfigLoaderImpl._compose_config_from_defaults_list = _keep_missing(ConfigLoaderImpl._compose_config_from_defaults_list)


def load(composed: DictConfig) -> Config:
    """Return the composed configuration as checked plain dataclasses.

    Raises:
        UserError: one line on the first unknown key, wrong type, missing value or impossible combination.
    """
    tree = OmegaConf.to_container(composed, resolve=False)
    for name, value in _leaves(tree):
        if value == MISSING:  # merged onto the schema, it would become the schema's default
            raise UserError(not_set(name))
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


def from_dict(tree: dict[str, Any]) -> Config:
    """Return the configuration that `to_dict` stored, checked as in `load`. The tree must not hold interpolations."""
    try:
        if "${" in json.dumps(tree):
            raise UserError("a stored configuration must not hold interpolations (${...})")
        return load(OmegaConf.create(without_nulls(tree)))
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"a stored configuration is damaged: {error}") from None
