"""The trials of a sweep, with any launcher and from any number of terminals, and the table of their results.

A sweep needs no state of its own: a trial is a run, found again by its fingerprint. Only the list of trials is kept:
one file each, with the overrides and the run's folder, in `<output_dir>/sweeps/<name>/trials/`.
"""

import csv
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from deepfake_lit.core import console
from deepfake_lit.core.errors import OutOfMemory, Unfinished, UserError
from deepfake_lit.core.files import atomic, write_json
from deepfake_lit.data.images import ImageData
from deepfake_lit.results.result import Results
from deepfake_lit.results.state import Busy, failure
from deepfake_lit.settings.compose import load
from deepfake_lit.settings.identity import digest
from deepfake_lit.settings.schema import Config
from deepfake_lit.studies.hydra_sweep import what_differs
from deepfake_lit.studies.one_card import turn
from deepfake_lit.studies.trials import table
from deepfake_lit.training.run import open_run_data, run, run_folder


def run_trial(composed: DictConfig, hydra_config: DictConfig) -> float | None:
    """Run a trial with its label before every message, and return what `_run_trial` returns."""
    number = hydra_config.job.num
    with console.labelled(f"trial {number}"):
        console.note(what_differs(number, list(hydra_config.overrides.task)))
        return _run_trial(composed, hydra_config)


def _run_trial(composed: DictConfig, hydra_config: DictConfig) -> float | None:
    """Run a trial and return its accuracy; None if it fails, has failed before, or is in another process.

    Args:
        composed: the trial's configuration, not checked yet.
        hydra_config: Hydra's own configuration: the trial's number and overrides, and the sweep's folder.
    """
    number, overrides = hydra_config.job.num, list(hydra_config.overrides.task)
    adaptive = hydra_config.runtime.choices["hydra/sweeper"] != "basic"  # its next trial depends on this one's result
    entry = {"number": number, "overrides": overrides, "folder": None, "reason": None}
    path = Path(hydra_config.sweep.dir) / "trials" / f"{digest(sorted(overrides))}.json"
    try:
        cfg = load(composed)
        data = open_run_data(cfg)
        network = None if cfg.model.kind == "none" else run_folder(cfg, data)
        entry["folder"] = network and str(network)
        write_json(path, entry)
        if network and not cfg.retry_failed and (reason := failure(network)):
            console.note(f"failed before and is left out ({reason}); retry_failed=true tries again")
            return None
        results = _run(cfg, data, adaptive, Path(hydra_config.sweep.dir))
    except Busy:
        return None
    except Unfinished:
        raise
    except UserError as error:
        entry["reason"] = str(error)
    except Exception as error:  # one trial's failure must not end the others
        entry["reason"] = f"{type(error).__name__}: {error}"
    else:
        entry |= {"folder": results.main.folder, "folders": [each.folder for each in results.every]}
        write_json(path, entry)
        return results.main.best["accuracy"]
    console.warn(f"failed: {entry['reason']}")
    write_json(path, entry)
    return None


def _run(cfg: Config, data: ImageData, wait: bool, folder: Path) -> Results:
    """Run a trial beside others; if memory does not suffice, once more when the GPU is its own."""
    with suppress(OutOfMemory), turn(folder):
        return run(cfg, data, wait)
    console.note("ran out of memory and waits until it can have the GPU alone")
    with turn(folder, alone=True):
        return run(cfg, data, wait)


def finish(folder: Path) -> list[dict[str, Any]]:
    """Wait for the trials that other processes run, write `table.csv` and return its rows."""
    rows = table(folder)
    if any(row["state"] == "running" for row in rows):
        with console.working("waiting for trials that other processes are in"):
            while any(row["state"] == "running" for row in rows):
                time.sleep(1)
                rows = table(folder)
    flat = [{"trial": row["trial"], **row["settings"], **row} for row in rows]
    names = [name for name in dict.fromkeys(name for row in flat for name in row) if name != "settings"]
    with atomic(folder / "table.csv") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    return rows
