"""Verdicts of tables as a whole: looks at a plan."""

import json
from pathlib import Path

import pytest
from helpers.made_up_runs import record

from deepfake_lit.report.measure import measure
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.rows import Section
from deepfake_lit.report.sections import section_of_report
from deepfake_lit.results.family import LEVEL
from deepfake_lit.results.looks import Looks
from deepfake_lit.settings.report_file import read_report


def declared(path: Path, looks: list[int] | None) -> Section:
    tree = json.loads(path.read_text()) | ({"looks": looks} if looks else {})
    path.write_text(json.dumps(tree))
    return section_of_report(path.parent.parent, tree, read_report("report_b"))


def test_a_first_look_of_several_is_paid_for(tmp_path):
    path = record(tmp_path, {"cnn": [0.94, 0.945, 0.94], "lr_1e-4": [0.915, 0.92, 0.915]})

    def found(looks):
        section = declared(path, looks)
        rows = measure(section.tables, section.scale, declared=section.looks)["learning_rate"]
        return next(m.difference for m in rows if m.difference)

    once, first = found(None), found([3, 6])
    assert first.p == pytest.approx(min(once.p * LEVEL / Looks((3, 6), 3).level(), 1.0))
    assert first.interval[0] < once.interval[0] < once.interval[1] < first.interval[1]
    assert once.verdict.kind == "real"
    assert (first.verdict.kind == "real") == (first.p < LEVEL)


@pytest.mark.parametrize(("looks", "text"), [(None, ""), ([3, 6], "Look 1, at 3 of 6"), ([2], "the plan ended at 2")])
def test_the_page_counts_looks(looks, text, tmp_path):
    declared(record(tmp_path, {"cnn": [0.94, 0.945, 0.94], "lr_1e-4": [0.9, 0.905, 0.9]}), looks)
    page = report(ReportConfig(str(tmp_path), images=False))
    for written in (page.read_text(), (page.parent / "report.md").read_text()):
        assert (text in written) if text else ("Look 1" not in written)
