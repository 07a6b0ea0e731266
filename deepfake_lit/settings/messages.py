"""What a user is told about a setting that does not exist, or that cannot be read: one line, with the remedy."""

import dataclasses
import difflib
import re
import shlex
from collections.abc import Iterator

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from deepfake_lit.settings.identity import ROLE
from deepfake_lit.settings.kinds import KINDS
from deepfake_lit.settings.meanings import meanings

_ROOT, _OUTPUT = ("root", "images"), ("output_dir", "output")
SYNONYMS = {  # what other programs call a setting -> its names here
    **dict.fromkeys(("epochs", "epoch", "num_epochs", "n_epochs"), ("max_epochs",)),
    **dict.fromkeys(("learning_rate", "lr0", "base_lr"), ("lr",)),
    **dict.fromkeys(("batch", "bs", "batchsize"), ("batch_size",)),
    **dict.fromkeys(("data", "data_dir", "data_root", "dataset", "image_dir", "image_folder", "path", "input"), _ROOT),
    **dict.fromkeys(("root", "images", "image", "source"), _ROOT),
    **dict.fromkeys(("img_size", "imgsz", "size", "resolution", "input_size"), ("image_size",)),
    **dict.fromkeys(("out", "out_dir", "outdir", "output", "output_dir", "save_dir"), _OUTPUT),
    **dict.fromkeys(("device", "gpu"), ("accelerator",)),
    **dict.fromkeys(("gpus", "num_gpus"), ("devices",)),
    **dict.fromkeys(("num_workers", "workers"), ("workers", "decode_workers")),
    **dict.fromkeys(("ckpt", "checkpoint", "weights", "pretrained_weights"), ("init_from",)),
    **dict.fromkeys(("val_split", "val_fraction"), ("validation_fraction",)),
    **dict.fromkeys(("amp", "dtype"), ("precision",)),
    **dict.fromkeys(("patience",), ("early_stopping",)),
    **dict.fromkeys(("smoothing",), ("label_smoothing",)),
    **dict.fromkeys(("wd",), ("weight_decay",)),
    **dict.fromkeys(("classes",), ("class_names", "num_classes")),
    **dict.fromkeys(("tta",), ("views",)),
}


def explain(error: OmegaConfBaseException, schema: type | None = None) -> str:
    """Return one line on a configuration error, with the nearest existing name if a key is unknown.

    Args:
        schema: the dataclass that the settings were merged into; None: the configuration of a run.
    """
    reason = str(error).splitlines()[0]
    key = error.full_key or ""
    if isinstance(error, ConfigKeyError) or "is not in struct" in reason or "not in '" in reason:
        return _unknown(key, error.object_type, schema)
    if "MISSING" in type(error).__name__.upper() or "Missing mandatory value" in reason:
        return not_set(key)
    return f"{key}: {_wrong_type(reason)}{_as_its_default(key, error, schema)}" if key else reason


TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "ListConfig": "a list"}


def _wrong_type(reason: str) -> str:
    """Return OmegaConf's reason in plain words, where it is about a value of the wrong type."""
    found = re.search(r"Value '(.*?)'.* could not be converted to (\w+)", reason)
    if found and found[2] in TYPES:
        return f"{found[1]} is not {TYPES[found[2]]}"
    return "the value must be a list" if "is not a ListConfig" in reason else reason


def _as_its_default(key: str, error: OmegaConfBaseException, schema: type | None) -> str:
    name = key.rpartition(".")[2]
    own = error.object_type if dataclasses.is_dataclass(error.object_type) else schema
    defaults = {each.name: each.default for each in meanings(own)} if own else {}
    default = defaults.get(name) or defaults.get(key)
    return f"; its default is {key}={default}" if default else ""


def not_set(key: str) -> str:
    return f"{key} is not set; give it on the command line, as in {key}=VALUE"


def _unknown(key: str, group_type: type | None, schema: type | None) -> str:
    group, dot, leaf = key.rpartition(".")
    kind = getattr(group_type, "kind", None) if group in KINDS else None
    if kind and key in ROLE:
        others = [cls.kind for cls in KINDS[group] if leaf in {f.name for f in dataclasses.fields(cls)}]
        return f"there is no setting {key} in {group}={kind}; {' and '.join(others)} {_has(others)}"
    own = [f"{group}{dot}{f.name}" for f in dataclasses.fields(group_type)] if kind else []
    known = list(ROLE) if schema is None else list(_dotted(schema))
    near = suggestion(key, own or [name for name in known if name.rpartition(".")[0] == group], known)
    if near:
        return f"there is no setting {key}; did you mean {near}?"
    return f"there is no setting {key}" + (f"; there are {', '.join(vars(schema()))}" if schema else "")


def _has(names: list[str]) -> str:
    return "has it" if len(names) == 1 else "have it"


def suggestion(key: str, group: list[str], known: list[str]) -> str | None:
    """Return the dotted name that a user may have meant by `key`, which does not exist; None if none is near.

    Args:
        group: the dotted names of the settings beside it, which are looked through first.
        known: those of every setting.
    """
    leaf = key.rpartition(".")[2]
    meant = SYNONYMS.get(leaf, ())

    def exact(names: list[str], leaves: tuple[str, ...]) -> str | None:
        for wanted in leaves:
            found = [name for name in names if name.rpartition(".")[2] == wanted and name != key]
            if found:
                return min(found, key=lambda name: name.count("."))
        return None

    def close(names: list[str], cutoff: float) -> str | None:
        by_leaf = {name.rpartition(".")[2]: name for name in names if name != key}
        near = difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=cutoff)
        return by_leaf[near[0]] if near else None

    return (
        exact(group, meant)
        or close(group, 0.75)
        or exact(known, (leaf, *meant))
        or close(group, 0.6)
        or close(known, 0.7)
    )


def _dotted(schema: type) -> Iterator[str]:
    for f in dataclasses.fields(schema):
        if dataclasses.is_dataclass(f.type):
            yield from (f"{f.name}.{name}" for name in _dotted(f.type))
        else:
            yield f.name


def explain_hydra(error: HydraException) -> str:
    """Return a line or two on what Hydra could not read or compose."""
    if isinstance(error.__cause__, OmegaConfBaseException):
        return explain(error.__cause__)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _no_choice(*(error.missing_cfg_file or "").partition("/")[::2], list(error.options))
    lines = [line.strip() for line in str(error).strip().splitlines() if "https://hydra.cc" not in line]
    if lines[0].startswith("Ambiguous value for argument"):
        override = lines[0].partition("'")[2][:-1]
        return f"{override} are several values: add -m to train each; one value with a comma is {quoted(override)}"
    return " ".join(lines[:2])


def _unreadable(override: str) -> str:
    name, equals, value = override.partition("=")
    if not equals:
        return f"{override!r} is no setting; settings are NAME=VALUE, as in trainer.max_epochs=3"
    return f"{name}: {value} has characters that must be quoted, for the shell and for Hydra: {quoted(override)}"


def quoted(override: str) -> str:
    """Return a setting as a shell takes it, with a value that Hydra takes as it stands."""
    name, _, value = override.partition("=")
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{name}="{value}"')


def _no_choice(group: str, choice: str, options: list[str]) -> str:
    hint = {
        "data": f"; a folder of images is data.root={choice}",
        "model": f"; a network of timm is model=timm model.name={choice}",
    }.get(group, "")
    if near := difflib.get_close_matches(choice, options, n=1):
        return f"there is no {group}={choice}; did you mean {group}={near[0]}?"
    return f"there is no {group}={choice}; it must be one of {', '.join(options)}{hint}"
