"""A network to give away: one file of weights, a folder in the style of Hugging Face, or an ONNX file.

Each has the network's card inside. What was written is read back, and its answers are compared.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError, check_finite
from deepfake_lit.core.files import atomic, check_writable
from deepfake_lit.data.residuals import Pattern, mean_patterns
from deepfake_lit.prediction.card import card_of, markdown, with_robustness
from deepfake_lit.prediction.checkpoint import ENTRY, checkpoint_file, read_checkpoint
from deepfake_lit.prediction.evaluate import open_labelled
from deepfake_lit.prediction.folder import write_folder
from deepfake_lit.prediction.onnx_file import Deployed, noise_for, write_onnx
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.prediction.trained import Trained, load_trained, trained_from
from deepfake_lit.results.neutral import without_paths
from deepfake_lit.settings.commands import EvaluateConfig, ExportConfig
from deepfake_lit.settings.schema import DataConfig


def export(checkpoint: str, cfg: ExportConfig) -> float:
    """Write `cfg.output`: an ONNX file if it ends in .onnx, weights and a .md beside them if in .ckpt, else a folder.

    Returns:
        The largest difference of a probability between what was written and the checkpoint, on noise.

    Raises:
        UserError: the checkpoint cannot be read or is no single network, or the data or figures for its card cannot.
    """
    output = Path(cfg.output)
    content = packed(checkpoint, cfg)
    trained = trained_from(Path(checkpoint), content)
    check_finite(_answers(trained, noise_for(trained, 3)), checkpoint)
    card = content[ENTRY]["card"]
    check_writable(output.parent)
    if output.suffix == ".onnx":
        run = write_onnx(trained, card, output)
    else:
        _write(output, content)
        again = load_trained(output)
        run = lambda pixels: _answers(again, pixels).numpy()  # noqa: E731
    three = noise_for(trained, 3)
    return max(float(np.abs(run(batch) - _answers(trained, batch).numpy()).max()) for batch in (three, three[:1]))


def _write(output: Path, content: dict[str, Any]) -> None:
    card = content[ENTRY]["card"]
    if output.suffix != ".ckpt":
        write_folder(output, content, ENTRY, markdown(card, output.name))
        return
    with atomic(output, "wb") as file:
        torch.save(content, file)
    with atomic(output.with_suffix(".md")) as file:
        file.write(markdown(card, output.stem))  # which knows by now whether it is one of the published ones


@torch.inference_mode()
def _answers(trained: Trained, pixels: np.ndarray) -> torch.Tensor:
    return Deployed(trained).eval()(torch.from_numpy(pixels))


def packed(checkpoint: str, cfg: ExportConfig) -> dict[str, Any]:
    """Return a checkpoint's weights, entry with card, and class means, without what is needed to train on, or paths."""
    path = checkpoint_file(Path(checkpoint))
    content = read_checkpoint(path)
    if "members" in content[ENTRY]:
        raise UserError(f"{path} is an ensemble; a single network is wanted here")
    card = card_of(path, content)
    if cfg.robustness is not None:
        card = with_robustness(card, Path(cfg.robustness), checkpoint)
    card |= {key: value for key in ("about", "licence") if (value := getattr(cfg, key)) is not None}
    entry = without_paths(content[ENTRY], path.parent) | {"card": card}
    entry["config"]["data"]["root"] = "PATH"  # a setting that must be there
    kept = {key: content[key] for key in ("epoch", "means") if key in content}
    if cfg.data.root:
        kept["means"] = _as_tensors(means_of(checkpoint, cfg.data))
    return kept | {ENTRY: entry, "state_dict": content["state_dict"]}


def means_of(checkpoint: str, data: DataConfig) -> Pattern:
    """Return the mean patterns of a checkpoint's classes over labelled images, of which `evaluate` says which.

    Raises:
        UserError: as `open_labelled`.
    """
    predictor = Predictor.load([checkpoint], hardware.resolve("cpu", "fp32"))
    labelled = EvaluateConfig(data)
    _, splits, numbers = open_labelled(predictor, [checkpoint], labelled, Path(labelled.output))
    return mean_patterns(splits, numbers, len(predictor.class_names))


def _as_tensors(means: Pattern) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value).half() for key, value in means._asdict().items()}
