"""Staged training: what is taken from a checkpoint, and what a result says of it."""

import shutil
from pathlib import Path

import pytest
import torch

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.build import build_classifier
from deepfake_lit.training.lineage import pinned, weights_digest
from deepfake_lit.training.run import open_run_data, run, run_folder


@pytest.fixture(scope="module")
def first(settings, tmp_path_factory):
    """A finished first stage: its result, and the folder that everything lies in."""
    output = tmp_path_factory.mktemp("staged")
    return run(compose([*settings, f"output_dir={output}", "name=first"])).main, output


def second(settings, first, *overrides):
    result, output = first
    start = f"init_from={result.folder}/best.ckpt"
    return compose([*settings, f"output_dir={output}", "name=second", start, "optimizer.lr=1e-4", *overrides])


def test_weights_and_statistics_are_taken_and_nothing_else(settings, first):
    cfg = second(settings, first, "trainer.precision=fp32")
    source = read_checkpoint(Path(cfg.init_from))
    from deepfake_lit.core.hardware import resolve

    net = build_classifier(cfg, open_run_data(cfg), resolve()).net
    given = {k.removeprefix("net."): v for k, v in source["state_dict"].items() if k.startswith("net.")}
    own = net.state_dict()
    assert own.keys() == given.keys()
    assert any(k.endswith("running_mean") for k in own)
    assert all(torch.equal(own[k], given[k]) for k in own)
    result = run(cfg).main
    history = result.history
    assert history[0]["step"] == 4  # counted from the start: 100 images in batches of 25
    assert history[0]["lr"] < 1e-4  # the schedule is this stage's


def test_the_result_and_the_checkpoint_say_where_it_started(settings, first):
    result, source = run(second(settings, first)).main, first[0]
    lineage = result.init_from
    assert (lineage["name"], lineage["fingerprint"], lineage["seed"]) == ("first", source.fingerprint, 0)
    assert lineage["epochs"] == source.best_epoch + 1
    assert lineage["data_hash"] == source.data["hash"]
    assert lineage["config"] == source.config
    assert lineage["init_from"] is None
    assert result.config["init_weights"] == lineage["weights"]
    third = second(settings, first, "name=third", f"init_from={result.folder}/last.ckpt")
    chain = run(third).main.init_from
    assert chain["name"] == "second"
    assert chain["init_from"]["name"] == "first"
    kept = load_trained(run_folder(third, open_run_data(third)) / "best.ckpt").meta["init_from"]
    assert kept["init_from"]["fingerprint"] == source.fingerprint


def test_it_is_the_weights_that_count_not_where_they_lie(settings, first, tmp_path):
    cfg = second(settings, first)
    copy = tmp_path / "elsewhere.ckpt"
    shutil.copy(cfg.init_from, copy)
    data = open_run_data(cfg)
    moved = second(settings, first, f"init_from={copy}")
    assert run_folder(moved, data) == run_folder(cfg, data)
    last = second(settings, first, f"init_from={first[0].folder}/last.ckpt")
    plain = second(settings, first, "init_from=null")
    folders = {run_folder(c, data) for c in (cfg, last, plain)}
    assert len(folders) == 3 or first[0].best_epoch == 1  # the last epoch may be the best


def test_other_weights_than_it_was_run_with_are_refused(settings, first):
    with pytest.raises(UserError, match="other weights than this was run with"):
        pinned(second(settings, first, "init_weights=0123456789abcdef"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.width=0.25", "does not fit the network"),
        ("data.channels=rgba", "does not fit the network"),
        ("init_from=nowhere.ckpt", "there is no such checkpoint"),
        ("init_from=null", "init_weights belongs to an init_from"),
    ],
)
def test_weights_that_do_not_fit_are_refused(override, message, settings, first):
    further = ["init_weights=0123456789abcdef"] if override == "init_from=null" else []
    with pytest.raises(UserError, match=message):
        run(second(settings, first, override, *further))


def test_a_digest_sees_every_value_name_and_type():
    base = {"a": torch.zeros(2, 3), "b": torch.tensor(1)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.tensor(1)},
        {"a": torch.zeros(2, 3, dtype=torch.bfloat16), "b": torch.tensor(1)},
        {"c": torch.zeros(2, 3), "b": torch.tensor(1)},
        {"a": torch.zeros(2, 3), "b": torch.tensor(2)},
        {"a": torch.zeros(2, 3)},
    ]
    digests = {weights_digest(w) for w in [base, *others]}
    assert len(digests) == 6
    assert weights_digest({"b": torch.tensor(1), "a": torch.zeros(3, 2).T.clone().contiguous()}) == weights_digest(base)
