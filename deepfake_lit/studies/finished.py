"""A run that is finished already, found again without the seconds that torch takes to start."""

from pathlib import Path

from deepfake_lit.core.console import note
from deepfake_lit.data.images import ImageData
from deepfake_lit.data.shortcuts import open_run_data
from deepfake_lit.results.result import Result, read_result
from deepfake_lit.settings.identity import fingerprint
from deepfake_lit.settings.schema import Config


def finished(cfg: Config) -> tuple[Result | None, ImageData | None]:
    """Return the result of a network that was trained before, None if it was not, or if only torch could tell.

    The images come with it if they had to be opened for that.

    Raises:
        DataError: the images cannot be used.
    """
    of_other_weights = cfg.init_from or cfg.model.kind == "ensemble" or getattr(cfg.model, "pretrained_file", None)
    runs = Path(cfg.output_dir) / "runs" / cfg.name
    if of_other_weights or cfg.baselines or cfg.model.kind == "none" or not any(runs.glob("*/result.json")):
        return None, None
    data = open_run_data(cfg)
    folder = runs / fingerprint(cfg, data.hash)
    if result := read_result(folder):
        note(f"finished before: {folder}")
    return result, data
