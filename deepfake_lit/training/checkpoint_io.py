"""Writes checkpoint files whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from deepfake_lit.core.files import PARTIAL, atomic
from deepfake_lit.prediction.checkpoint import ENTRY, LAST, PREVIOUS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Adds the `deepfake_lit` entry. A crash while writing leaves the checkpoint before it as it was; of `LAST` the one
    before is kept."""

    def __init__(self, description: dict[str, Any]):
        super().__init__()
        self.description = description

    def save_checkpoint(self, checkpoint: dict[str, Any], path, storage_options: Any | None = None) -> None:
        path = Path(path)
        fresh = path.with_name(f".{path.name}{PARTIAL}")
        with atomic(fresh, "wb") as file:
            try:
                torch.save(checkpoint | {ENTRY: self.description}, file)
            except RuntimeError as error:  # torch's own, after it could not write: the reason is behind it
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        if path.name == LAST and path.exists():
            path.replace(path.with_name(PREVIOUS))
        fresh.replace(path)
