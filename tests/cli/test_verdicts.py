"""What the terminal says of a report's claims and of a sweep's rows: the same as the page."""

from pathlib import Path

import pytest

from deepfake_lit.cli import verdicts
from deepfake_lit.core import console

PUBLISHED = Path(__file__).parents[2] / "outputs" / "published"


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setattr(console.out, "width", 200)  # whatever the width of the terminal that the tests run in


def test_claims_of_a_report_stand_beside_what_was_measured(capsys):
    verdicts.of_report(PUBLISHED / "report_b", ["report_b-cpu"])
    said = " ".join(capsys.readouterr().out.split())
    assert "what is claimed, and what was measured" in said
    assert "learning rate 3e-4 to learning rate 1e-4 │ -3.1 │ -2.0 │ -3.3 to -0.7 │ real, as large as claimed" in said


def test_rows_of_a_sweep_are_over_seeds_and_have_verdicts(capsys):
    folder = next((PUBLISHED / "record" / "sweeps").glob("ideas-*"))
    verdicts.of_sweep(folder)
    said = " ".join(capsys.readouterr().out.split())
    assert "after the last epoch; differences from idea=reference" in said
    assert "idea=adamw │ 2 │ 0.9042" in said
    assert f"deepfake-lit report output_dir={PUBLISHED / 'record'}" in said
