"""Searches: the space, which trials go on, and the same study after any kill and from two terminals."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from helpers import faults
from helpers.command_line import exit_status
from helpers.faults import ended
from optuna.storages.journal import JournalFileBackend

from deepfake_lit.core.errors import UserError
from deepfake_lit.report.sections import sections
from deepfake_lit.settings.commands import SearchConfig, StatusConfig
from deepfake_lit.studies import search as module
from deepfake_lit.studies.pruning import Rungs, SearchTrial
from deepfake_lit.studies.search import search
from deepfake_lit.studies.space import chosen, grid_of, read_space, size_of
from deepfake_lit.studies.status import look
from deepfake_lit.training.checkpointing import Paused

SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "optimizer.weight_decay=0,0.01,0.1"]
PLAN = ["data.root=x", "trainer.max_epochs=9", "experiment=whitening_half"]


def test_the_space_is_in_hydras_grammar():
    typed = ["a=1", "lr=tag(log,interval(1e-5,1e-2))", "b=int(interval(1,5))", "c=range(1,10,3)", "d=x,y"]
    fixed, space = read_space(typed)
    assert fixed == ["a=1"]
    assert (space["lr"].low, space["lr"].high, space["lr"].log) == (1e-5, 1e-2, True)
    assert (space["b"].low, space["b"].high) == (1, 5)
    assert [space[name].choices for name in "cd"] == [("1", "4", "7"), ("x", "y")]
    assert size_of(space) is None
    assert size_of({name: space[name] for name in "bcd"}) == 30
    assert chosen({"lr": 0.001, "d": "x"}) == ["lr=0.001", "d=x"]
    assert len(grid_of({name: space[name] for name in "cd"})) == 6
    with pytest.raises(UserError, match="needs a list of values for lr"):
        grid_of(space)
    for wrong, message in ((["a=1"], "name what is searched"), (["a=glob(*)"], "give an interval or a list")):
        with pytest.raises(UserError, match=message):
            read_space(wrong)


def rungs(pruner="halving", first=1, epochs=9, eta=3):
    return Rungs(pruner, first, eta, epochs, "maximize", "study")


def at(epoch: int, *values: float) -> list[SearchTrial]:
    return [SearchTrial(i, {}, epoch, {epoch: value}, "paused") for i, value in enumerate(values)]


def test_rungs_end_with_the_training():
    assert rungs().all == [1, 3, 9]
    assert rungs(epochs=12).all == [1, 3, 9, 12]
    assert rungs("none").all == [9]
    assert rungs().after(3) == 9


def test_a_trial_that_was_second_of_three_goes_on_as_second_of_six():
    trials = at(1, 0.5, 0.9, 0.8)
    assert rungs().going_on(trials[:2], None) is None  # two are too few to choose one of three from
    assert rungs().going_on(trials, None).number == 1
    trials[1].values[3], trials[1].target = 0.95, 3
    assert rungs().going_on(trials, None) is None
    assert rungs().last_resort(trials).number == 1
    more = [*trials, *(SearchTrial(i, {}, 1, {1: 0.1}, "paused") for i in (3, 4, 5))]
    assert rungs().going_on(more, None).number == 2


def test_hyperband_lets_some_trials_pass_the_first_rung():
    hyperband = rungs("hyperband")
    worst = [SearchTrial(n, {}, 1, {1: 0.0}, "paused") for n in range(9)]
    assert {hyperband.going_on([*at(1, *[0.5] * own.number), own], None) is own for own in worst} == {True, False}


def test_median_and_wilcoxon_compare_with_finished_trials():
    done = [SearchTrial(i, {}, 9, {1: 0.5 + i / 100, 9: 0.9}, "done") for i in range(5)]
    noise = np.random.default_rng(0).normal(0, 0.1, 200)

    def answers(trial, epoch):
        return trial.value + noise[::-1] if trial.number == 5 else 0.5 + noise

    for value, goes_on in ((0.6, True), (0.4, False)):
        own = SearchTrial(5, {}, 1, {1: value}, "paused")
        assert (rungs("median").going_on([*done, own], None) is own) == goes_on
        assert (rungs("wilcoxon").going_on([*done, own], answers) is own) == goes_on
    assert rungs("wilcoxon").going_on(at(1, 0.1), None).number == 0  # there is nothing yet to compare with


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Trainings that take no time: the accuracy follows from the settings and the epoch."""
    trained = []

    def folder_of(cfg, data):
        held_out = "" if cfg.data.fold is None else "-fold"
        return (
            Path(cfg.output_dir) / "runs" / f"{cfg.optimizer.lr:.9f}-{cfg.optimizer.weight_decay}-{cfg.seed}{held_out}"
        )

    def run(cfg, data=None, wait=False, stop_after=None):
        folder = folder_of(cfg, data)
        folder.mkdir(parents=True, exist_ok=True)
        epochs = min(stop_after or 9, 9)
        value = 0.9 - 0.1 * abs(np.log10(cfg.optimizer.lr) + 2.5) - cfg.optimizer.weight_decay
        lines = ["val/accuracy", *(str(value - 0.3 / epoch) for epoch in range(1, epochs + 1))]
        before = (folder / "history.csv").read_text().count("\n") - 1 if (folder / "history.csv").exists() else 0
        trained.append(max(epochs - before, 0))
        (folder / "history.csv").write_text("\n".join(lines) + "\n")
        if stop_after and stop_after < 9:
            raise Paused(75)
        return SimpleNamespace(main=SimpleNamespace(folder=str(folder)))

    def compose(overrides):
        values = dict(o.lstrip("+").split("=", 1) for o in overrides)
        of = SimpleNamespace
        return of(
            seed=int(values.get("seed", 0)),
            monitor="val/accuracy",
            output_dir=values["output_dir"],
            data=of(fold=None if values.get("data.fold", "null") == "null" else 0),
            model=of(kind="whitening_cnn"),
            baselines={},
            trainer=of(max_epochs=9),
            optimizer=of(lr=float(values["optimizer.lr"]), weight_decay=float(values.get("optimizer.weight_decay", 0))),
        )

    monkeypatch.setattr(module, "compose", compose)
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "run_folder", folder_of)
    monkeypatch.setattr(module, "open_run_data", lambda cfg: None)
    return trained


