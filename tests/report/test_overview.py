"""All rows of a page in one table."""

import json
import re

from helpers.made_up_runs import record

from deepfake_lit.report.measure import measure
from deepfake_lit.report.overview import all_rows
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.sections import section_of_report
from deepfake_lit.settings.report_file import read_report

ROWS = {"cnn": [0.94, 0.945, 0.94], "lr_1e-4": [0.90, 0.905, 0.90], "dropout_0.0": [0.95, 0.95, 0.95]}


def test_each_row_comes_once_and_the_best_first(tmp_path):
    tree = record(tmp_path, ROWS)
    section = section_of_report(tmp_path, json.loads(tree.read_text()), read_report("report_b"))
    measured = measure(section.tables, section.scale)
    rows = all_rows([section], [measured])
    values = [row["m"].accuracy.value for row in rows]
    assert values == sorted(values, reverse=True)
    assert [row["m"].row.key for row in rows if not row["m"].row.view] == ["dropout_0.0", "cnn", "lr_1e-4"]
    assert all_rows([section], [{"one": measured["learning_rate"]}]) == []


def test_the_page_and_its_twin_have_them(tmp_path):
    record(tmp_path, ROWS)
    page = report(ReportConfig(output_dir=str(tmp_path), images=False))
    html, text = page.read_text(), (page.parent / "report.md").read_text()
    assert re.search(r'id="all_rows".*?All (\d+) rows', html, re.DOTALL)[1] == re.search(r"## All (\d+) rows", text)[1]
    assert 'href="#all_rows"' in html
