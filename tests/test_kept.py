"""What was published or written by an earlier commit stays: fingerprints, override lists, files, pages.

tests/kept was written by commit 5378051 on the images of `write_healthy`: checkpoints, pipelines, and their answers.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_data import noise, write_healthy

from deepfake_lit.core.hardware import resolve
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.results.result import read_result
from deepfake_lit.settings.compose import compose, from_dict
from deepfake_lit.settings.identity import digest, identity, identity_of
from deepfake_lit.training.run import open_run_data, run, run_folder

KEPT = Path(__file__).parent / "kept"
PUBLISHED = Path(__file__).parents[1] / "outputs" / "published"
RESULTS = sorted(PUBLISHED.rglob("result.json"))
PINNED = {"init_weights", "model.weights"}  # digests that a run fills in
UNUSED = {"model.fit_on", "model.folds", "trainer.max_epochs", "trainer.devices"}  # by ensembles that fit nothing


def trials() -> list[tuple[Path, list[str]]]:
    """The folder of every published run, and the overrides that it was started with."""
    found = []
    for path in sorted(PUBLISHED.glob("*/reproduce/*.json")):
        for trial in json.loads(path.read_text())["trials"]:
            found += [(path.parents[1] / trial["folders"][-1], trial["overrides"])] if trial["folders"] else []
    for path in sorted(PUBLISHED.glob("*/sweeps/*/trials/*.json")):
        trial = json.loads(path.read_text())
        found.append((path.parents[3] / trial["folder"], trial["overrides"]))
    return found


def test_there_are_published_runs():
    assert len(RESULTS) > 100
    assert len(trials()) > 100


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.parent.relative_to(PUBLISHED)))
def test_a_stored_configuration_gives_its_fingerprint(path):
    result = json.loads(path.read_text())
    config, data_hash = result["config"], result["data"]["hash"]
    if "baseline" in config:
        own = {"baseline": config["baseline"], "channels": config["data"]["channels"]}
        own |= {"seed": result["seed"]} if result.get("random") else {}
        assert digest(own, data_hash) == result["fingerprint"]
        return
    assert digest(identity_of(config), data_hash) == result["fingerprint"]
    whole = config | {"data": config["data"] | {"root": "x"}}
    assert digest(identity(from_dict(whole)), data_hash) == result["fingerprint"]


@pytest.mark.parametrize(("folder", "overrides"), trials()[::6], ids=lambda value: getattr(value, "name", ""))
def test_a_stored_override_list_composes_to_its_configuration(folder, overrides):
    stored = json.loads((folder / "result.json").read_text())["config"]
    cfg = compose([*overrides, "data.root=x"])
    if "baseline" in stored:
        assert cfg.model.kind == "none"
        return
    ignored = PINNED | (UNUSED if cfg.model.kind == "ensemble" else set())
    ours, theirs = (
        {name: value for name, value in tree.items() if name not in ignored}
        for tree in (json.loads(json.dumps(identity(cfg))), identity_of(stored))
    )
    assert ours == theirs


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    with np.load(KEPT / "answers.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("path", sorted([*KEPT.glob("*.ckpt"), *KEPT.glob("*.skops")]), ids=lambda path: path.name)
def test_a_file_of_before_answers_as_it_did(path, answers):
    predictor = Predictor.load([str(path)], resolve("cpu", "fp32"))
    pixels = torch.from_numpy(np.stack([noise(100 + i) for i in range(12)]))
    ours = predictor.by_view(pixels, None, ["identity", "hflip"])
    np.testing.assert_allclose(ours, answers[path.name], atol=2e-6)


def test_a_run_of_before_is_gone_on_with(tmp_path):
    """Its history, its selection and its average of weights are in its checkpoint."""
    before = json.loads((KEPT / "network.json").read_text())
    tree = before["config"]
    tree["data"]["root"], tree["output_dir"] = str(write_healthy(tmp_path)), str(tmp_path / "out")
    cfg = from_dict(tree)
    folder = run_folder(cfg, open_run_data(cfg))
    assert folder.name == before["fingerprint"]
    shutil.copytree(KEPT / "stopped", folder)
    run(cfg)
    after = read_result(folder)
    assert [row["epoch"] for row in after.history] == [0, 1, 2]
    assert after.history[:2] == json.loads(json.dumps(_stopped_rows()))
    assert after.best_epoch == before["best_epoch"]
    assert after.history[2]["train/loss"] == pytest.approx(before["history"][2]["train/loss"], rel=1e-3)


def _stopped_rows() -> list[dict[str, float]]:
    state = torch.load(KEPT / "stopped" / "last.ckpt", weights_only=True)
    return state["callbacks"]["History"]["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", sorted(p.parent for p in PUBLISHED.glob("*/reproduce")), ids=lambda path: path.name)
def test_a_published_page_is_made_again_with_the_same_tables(folder, tmp_path):
    report(ReportConfig(str(folder), str(tmp_path), images=False))
    assert {p.name for p in (folder / "tables").iterdir()} == {p.name for p in (tmp_path / "tables").iterdir()}
    for table in (folder / "tables").iterdir():
        published, again = (list(csv.DictReader(path.open())) for path in (table, tmp_path / "tables" / table.name))
        own = [{name: row[name] for name in published[0]} for row in again]  # a later metric adds a column
        assert own == published
