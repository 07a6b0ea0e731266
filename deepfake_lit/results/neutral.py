"""Results and records without this machine's paths, to give away."""

import re
from pathlib import Path
from typing import Any

from deepfake_lit.settings.identity import of_role
from deepfake_lit.settings.schema import Config

NEUTRAL = {name.rpartition(".")[2]: None for name in of_role("place")} | {"output_dir": Config().output_dir}
ABSOLUTE = r"(?<![\w./:-])/(?:[\w.@+-]+/)+"


def without_paths(tree: Any, source: Path) -> Any:
    """Return plain data without this machine's paths: runs get paths relative to their output folder, of all other
    absolute paths the last part is kept."""
    if isinstance(tree, dict):
        return {key: NEUTRAL[key] if key in NEUTRAL else without_paths(value, source) for key, value in tree.items()}
    if isinstance(tree, list):
        return [without_paths(value, source) for value in tree]
    if not isinstance(tree, str):
        return tree
    tree = re.sub(rf"(?<![\w./-]){re.escape(str(source))}/(?=runs/|sweeps/)", "", tree)
    tree = re.sub(rf"{ABSOLUTE}(?=runs/|sweeps/)", "", tree)
    return re.sub(rf"{ABSOLUTE}(?=[\w.@+-])", "", tree)
