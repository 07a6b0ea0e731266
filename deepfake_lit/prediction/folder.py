"""A network as a folder in the style of Hugging Face: config.json, model.safetensors, README.md."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic, named, read_json, write_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def write_folder(folder: Path, checkpoint: dict[str, Any], entry: str, readme: str) -> None:
    """Write a checkpoint's `state_dict`, `means` and entry, and the README."""
    description = checkpoint[entry]
    names = description["class_names"]
    tensors = {key: tensor.contiguous() for key, tensor in checkpoint["state_dict"].items()}
    tensors |= {f"means.{key}": tensor.contiguous() for key, tensor in checkpoint.get("means", {}).items()}
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
            entry: description,
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
    except FileNotFoundError:
        raise UserError(f"{weights.with_name(CONFIG)} is missing: it belongs to {WEIGHTS}") from None
    except KeyError:
        raise UserError(f"{weights.with_name(CONFIG)} is not of deepfake_lit") from None
    except (ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"{weights.parent} is not a readable folder of a network: {error}") from None
    own = {key: tensor for key, tensor in tensors.items() if not key.startswith("means.")}
    means = {key.removeprefix("means."): tensor for key, tensor in tensors.items() if key.startswith("means.")}
    return {entry: description, "state_dict": own} | ({"means": means} if means else {})