def found_in(record: dict) -> list:
    return [(t["number"], t["params"], t["values"], t["state"]) for t in record["trials"]]


def searched(output: Path, **settings) -> dict:
    cfg = SearchConfig(**{"trials": 8, "pruner": "halving", **settings})
    return json.loads(json.dumps(search(cfg, [*PLAN, *SPACE, f"output_dir={output}"])[0]))


def test_a_search_pauses_most_trials_and_trains_the_winner_with_seeds(fake, tmp_path):
    record = searched(tmp_path / "a")
    states = [t["state"] for t in record["trials"]]
    assert len(states) == 8
    assert states.count("done") == 1
    assert states.count("paused") == 7
    assert sum(t["epochs"] for t in record["trials"]) < 0.4 * 8 * 9
    best = max(record["trials"], key=lambda t: t["value"])
    assert (record["winner"]["number"], record["winner"]["seeds"]) == (best["number"], [0, 1, 2])
    assert not any(folder.endswith("-fold") for folder in record["winner"]["folders"])
    assert all(t["folder"].endswith("-fold") for t in record["trials"])
    before = len(fake)
    assert found_in(searched(tmp_path / "a")) == found_in(record)
    assert sum(fake[before:]) == 0  # finished: nothing is trained again
    more = searched(tmp_path / "a", trials=12)
    assert [t["params"] for t in more["trials"]][:8] == [t["params"] for t in record["trials"]]
    assert len(more["trials"]) == 12


