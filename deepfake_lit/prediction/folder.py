"""A network as a folder in the style of Hugging Face: config.json, model.safetensors, README.md."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic, named, read_json, write_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"
REFERENCE = "tensor"  # what stands in config.json for a tensor: {"tensor": NAME}


def write_folder(folder: Path, checkpoint: dict[str, Any], entry: str, readme: str) -> None:
    """Write a checkpoint's `state_dict`, `means` and entry, and the README."""
    description = checkpoint[entry]
    names = description["class_names"]
    tensors = {key: tensor.contiguous() for key, tensor in checkpoint["state_dict"].items()}
    tensors |= {f"means.{key}": tensor.contiguous() for key, tensor in checkpoint.get("means", {}).items()}
    plain = _without_tensors(description, entry, tensors)
    folder.mkdir(parents=True, exist_ok=True)
    with named(folder / WEIGHTS):
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    write_json(
        folder / CONFIG,
        {
            "model_type": entry,
            "architectures": [description["config"]["model"]["kind"]],
            "id2label": {str(i): name for i, name in enumerate(names)},
            "label2id": {name: i for i, name in enumerate(names)},
            entry: plain,
        },
    )
    head = {"license": "mit", "library_name": entry, "pipeline_tag": "image-classification"}
    licence = description["card"].get("licence", "")
    head["license"] = licence.lower() if " " not in licence else "other"
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items() if value)
    with atomic(folder / "README.md") as file:
        file.write(f"---\n{front}\n---\n\n{readme}")


def read_folder(weights: Path, entry: str) -> dict[str, Any]:
    """Read what `write_folder` wrote, as the content of a checkpoint.

    Args:
        weights: the path of its model.safetensors.

    Raises:
        UserError: a file is missing or damaged.
    """
    try:
        description = read_json(weights.with_name(CONFIG))[entry]
        tensors = load_file(weights)
        description = _with_tensors(description, tensors)
    except FileNotFoundError:
        raise UserError(f"{weights.with_name(CONFIG)} is missing: it belongs to {WEIGHTS}") from None
    except KeyError as error:
        raise UserError(f"{weights.with_name(CONFIG)} is not of deepfake_lit: it lacks {error}") from None
    except (ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"{weights.parent} is not a readable folder of a network: {error}") from None
    means = {key.removeprefix("means."): tensor for key, tensor in tensors.items() if key.startswith("means.")}
    own = {key: tensor for key, tensor in tensors.items() if not key.startswith(("means.", f"{entry}."))}
    return {entry: description, "state_dict": own} | ({"means": means} if means else {})


def _without_tensors(tree: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return plain data with a reference in place of each tensor, which is added to the tensors by its dotted name."""
    if isinstance(tree, dict):
        return {key: _without_tensors(value, f"{name}.{key}", tensors) for key, value in tree.items()}
    if not isinstance(tree, Tensor):
        return tree
    tensors[name] = tree.contiguous()
    return {REFERENCE: name}


def _with_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {REFERENCE}:
        return tensors[tree[REFERENCE]]
    return {key: _with_tensors(value, tensors) for key, value in tree.items()}
