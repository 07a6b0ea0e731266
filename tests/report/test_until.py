"""`reproduce until=settled`: seeds go where they settle a claim, and stop when it is settled or the budget is spent."""

import time
from types import SimpleNamespace

import pytest
import yaml
from helpers.made_up_runs import N, made_up

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.sections import sections
from deepfake_lit.report.until import seconds, until_settled
from deepfake_lit.settings.commands import ReproduceConfig
from deepfake_lit.studies import reproduce as module
from deepfake_lit.studies.plan import read_plan

ACCURACY = {"a": 0.80, "far": 0.92, "near": 0.815}


def test_a_budget_is_a_duration():
    assert [seconds(text) for text in ("2h", "1h30m", "90m", "45s", "10")] == [7200, 5400, 5400, 45, 10]
    assert seconds(None) == float("inf")
    for wrong in ("2 h", "soon", "h", "-1h"):
        with pytest.raises(UserError, match="is no duration, as 2h"):
            seconds(wrong)


@pytest.fixture
def own(tmp_path, samples, monkeypatch):
    """A report of one's own, whose trainings take no time."""
    tree = {
        "title": "Mine",
        "images": N,
        "tables": [
            {"title": "T", "reference": "a", "rows": [{"row": row, "accuracy": ACCURACY[row]} for row in ACCURACY]}
        ],
        "rows": {row: [f"optimizer.lr={value}"] for row, value in ACCURACY.items()},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    trained = []

    def run(cfg, data, wait):
        row = next(row for row, value in ACCURACY.items() if value == cfg.optimizer.lr)
        folder = tmp_path / "out" / "runs" / "net" / f"{row}-{cfg.seed}"
        if not folder.exists():
            trained.append((row, cfg.seed))
            made_up(folder, ACCURACY[row], cfg.seed)
        return SimpleNamespace(every=[SimpleNamespace(folder=str(folder))])

    monkeypatch.setattr(module, "run", run)
    further = [f"data.root={samples}", f"output_dir={tmp_path / 'out'}"]
    return SimpleNamespace(file=str(tmp_path / "mine.yaml"), trained=trained, further=further, output=tmp_path / "out")


def test_a_claim_that_is_settled_gets_no_more_seeds(own, capsys):
    until_settled(own.file, ReproduceConfig(until="settled"), own.further)
    seeds = {row: [seed for name, seed in own.trained if name == row] for row in ACCURACY}
    assert seeds["far"] == [0, 1, 2]
    assert len(seeds["near"]) > 3
    assert len(seeds["a"]) == len(seeds["near"])
    assert f"{len(own.trained)} trainings" in capsys.readouterr().err
    (section,) = sections(own.output)
    assert section.sequential
    assert section.key == "mine-full-settled"
    page = report(ReportConfig(str(own.output), images=False)).with_name("report.md").read_text()
    assert "Each claim got seeds until it was settled" in page
    assert "missing" not in page
    assert "until=settled" in page
    before = list(own.trained)
    until_settled(own.file, ReproduceConfig(until="settled"), own.further)
    assert own.trained == before  # the same command finds all of it


def test_the_budget_stops_it_and_more_of_it_goes_on(own, monkeypatch, capsys):
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    until_settled(own.file, ReproduceConfig(until="settled", budget="4s"), own.further)
    assert 1 <= len(own.trained) < 9
    assert "the budget is spent" in capsys.readouterr().err


def test_settings_that_contradict_it_are_refused(own):
    for wrong, message in (
        ({"until": "morning"}, "until is 'morning'"),
        ({"until": "settled", "seeds": [0, 1]}, "chooses the seeds itself"),
        ({"until": "settled", "folds": 5}, "chooses the seeds itself"),
        ({"until": "settled", "looks": [1, 3]}, "begins with one seed"),
    ):
        with pytest.raises(UserError, match=message):
            read_plan(own.file, ReproduceConfig(**wrong), [])
    plan = read_plan(own.file, ReproduceConfig(until="settled", looks=[3, 6]), [])
    assert (plan.seeds, plan.looks, plan.name) == ([0, 1, 2, 3, 4, 5], [3, 6], "mine-full-settled")
