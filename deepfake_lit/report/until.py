"""`reproduce until=settled`: seeds where they are the likeliest to bring a claim its verdict, until it is settled."""

import re
import time
from collections import Counter
from pathlib import Path

from deepfake_lit.core import console
from deepfake_lit.core.errors import UserError
from deepfake_lit.report.claims import claims
from deepfake_lit.report.measure import measure
from deepfake_lit.report.sections import section_of_report
from deepfake_lit.report.verdict import MARGIN
from deepfake_lit.results.sequential import Open, next_look
from deepfake_lit.settings.commands import ReproduceConfig
from deepfake_lit.settings.report_file import read_report
from deepfake_lit.studies.plan import Plan, with_needed
from deepfake_lit.studies.reproduce import Reproduction

UNITS = {"h": 3600, "m": 60, "min": 60, "s": 1, "": 1}


def seconds(budget: str | None) -> float:
    """Return a duration such as 2h, 1h30m, 90m or 45s in seconds; infinity without one.

    Raises:
        UserError: it is no duration.
    """
    if budget is None:
        return float("inf")
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|min|m|s|)", str(budget))
    if not parts or "".join(map("".join, parts)) != str(budget):
        raise UserError(f"budget={budget} is no duration, as 2h, 1h30m, 90m and 45s are")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def until_settled(report: str, cfg: ReproduceConfig, further: list[str]) -> Plan:
    """Run every row of a report with the seeds of the first look, then some with more, as `sequential.py` says.

    Raises:
        UserError: as `reproduce`, or the budget is no duration.
    """
    end = time.monotonic() + seconds(cfg.budget)
    it = Reproduction(report, cfg, further)
    plan, reported = it.plan, read_report(report)
    margin = reported.get("margin", MARGIN)
    every = {trial.row: trial.overrides for trial in plan.trials if trial.seed == plan.seeds[0]}
    done: Counter[str] = Counter()
    rows, look = tuple(every), plan.looks[0]
    while True:
        for trial in plan.trials:
            number = plan.seeds.index(trial.seed)
            if trial.row not in with_needed(list(rows), every) or not done[trial.row] <= number < look:
                continue
            if time.monotonic() >= end:
                console.note("the budget is spent; the same command with more goes on")
                return plan
            it.run(trial)
            it.write()
            done[trial.row] = number + 1
        left = _open(it, reported)
        found = next_look(left, tuple(plan.looks), margin, lambda pair, n: sum(max(n - done[r], 0) for r in pair) or 1)
        if found is None:
            text = f"{len(left)} claims are left, which more seeds would hardly settle" if left else "all is settled"
            console.note(f"\n{plan.report}: {text}; {done.total()} trainings")
            return plan
        rows, look = found[0].rows, found[1]
        console.note(f"\n{plan.report}: {' and '.join(rows)} get {look} seeds; {len(left)} claims are open")


def _open(it: Reproduction, reported: dict) -> list[Open]:
    """Return the claims without a verdict; where a report claims nothing, the differences of its tables."""
    section = section_of_report(Path(it.plan.output_dir), it.record(), reported)
    measured = measure(
        section.tables, section.scale, reported.get("margin", MARGIN), section.looks, sequential=section.sequential
    )
    claimed = [(c.m, c.difference, c.reference_row) for c in claims(section, measured)]
    found = claimed or [(m, m.difference, table.reference) for table in section.tables for m in measured[table.key]]
    trial_of = {row["row"]: row.get("trial", row["row"]) for table in reported["tables"] for row in table["rows"]}
    return [
        Open((trial_of[m.row.key.partition("+")[0]], trial_of[reference]), difference.estimate, difference.family)
        for m, difference, reference in found
        if difference and difference.verdict.kind == "unsettled"
    ]
