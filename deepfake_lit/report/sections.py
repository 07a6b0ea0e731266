"""The tables of an output folder: of reports, of sweeps, and of the runs of neither."""

from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from deepfake_lit.core.console import warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.core.files import read_json
from deepfake_lit.report.rows import KNOWN, Row, Run, Section, Table, command_line, run_at, shown
from deepfake_lit.report.searches import runs_of_search, section_of_search
from deepfake_lit.settings.identity import digest, identity_of, setting_of, to_dict
from deepfake_lit.settings.report_file import read_report
from deepfake_lit.studies.trials import runs_of, settings_of, trials

OWN = ("row", "label", "view", "x", "trial", "baseline", "k")  # entries of a reported row that are not its values


def sections(output: Path) -> list[Section]:
    """Return the sections of the reports reproduced in an output folder, then of its sweeps and
    searches, then the other runs."""
    run_at.cache_clear()  # runs may have changed since an earlier call
    KNOWN.clear()
    found, seen = [], set()
    for path in sorted((output / "reproduce").glob("*.json")):
        try:
            record = read_json(path)
            found.append(section_of_report(output, record, record.get("reported") or read_report(record["report"])))
            seen |= {str(output / folder) for trial in record["trials"] for folder in trial["folders"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
            warn(f"{path} is left out: {type(error).__name__}: {error}")
    for folder in sorted((output / "sweeps").glob("*")):
        if section := section_of_sweep(folder):
            found.append(section)
            seen |= {run.folder for table in section.tables for row in table.rows for run in row.runs}
    for folder in sorted((output / "searches").glob("*")):
        if section := section_of_search(folder):
            found.append(section)
            seen |= set(runs_of_search(folder, section.search))
    rest = section_of_rest(output, seen)
    return found + ([rest] if rest else [])


def section_of_rest(output: Path, seen: set[str | None]) -> Section | None:
    """Return the runs of no report or sweep; those that differ in the seed alone are one row. None without any."""
    known = {str(Path(folder).resolve()) for folder in seen if folder}
    groups: dict[tuple[str, str], list[Run]] = {}
    settings: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in sorted(output.glob("runs/*/*")):
        if not folder.is_dir() or str(folder.resolve()) in known:
            continue
        run = run_at(str(folder), None)
        own = _settings(run)
        key = folder.parent.name, digest(own) if own else folder.name
        run = Run(run.result and run.result.seed, run.state, run.folder, run.result, run.reason)
        groups.setdefault(key, []).append(run)
        settings[key] = own
    rows = [Row("/".join(key), _label(key, settings), runs) for key, runs in groups.items()]
    return Section("runs", "Other runs", [Table("runs", "Runs", rows, "")]) if rows else None


def _settings(run: Run) -> dict[str, Any]:
    """Return a network's settings that can change its result, without the seed; of a baseline only k."""
    if run.result is None:
        return {}
    if run.is_baseline:
        return {"k": k} if (k := run.result.neighbours) else {}
    own = identity_of(run.result.config) if "scheduler" in run.result.config else {}
    own.pop("seed", None)
    return own


def _label(key: tuple[str, str], settings: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Return the name, and the settings in which runs of that name differ."""
    alike = [own for (name, _), own in settings.items() if name == key[0]]
    own = settings[key]
    differing = [s for s in own if len({str(other.get(s)) for other in alike}) > 1]
    return ", ".join([key[0], *(f"{s}={own[s]}" for s in differing)]) if own else "/".join(key)


def section_of_report(output: Path, record: dict[str, Any], reported: dict[str, Any]) -> Section:
    """Return a report's tables with the runs that `reproduce` has recorded for it."""
    by_row: dict[str, list[dict[str, Any]]] = {}
    for trial in record["trials"]:
        by_row.setdefault(trial["row"], []).append(trial)
    folds, tables = record.get("folds"), []
    for table in reported["tables"]:
        rows = []
        for entry in table["rows"]:
            trials = by_row.get(entry.get("trial", entry["row"]), [])
            runs = [_run_of(output, trial, entry.get("baseline", ""), entry.get("k")) for trial in trials]
            for run, trial in zip(runs, trials, strict=True):
                run.fold, run.folds = trial.get("fold"), folds
            values = {key: value for key, value in entry.items() if key not in OWN}
            key = f"{entry['row']}+{entry['view']}" if "view" in entry else entry["row"]
            placed = {name: entry[name] for name in ("view", "x", "baseline", "k") if name in entry}
            rows.append(Row(key, entry["label"], runs, values, **placed))
        tables.append(Table(table["key"], table["title"], rows, table["reference"], table.get("axis")))
    if record["scale"] is None:
        command = f"deepfake-lit judge {record['report']}.yaml"
        return Section(record["report"], reported["title"], tables, None, reported, command)
    file = ".yaml" if record.get("reported") else ""
    words = [record["report"] + file, f"scale={record['scale']}", *record.get("further", [])]
    words += [f"folds={folds}"] if folds else []
    until = record.get("until")
    words += [f"until={until}"] if until else []
    if not {entry.get("trial", entry["row"]) for table in reported["tables"] for entry in table["rows"]} <= set(by_row):
        words.append(f"rows=[{','.join(by_row)}]")
    return Section(
        f"{record['report']}-{record['scale']}" + (f"-folds{folds}" if folds else f"-{until}" if until else ""),
        reported["title"] + (f": {folds} folds of the training images" if folds else ""),
        tables,
        record["scale"],
        reported,
        command_line(words, "reproduce"),
        # A record of before looks were declared has one, at all its seeds.
        () if folds else tuple(record.get("looks") or [max(len({trial["seed"] for trial in record["trials"]}), 1)]),
        record.get("alpha"),
        sequential=bool(until),
    )


def _run_of(output: Path, trial: dict[str, Any], baseline: str, k: int | None) -> Run:
    if trial["reason"]:
        return Run(trial["seed"], "failed", None, None, trial["reason"], trial["overrides"])
    found = [run_at(str(output / folder), trial["seed"], tuple(trial["overrides"])) for folder in trial["folders"]]
    if k is not None:
        found = [run for run in found if run.result and (run.result.name, run.result.neighbours) == (baseline, k)]
    return found[-1] if found else Run(trial["seed"], "missing", None, None, None, trial["overrides"])


def section_of_sweep(folder: Path) -> Section | None:
    """Return a sweep's trials as a table; those that differ in the seed alone are one row. The reference is the row of
    the configuration without the swept settings, else the first. None if there are no trials."""
    entries = trials(folder)
    if not entries:
        return None
    settings, differing = settings_of(entries)
    names, rows = [name for name in differing if name != "seed"], {}
    for entry, values in zip(entries, settings, strict=True):
        label = ", ".join(f"{name}={values[name]}" for name in names if name in values) or "all"
        seed = int(values.get("seed", 0)) if values.get("seed", "0").isdigit() else None
        overrides = tuple(entry["overrides"])
        several = [run_at(folder, seed, overrides) for folder in runs_of(entry)]
        if not several or (entry["reason"] and all(run.state == "missing" for run in several)):
            state = "failed" if entry["reason"] else "missing"
            several = [Run(seed, state, None, None, entry["reason"], list(overrides))]
        for run in several:
            name = f"{label}: {what}" if len(several) > 1 and (what := _which_baseline(run)) else label
            row = rows.setdefault(name, Row(name, name, []))
            row.runs.append(run)
            row.x = _number(values.get(names[0])) if len(names) == 1 and len(several) == 1 else None
    if len(rows) == 1 and any(run.result.last_tta for run in next(iter(rows.values())).done):
        (row,) = rows.values()
        rows["tta"] = Row("tta", "with test-time augmentation", row.runs, view="tta")
    axis = None
    if len(rows) > 1 and all(row.x is not None for row in rows.values()):
        values = sorted(row.x for row in rows.values())
        axis = {"label": names[0], "log": values[0] > 0 and values[-1] / values[0] >= 10}
    title = f"Sweep {folder.name} over {', '.join(names) or 'seeds'}"
    reference = _unswept(entries[0]["overrides"], differing, rows) or next(iter(rows))
    table = Table(folder.name, ", ".join(names) or "seeds", list(rows.values()), reference, axis)
    swept: dict[str, list[str]] = {}
    for name, sign, value in (override.partition("=") for entry in entries for override in entry["overrides"]):
        if value not in swept.setdefault(name + sign, []):
            swept[name + sign].append(value)
    command = command_line([name + ",".join(values) for name, values in swept.items()], "train -m")
    return Section(folder.name, title, [table], command=command)


def _unswept(overrides: list[str], swept: list[str], rows: dict[str, Row]) -> str | None:
    """Return the key of the row whose runs have the configuration of a trial's overrides without the swept ones."""
    from deepfake_lit.settings.compose import compose

    own = [o for o in shown(overrides) if setting_of(o) not in (*swept, "sweep")]
    try:
        wanted = _without_seed(to_dict(compose([*own, "data.root=."])))
    except (UserError, HydraException, OmegaConfBaseException):  # settings that no longer exist
        return None
    for key, row in rows.items():
        configs = [run.result.config for run in row.done if "scheduler" in run.result.config]
        if configs and all(_without_seed(config) == wanted for config in configs):
            return key
    return None


def _without_seed(config: dict[str, Any]) -> str:
    """Return a digest of a configuration without the seed and the digest of its first weights, which a run fills in.
    It is taken of JSON, as results are stored."""
    return digest({name: v for name, v in identity_of(config).items() if name not in ("seed", "init_weights")})


def _which_baseline(run: Run) -> str:
    if not run.is_baseline:
        return ""
    k = run.result.neighbours
    return f"{run.result.name}, k = {k}" if k else run.result.name


def _number(text: str | None) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