def test_a_search_of_few_combinations_ends_with_them(fake, tmp_path):
    cfg = SearchConfig(trials=40, pruner="none", sampler="grid")
    grid = ["optimizer.lr=0.001,0.01", "optimizer.weight_decay=0,0.1"]
    record = search(cfg, [*PLAN, *grid, f"output_dir={tmp_path}"])[0]
    assert [t["state"] for t in record["trials"]] == ["done"] * 4
    record = search(SearchConfig(trials=40), [*PLAN, *grid, f"output_dir={tmp_path}"])[0]
    assert len({json.dumps(t["params"]) for t in record["trials"]}) == len(record["trials"]) == 4


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_a_search_killed_at_any_entry_of_its_storage_ends_as_the_same_study(pruner, fake, tmp_path, monkeypatch):
    append = JournalFileBackend.append_logs
    entries, kill = [], {}

    class Killed(BaseException):
        pass

    def counted(self, logs):
        entries.extend(logs)
        for when in ("before", "after"):
            if kill == {when: len(entries)}:
                raise Killed
            if when == "before":
                append(self, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", counted)
    whole, number = found_in(searched(tmp_path / "whole", pruner=pruner)), len(entries)
    assert number > 25
    for at_entry in range(1, number + 1):
        for when in ("before", "after"):
            entries.clear()
            kill |= {when: at_entry}
            output = tmp_path / f"{when}{at_entry}"
            with pytest.raises(Killed):
                searched(output, pruner=pruner)
            kill.clear()
            assert found_in(searched(output, pruner=pruner)) == whole, (when, at_entry)


def test_the_storage_is_one_of_optuna(fake, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    record = searched(tmp_path / "a", storage=url)
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    assert [t.params for t in study.trials] == [{k: v for k, v in t["params"].items()} for t in record["trials"]]
    assert study.best_trial.number == record["winner"]["number"]
    (path,) = (tmp_path / "a").glob("searches/*/search.json")
    assert path.parent.name == name
    journal = searched(tmp_path / "b")
    assert found_in(journal) == found_in(record)
    (file,) = (tmp_path / "b").glob("searches/*/study.journal")
    with open(file, "a") as half:
        half.write('{"op_code":')  # as a power cut leaves it
    assert found_in(searched(tmp_path / "b")) == found_in(record)


WRONG = {
    "pruner=best": "pruner is 'best'; it must be one of hyperband",
    "sampler=cma": "sampler is 'cma'",
    "trials=0": "trials is 0; it must be 1 or more",
    "eta=1": "eta is 1; it must be 2 or more",
    "seeds=[]": "seeds needs one or more numbers",
    "storage=nothing/there.db": "there is no folder nothing",
    "storage=oracle://x": "storage=oracle://x cannot be opened",
    "seed=0,1": "are the same for all trials",
    "+sweep=dropout": "are for train -m",
    "baseline=[knn]": "search is for networks",
    "sampler=grid": "needs a list of values for optimizer.lr",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_mistakes_are_one_line(wrong, samples, tmp_path, capsys):
    arguments = ["search", f"data.root={samples}", f"output_dir={tmp_path}", SPACE[0], wrong]
    assert exit_status(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert WRONG[wrong] in said
    assert "\n" not in said


TINY = ["model=whitening_cnn", "model.width=0.125", "trainer.max_epochs=3", "trainer.progress_bar=false"]
TINY += ["data.batch_size=25", "trainer.accelerator=cpu", "trainer.threads=1"]
OWN = ["pruner=wilcoxon", "trials=3", "first=1", "seeds=[0]", "folds=2"]


@pytest.mark.slow
def test_killed_trainings_go_on_bit_for_bit_and_two_terminals_share_a_study(samples, tmp_path):
    command = [f"data.root={samples}", f"data.cache_dir={tmp_path}/cache", *TINY, *OWN, "optimizer.lr=0.001,0.01,0.1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ended(faults.start(whole, command, command="search")) == 0, Path(f"{whole}.log").read_text()
    for step in (1, 3, 4):
        assert ended(faults.start(killed, command, "step", step, command="search")) == -signal.SIGKILL
    assert ended(faults.start(killed, command, "SIGTERM", 2, command="search")) == 75
    two = [faults.start(killed, command, command="search") for _ in range(2)]
    assert [ended(process) for process in two] == [0, 0], Path(f"{killed}.log").read_text()
    records = [json.loads(next(o.glob("searches/*/search.json")).read_text()) for o in (whole, killed)]
    assert found_in(records[0])[0] == found_in(records[1])[0]
    assert {t["state"] for t in records[1]["trials"]} <= {"done", "paused"}
    for folder in (whole / "runs" / "default").iterdir():
        other = killed / "runs" / "default" / folder.name
        if (folder / "result.json").exists() and (other / "result.json").exists():
            assert faults.differences(other, folder) == []

    runs, counts = look(StatusConfig(str(whole)))
    assert {run.state for run in runs} <= {"done", "paused"}
    assert next(iter(counts)).startswith("search search-")
    section = next(s for s in sections(whole) if s.search)
    assert [table.key for table in section.tables] == ["trials", "winner"]
    page = (whole / "report" / "report.md").read_text()
    assert "The optimism of the search is" in page
    assert "of the epochs" in page or "that all of them take in full" in page
    assert os.path.exists(whole / "report" / "index.html")
    published = tmp_path / "published"
    assert exit_status(["report", section.key, f"output_dir={whole}", f"output={published}"]) == 0
    again = (published / "report.md").read_text()
    assert next(line for line in page.splitlines() if "optimism" in line) in again
    assert str(tmp_path) not in "".join(p.read_text() for p in published.glob("searches/*/*"))
