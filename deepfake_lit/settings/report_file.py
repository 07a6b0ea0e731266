"""The file of a report: what it states, what is trained for it, and where its predictions are. One schema for all.

The reports of this project are in conf/reproduce/. Others are anywhere: `judge FILE`, `reproduce FILE`.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from deepfake_lit.core.errors import UserError, did_you_mean, one_of
from deepfake_lit.settings.conf import choices, config_dir

SCHEMA = Path(__file__).parent / "report.schema.yaml"
FIGURES = ("accuracy", "std", "train_accuracy", "test_accuracy")
MORE, LESS = (0.0, 1.0), (-1.0, 0.0)  # claims of a direction alone
DIRECTIONS = {MORE: "more", LESS: "less"}


def is_file(report: str) -> bool:
    """Return whether a report is named by its file, and not one of this project."""
    return report.endswith((".yaml", ".yml"))


def name_of(report: str) -> str:
    """Return the name of a report, or that of its file."""
    return Path(report).stem if is_file(report) else report


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path} is no YAML: {problem}") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read: {reason}") from None


def read_report(report: str) -> dict[str, Any]:
    """Return what a report's file has. All accuracies and differences are shares, and claims are tables.

    Args:
        report: a name in conf/reproduce/, or a path.

    Raises:
        UserError: there is no such report, or its file is not as the schema says; one line says where.
    """
    if is_file(report):
        path = Path(report)
    else:
        one_of("report", report, choices("reproduce"))
        path = config_dir() / "reproduce" / f"{report}.yaml"
    tree = _read(path)
    _check_schema(tree, path)
    _normalise(tree, path)
    _check_rows(tree, path)
    return tree


def _check_schema(tree: Any, path: Path) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(schema).iter_errors(tree))
    if error is None:
        return
    if error.validator == "additionalProperties" and isinstance(error.schema.get("properties"), dict):
        known = error.schema["properties"]
        name = next(key for key in error.instance if key not in known)
        raise UserError(f"{path}: {_at(error.absolute_path)}there is no entry {name!r}{did_you_mean(str(name), known)}")
    if error.validator == "anyOf" and not error.absolute_path:
        raise UserError(f"{path}: it has neither tables nor claims")
    message = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
    raise UserError(f"{path}: {_at(error.absolute_path)}{' '.join(message.split())}")


def _at(place: Any) -> str:
    """Return a place in the tree as text, such as `tables[0].rows[1].accuracy: `."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return f"{text}: " if text else ""


def _normalise(tree: dict[str, Any], path: Path) -> None:
    """Bring all figures to shares, and claims into tables; fill in keys and labels."""
    unit = 100.0 if tree.pop("unit", "share") == "percent" else 1.0
    if unit != 1.0 and "margin" in tree:
        tree["margin"] /= unit
    for table in tree.setdefault("tables", []):
        table.setdefault("key", re.sub(r"\W+", "_", table["title"].lower()).strip("_") or "table")
        table["reference"] = table.get("reference") or ""
        for row in table["rows"]:
            row.setdefault("label", row["row"])
            if "right" in row:
                row.setdefault("accuracy", unit * row.pop("right") / tree["images"])
            for name in FIGURES:
                if name in row and unit != 1.0:
                    row[name] = round(row[name] / unit, 12)
            if "others" in row and unit != 1.0:
                row["others"] = [round(each / unit, 12) for each in row["others"]]
            if "gain" in row:
                row["gain"] = _ends(row["gain"], unit)
            if "recall_gain" in row:
                row["recall_gain"] = {str(c): _ends(gain, unit) for c, gain in row["recall_gain"].items()}
    labels = {row["row"]: row["label"] for table in tree["tables"][::-1] for row in table["rows"]}
    by_reference: dict[str, list[dict[str, Any]]] = {}
    for claim in tree.pop("claims", ()):
        by_reference.setdefault(claim["than"], []).append(claim)
    for reference, claims in by_reference.items():
        rows = {reference: {"row": reference, "label": labels.get(reference, reference)}}
        for claim in claims:
            name, by = claim["better"], _ends(claim["by"], unit)
            if name == reference:
                raise UserError(f"{path}: a claim says that {name} is better than itself")
            row = rows.setdefault(name, {"row": name, "label": labels.get(name, name)})
            gains, what = row, "gain"
            if "recall_of" in claim:
                gains, what = row.setdefault("recall_gain", {}), str(claim["recall_of"])
            if what in gains:
                raise UserError(f"{path}: two claims say by how much {name} is better than {reference}")
            gains[what] = by
        title = f"Claims beside {labels.get(reference, reference)}"
        key = "claims" if len(by_reference) == 1 else f"claims_{re.sub(r'[^a-zA-Z0-9]+', '_', reference)}"
        tree["tables"].append({"key": key, "title": title, "reference": reference, "rows": [*rows.values()]})


def _ends(value: Any, unit: float) -> list[float]:
    if isinstance(value, str):
        return list(MORE if value == "more" else LESS)
    ends = sorted(value if isinstance(value, list) else [value, value])
    return [round(end / unit, 12) for end in ends]


def _check_rows(tree: dict[str, Any], path: Path) -> None:
    keys: set[str] = set()
    known = {row["row"] for table in tree["tables"] for row in table["rows"]}
    for table in tree["tables"]:
        title = f"{path}: table {table['title']!r}"
        if table["key"] in keys:
            raise UserError(f"{title}: another table has its key, {table['key']}")
        keys.add(table["key"])
        rows = [(row["row"], row.get("view")) for row in table["rows"]]
        if twice := next((name for name in rows if rows.count(name) > 1), None):
            raise UserError(f"{title} has the row {twice[0]} twice")
        if table["reference"] and (table["reference"], None) not in rows:
            names = [row for row, _ in rows]
            raise UserError(
                f"{title} has no row {table['reference']}, its reference{did_you_mean(table['reference'], names)}"
            )
        for row in table["rows"]:
            for name in ("accuracy", "train_accuracy", "test_accuracy"):
                if row.get(name, 0) > 1:
                    raise UserError(
                        f"{title}: {name} of {row['row']} is {row[name]}, more than 1; for percent say unit: percent"
                    )
            for gain in (row.get("gain", ()), *row.get("recall_gain", {}).values()):
                if any(abs(end) > 1 for end in gain):
                    raise UserError(
                        f"{title}: what {row['row']} gains is {gain}, more than 1; for percent say unit: percent"
                    )
    for what in ("predictions", "confusion", "per_class", "macro", "recalls", "architecture", "one_cycle"):
        for row in tree.get(what, ()):
            if row not in known:
                raise UserError(
                    f"{path}: {what} names the row {row!r}, which no table or claim has{did_you_mean(row, known)}"
                )
    for row, counts in tree.get("confusion", {}).items():
        if any(len(each) != len(counts) for each in counts):
            raise UserError(f"{path}: the confusion matrix of {row} is not square")
    for row, classes in tree.get("per_class", {}).items():
        if any(len(each) != 3 for each in classes):
            raise UserError(f"{path}: per_class of {row} needs precision, recall and F1 of each class")
        if row not in tree.get("macro", {}):
            raise UserError(f"{path}: per_class of {row} needs its means under macro, too")
