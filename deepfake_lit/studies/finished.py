"""A run that is finished already, found again without the seconds that torch takes to start."""

from pathlib import Path

from deepfake_lit.core.console import note
from deepfake_lit.data.images import cache_dir, open_data
from deepfake_lit.results.result import Result, read_result
from deepfake_lit.settings.identity import fingerprint
from deepfake_lit.settings.schema import Config


def finished(cfg: Config) -> Result | None:
    """Return the result of a network that was trained before; None if it was not, or if only torch could tell.

    Raises:
        DataError: the images cannot be used.
    """
    of_other_weights = cfg.init_from or cfg.model.kind == "ensemble" or getattr(cfg.model, "pretrained_file", None)
    runs = Path(cfg.output_dir) / "runs" / cfg.name
    if of_other_weights or cfg.baselines or cfg.model.kind == "none" or not any(runs.glob("*/result.json")):
        return None
    data = open_data(cfg.data, cache_dir(cfg.data, cfg.output_dir))
    folder = runs / fingerprint(cfg, data.hash)
    if result := read_result(folder):
        note(f"finished before: {folder}")
    return result
