"""The roles that settings have in a run. A setting's declaration states its role."""

import copy
from dataclasses import field
from typing import Any

MISSING = "???"  # what OmegaConf takes for a value that must be given; to import it takes as long as all of help
ROLES = {
    "identity": "it can change the result, and is part of the fingerprint",
    "place": "where things lie",
    "work": "how the work is divided or shown",
    "reading": "how image files are read; the hash of the data stands for it",
    "weights": "other runs' files; digests of their weights stand for it",
    "apart": "the run's name, or runs of their own",
}


def setting(default: Any, *, role: str = "identity", since: str | None = None, reads: bool = False) -> Any:
    """Declare a field of a settings dataclass.

    Args:
        default: its value if nothing is set. A list or dict is copied for every instance.
        role: one of `ROLES`. Only "identity" enters the fingerprint.
        since: the day on which it was added, if runs existed before. The fingerprint leaves it out while it has its
            default value (or null, as in those runs), so that the fingerprints of those runs stay the same.
        reads: whether it decides what is read of a data set, so that it is needed to open the same data set again.
    """
    assert role in ROLES, role
    metadata = {"role": role, "since": since, "reads": reads}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)
