"""Finished runs that are right on as many images as a test wants, written as real ones are."""

import json
from pathlib import Path

import numpy as np

from deepfake_lit.results.figures import figures_of
from deepfake_lit.results.result import Result, write_result

N = 1250
LABELS = np.arange(N) % 5


def made_up(folder: Path, accuracy: float, seed: int, name: str = "net", **changes) -> str:
    """A finished run that is right on that share of the images."""
    random = np.random.default_rng(int(accuracy * 1e6) + seed)
    answers = np.where(random.random(N) < accuracy, LABELS, (LABELS + 1 + random.integers(0, 4, N)) % 5)
    p = (0.8 * np.eye(5)[answers] + 0.04).astype(np.float32)
    figures = figures_of(p, LABELS)
    history = [{"epoch": i, "val/accuracy": accuracy * (i + 1) / 3, "seconds": 1.0} for i in range(3)]
    result = {
        "name": name,
        "fingerprint": folder.name,
        "config": {"data": {"root": "gone"}, "model": {"kind": "deepfake_net"}},
        "seed": seed,
        "data": {"hash": "x", "class_names": list("01234")},
        "code": {"commit": "c" * 40, "version": "0", "modified": False},
        "hardware": {"name": "CPU", "precision": "fp32"},
        "wall_seconds": 60.0,
        "images_per_second": 100.0,
        "selected_on": "val/accuracy",
        "history": history,
        **dict.fromkeys(("best", "last", "best_tta", "last_tta"), figures),
        **changes,
    }
    kind = "baseline" if result["selected_on"] is None else "network"
    arrays = {"ids": np.array([f"i{n}" for n in range(N)]), "labels": LABELS, "probabilities": p}
    write_result(
        Result(kind=kind, folder=str(folder), **result), arrays | {"probabilities_last": p, "probabilities_last_tta": p}
    )
    return str(folder)


def record(tmp_path: Path, accuracies: dict[str, list[float]], scale: str = "full", name: str = "report_b") -> Path:
    """What `reproduce NAME` would have kept of runs with these accuracies, a seed each."""
    trials = []
    for row, values in accuracies.items():
        for seed, value in enumerate(values):
            folder = made_up(tmp_path / "runs" / "net" / f"{row}-{seed}", value, seed)
            trials.append({"row": row, "seed": seed, "overrides": [f"x={row}"], "folders": [folder], "reason": None})
    path = tmp_path / "reproduce" / f"{name}-{scale}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"report": name, "scale": scale, "trials": trials}))
    return path
