"""Reports and sweeps as files to give away: results and predictions without images, weights or paths."""

import json
import shutil
from pathlib import Path

import numpy as np

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import atomic, read_json, write_json
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.rows import shown
from deepfake_lit.report.searches import runs_of_search
from deepfake_lit.results.files import read_predictions, write_predictions
from deepfake_lit.results.neutral import without_paths
from deepfake_lit.results.state import failure
from deepfake_lit.settings.identity import digest
from deepfake_lit.studies.trials import runs_of, trials

COPIED = ("predictions.npz", "history.csv")


def publish(cfg: ReportConfig, records: list[str]) -> Path:
    """Copy the runs behind reports and sweeps, and write their page without images.

    `deepfake-lit report output_dir=TARGET images=false` makes the page again anywhere.

    Args:
        records: names of reproduced reports (`<output_dir>/reproduce/NAME.json`), of sweeps
            (`<output_dir>/sweeps/NAME`) or searches (`<output_dir>/searches/NAME`), or "runs" for every run.

    Returns:
        The page.

    Raises:
        UserError: there is no such record.
    """
    source, target = Path(cfg.output_dir), Path(cfg.output)
    for name in records:
        if (source / "sweeps" / name).is_dir():
            _publish_sweep(source, target, name)
            continue
        if (source / "searches" / name).is_dir():
            _publish_search(source, target, name)
            continue
        if name == "runs":
            for folder in sorted(source.glob("runs/*/*")):
                _copy(folder, target / folder.relative_to(source), source)
            continue
        path = source / "reproduce" / f"{name}.json"
        try:
            record = read_json(path)
        except FileNotFoundError:
            names = sorted(
                [p.stem for p in source.glob("reproduce/*.json")]
                + [p.name for kind in ("sweeps", "searches") for p in source.glob(f"{kind}/*")]
            )
            known = ", ".join(names) or "none"
            raise UserError(
                f"{source} has no report, sweep or search {name}; it has {known}, and runs for every run"
            ) from None
        for trial in record["trials"]:
            trial["overrides"] = shown(trial["overrides"])
            for folder in trial["folders"]:
                _copy(source / folder, target / folder, source)
        write_json(target / "reproduce" / path.name, without_paths(record, source))
        measured = source / name / "open_set.json"
        if measured.exists():
            write_json(target / name / measured.name, without_paths(read_json(measured), source))
    return report(ReportConfig(str(target), str(target), images=False))


def _publish_sweep(source: Path, target: Path, name: str) -> None:
    for entry in trials(source / "sweeps" / name):
        for run in map(Path, runs_of(entry)):
            copied = target / "runs" / run.parent.name / run.name
            _copy(run, copied, source)
            if (copied / "predictions.npz").exists():
                _keep_last_epoch(copied / "predictions.npz")
        entry["overrides"] = shown(entry["overrides"])
        kept = without_paths(entry, source)
        write_json(target / "sweeps" / name / "trials" / f"{digest(entry['overrides'])}.json", kept)


def _publish_search(source: Path, target: Path, name: str) -> None:
    record = read_json(source / "searches" / name / "search.json")
    for run in map(Path, runs_of_search(source / "searches" / name, record)):
        _copy(run, target / "runs" / run.parent.name / run.name, source)
    record["fixed"] = shown(record["fixed"])
    write_json(target / "searches" / name / "search.json", without_paths(record, source))


def _keep_last_epoch(path: Path) -> None:
    """Keep only the predictions after the last epoch, with those of the views unless they are the image alone.

    A sweep has many runs, and its table compares them after the last epoch. All predictions would take twice the space.
    """
    arrays = read_predictions(path)
    last, views = arrays["probabilities_last"], arrays.get("probabilities_last_tta")
    further = {} if views is None or np.array_equal(views, last) else {"probabilities_last_tta": views}
    kept = {name: arrays[name] for name in ("ids", "labels")} | {"probabilities_last": last}
    write_predictions(path, kept | further)


def _copy(folder: Path, target: Path, source: Path) -> None:
    if not (folder / "result.json").exists():  # the page says that the run is not finished, or why it failed
        if reason := failure(folder):
            write_json(target / "failure.json", {"error": without_paths(reason, source)})
        return
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (folder / name).exists():
            with open(folder / name, "rb") as file, atomic(target / name, "wb") as copied:
                shutil.copyfileobj(file, copied)
    write_json(target / "result.json", without_paths(json.loads((folder / "result.json").read_text()), source))
