"""Reports and sweeps as files that can be given away: results and predictions without images, weights or paths."""

import json
import shutil
from pathlib import Path
from typing import Any

from deepfake_lit.errors import UserError
from deepfake_lit.files import read_json, write_json
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.rows import HIDDEN
from deepfake_lit.sweep import trials

COPIED = ("predictions.npz", "history.csv")


def publish(cfg: ReportConfig, records: list[str]) -> Path:
    """Copy the runs behind reports and sweeps and write their page, without images, so that
    `deepfake-lit report output_dir=TARGET images=false` makes it again anywhere.

    Args:
        records: of reproduced reports, as in `<output_dir>/reproduce/NAME.json`, or of sweeps, as in
            `<output_dir>/sweeps/NAME`.

    Raises:
        UserError: there is no such record.
    """
    source, target = Path(cfg.output_dir), Path(cfg.output)
    for name in records:
        if (source / "sweeps" / name).is_dir():
            _publish_sweep(source, target, name)
            continue
        path = source / "reproduce" / f"{name}.json"
        try:
            record = read_json(path)
        except FileNotFoundError:
            raise UserError(f"{path}: nothing of that name was reproduced, and there is no such sweep") from None
        for trial in record["trials"]:
            trial["overrides"] = _shown(trial["overrides"])
            for folder in trial["folders"]:
                _copy(source / folder, target / folder, source)
        write_json(target / "reproduce" / path.name, without_paths(record, source))
    return report(ReportConfig(str(target), str(target), images=False))


def _publish_sweep(source: Path, target: Path, name: str) -> None:
    folder = source / "sweeps" / name
    for entry in trials(folder):
        for run in map(Path, entry.get("folders") or ([entry["folder"]] if entry["folder"] else [])):
            _copy(run, target / "runs" / run.parent.name / run.name, source)
        kept = without_paths(entry | {"overrides": _shown(entry["overrides"])}, source)
        write_json(target / "sweeps" / name / "trials" / f"{entry['number']:04}.json", kept)


def _shown(overrides: list[str]) -> list[str]:
    return [o for o in overrides if o.lstrip("+").partition("=")[0] not in HIDDEN]


def _copy(folder: Path, target: Path, source: Path) -> None:
    if not (folder / "result.json").exists():
        return  # the page says that it is not finished
    target.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (folder / name).exists():
            shutil.copyfile(folder / name, target / name)
    write_json(target / "result.json", without_paths(json.loads((folder / "result.json").read_text()), source))


def without_paths(tree: Any, source: Path) -> Any:
    """Where the images and outputs lie is taken out of a result or a record; checkpoints are named from there."""
    if isinstance(tree, dict):
        neutral = {"root": None, "cache_dir": None, "output_dir": "outputs"}
        return {key: neutral[key] if key in neutral else without_paths(value, source) for key, value in tree.items()}
    if isinstance(tree, list):
        return [without_paths(value, source) for value in tree]
    return tree.replace(f"{source}/", "") if isinstance(tree, str) else tree
