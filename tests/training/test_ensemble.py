"""Ensembles: frozen members, what combines them, what it is fitted on, and one checkpoint that needs no other."""

import copy
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.hardware import resolve
from deepfake_lit.core.processes import one_device
from deepfake_lit.data.images import fold_of
from deepfake_lit.models.ensemble import Ensemble, Head, Mean, Vote, WeightedMean
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.statistics import paired
from deepfake_lit.settings.compose import compose
from deepfake_lit.training import ensemble
from deepfake_lit.training.lineage import member_digest
from deepfake_lit.training.run import open_run_data, run

pytestmark = pytest.mark.slow

HEAD = ["experiment=ensemble", "trainer.max_epochs=3"]
SVM = "+baselines.svm={features:{spectrum:{}},steps:{StandardScaler:{},LogisticRegression:{}}}"


@pytest.fixture(scope="module")
def members(settings, tmp_path_factory):
    """Checkpoints of two networks of different kind, channel mode and input size, a baseline, and their folder."""
    output = tmp_path_factory.mktemp("members")
    base = [*settings, f"output_dir={output}"]
    small = run(compose([*base, "name=small"])).main
    others = [*base, "name=large", "model=residual_cnn", "data.channels=rgba", "data.image_size=40", "seed=1"]
    others = [o for o in others if not o.startswith("trainer.max_epochs")] + ["trainer.max_epochs=1"]
    fitted, large = run(compose([*others, SVM])).every
    return [f"{small.folder}/best.ckpt", f"{large.folder}/last.ckpt", f"{fitted.folder}/model.skops"], output


def configured(settings, members, *overrides, of=(0, 1)):
    paths, output = members
    own = [s for s in settings if not s.startswith(("model.", "augment.", "trainer.max"))]
    return compose(
        [*own, *HEAD, f"output_dir={output}", f"model.members=[{','.join(paths[i] for i in of)}]", *overrides]
    )


def net_with_everything():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(5))


def test_members_stay_frozen_in_training_mode():
    """Report A's "frozen" members were put back into training mode: their batch-norm statistics kept moving."""
    nets = [net_with_everything(), net_with_everything()]
    images = torch.rand(8, 3, 6, 6)
    for net in nets:
        net(images)
    whole = Ensemble(nets, Head(2, 5, 8, 0.3))
    before = copy.deepcopy(whole.members.state_dict())
    whole.train()
    assert whole.combiner.training
    assert not any(module.training for module in whole.members.modules())
    answers = [torch.stack([net(images) for net in whole.members], 1) for _ in range(2)]
    torch.testing.assert_close(*answers, rtol=0, atol=0)  # no dropout
    assert all(torch.equal(v, before[k]) for k, v in whole.members.state_dict().items())
    assert [p for p in whole.members.parameters() if p.requires_grad] == []


def test_training_moves_the_head_and_nothing_of_the_members(settings, members, monkeypatch):
    modes = []
    monkeypatch.setattr(
        "deepfake_lit.training.callbacks.DerivedRandomness.on_train_batch_end",
        lambda self, trainer, module, *_: modes.append(
            (module.net.combiner.training, any(m.training for m in module.net.members.modules()))
        ),
    )
    result = run(configured(settings, members, "seed=3")).main
    assert set(modes) == {(True, False)}
    kept = read_checkpoint(Path(result.folder) / "last.ckpt")
    for number, path in enumerate(members[0][:2]):
        own = read_checkpoint(Path(path))["state_dict"]
        prefix = f"net.members.{number}."
        stored = {k.replace(prefix, "net."): v for k, v in kept["state_dict"].items() if k.startswith(prefix)}
        assert stored.keys() == {k for k in own if k.startswith("net.")}
        assert all(torch.equal(stored[k], own[k]) for k in stored)
    (group,) = kept["optimizer_states"][0]["param_groups"]
    assert len(group["params"]) == 4  # two layers' weights and biases: all of the head, nothing else


def test_combinations_against_plain_formulas():
    logits = torch.randn(200, 3, 5, generator=torch.Generator().manual_seed(0)) * 3
    p = torch.softmax(logits, 2)
    torch.testing.assert_close(torch.softmax(Mean()(logits), 1), p.mean(1))
    weighted = WeightedMean(3)
    torch.testing.assert_close(torch.softmax(weighted(logits), 1), p.mean(1))
    weighted.logits.data = torch.tensor([0.2, 0.5, 0.3]).log() + 7
    expected = 0.2 * p[:, 0] + 0.5 * p[:, 1] + 0.3 * p[:, 2]
    torch.testing.assert_close(torch.softmax(weighted(logits), 1), expected)
    answer = torch.softmax(Vote()(logits), 1)
    torch.testing.assert_close(answer.sum(1), torch.ones(200))
    for row, votes, mean in zip(answer, p.argmax(2), p.mean(1), strict=True):
        counts = torch.bincount(votes, minlength=5)
        tied = (counts == counts.max()).nonzero().flatten()
        assert row.argmax() == tied[mean[tied].argmax()]


def test_a_weighted_mean_learns_who_knows_more():
    """By the module's own training step: one member is right, the other guesses."""
    labels = torch.arange(200) % 5
    right = torch.nn.functional.one_hot(labels, 5) * 4.0
    guess = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    combiner = WeightedMean(2)
    optimizer = torch.optim.Adam(combiner.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.nll_loss(combiner(torch.stack([guess, right], 1)), labels).backward()
        optimizer.step()
    assert torch.softmax(combiner.logits, 0)[1] > 0.9


@pytest.mark.parametrize("combine", ["mean", "vote", "weighted_mean", "head"])
def test_an_ensemble_needs_no_file_of_its_members(combine, settings, members, tmp_path):
    cfg = configured(settings, members, f"model.combine={combine}", of=(0, 1, 2))
    result = run(cfg).main
    stored = read_predictions(Path(result.folder) / "predictions.npz")
    alone = tmp_path / "ensemble.ckpt"
    shutil.move(Path(result.folder) / "best.ckpt", alone)
    shutil.rmtree(result.folder)
    hidden = [Path(path).rename(path + ".hidden") for path in members[0]]
    try:
        split = open_run_data(cfg).splits["validation"]
        plain, tta = Predictor.load([str(alone)], resolve()).on_split(split, ["identity", "hflip"], 20)
    finally:
        for path in hidden:
            path.rename(str(path).removesuffix(".hidden"))
    np.testing.assert_allclose(plain.numpy(), stored["probabilities"], atol=1e-6)
    np.testing.assert_allclose(tta.numpy(), stored["probabilities_tta"], atol=1e-6)


def test_a_mean_is_what_predicting_with_all_checkpoints_gives(settings, members):
    cfg = configured(settings, members, "model.combine=mean", of=(0, 1, 2))
    result = run(cfg).main
    split = open_run_data(cfg).splits["validation"]
    together = Predictor.load(members[0], resolve()).on_split(split, ["identity"], 20)[0]
    stored = read_predictions(Path(result.folder) / "predictions.npz")["probabilities"]
    np.testing.assert_allclose(stored, together.numpy(), atol=1e-5)
    assert len(result.history) == 1  # nothing is fitted
    twice = configured(settings, members, "model.combine=mean", "model.fit_on=out_of_fold", of=(0, 1, 2))
    assert run(twice).main.folder == result.folder


def test_gains_are_paired_with_every_member(settings, members):
    cfg = configured(settings, members, of=(0, 1))
    result = run(cfg).main
    found = read_predictions(Path(result.folder) / "predictions.npz")
    right = found["probabilities_last"].argmax(1) == found["labels"]
    split = open_run_data(cfg).splits["validation"]
    for path, member in zip(members[0], result.members, strict=False):
        own = Predictor.load([path], resolve()).on_split(split, ["identity"], 50)[0].argmax(1).numpy() == split.labels
        assert member["accuracy"] == pytest.approx(own.mean())
        assert member["gain"]["difference"] == pytest.approx(right.mean() - own.mean())
        assert member["gain"]["p"] == paired(right, own).p
        assert member["path"] == path


def test_answers_out_of_fold_are_of_networks_that_have_not_seen_the_image(settings, members, monkeypatch):
    """Each training image's row in the table is the answer of the run on the other folds, after its last epoch."""
    cfg = configured(settings, members, "model.fit_on=out_of_fold", "model.folds=2", of=(0, 1))
    data, machine = open_run_data(cfg), resolve()
    loaded = ensemble.load_members(cfg, data, machine)
    tables = ensemble.make_tables(cfg, data, loaded, machine, lambda one, part: Path(run(one, part).main.folder))
    train = data.splits["train"]
    assert tables.fit.shape == (100, 2, 5)
    folds = fold_of([fact.pixel_hash for fact in train.facts], train.labels, 2)
    for number, name in enumerate(("small", "large")):
        by_fold = {}
        for folder in (members[1] / "runs" / name).iterdir():
            trained = load_trained(folder / "last.ckpt")
            if trained.config.data.folds == 2:
                stored = read_predictions(folder / "predictions.npz")
                p = torch.softmax(tables.fit[:, number], 1).numpy()
                rows = [train.ids.index(i) for i in stored["ids"].tolist()]
                np.testing.assert_allclose(p[rows], stored["probabilities_last"], atol=1e-6)
                by_fold[trained.config.data.fold] = rows
        assert by_fold.keys() == {0, 1}
        assert all(set(rows) == set(np.flatnonzero(folds == fold).tolist()) for fold, rows in by_fold.items())
    result = run(cfg).main
    assert result.config["model"]["fit_on"] == "out_of_fold"


def test_a_later_stage_is_trained_on_folds_from_its_first_stage_on(settings, members):
    """Else its fold's network would start with weights that have seen the held-out images."""
    paths, output = members
    staged = run(compose([*settings, f"output_dir={output}", "name=staged", f"init_from={paths[0]}"])).main
    later = ([f"{staged.folder}/last.ckpt", paths[0]], output)
    run(configured(settings, later, "model.fit_on=out_of_fold", "model.folds=2"))
    found = [load_trained(p / "last.ckpt") for p in (output / "runs" / "staged").iterdir()]
    for trained in [t for t in found if t.config.data.folds]:
        before = trained.meta["init_from"]["config"]
        assert (before["data"]["folds"], before["data"]["fold"]) == (2, trained.config.data.fold)


def test_baselines_beside_an_ensemble_are_fitted_on_training_images(settings, members):
    svm = "+baselines.beside={features:{spectrum:{}},steps:{StandardScaler:{},LogisticRegression:{}}}"
    for overrides in (["model.combine=mean"], ["model.fit_on=validation"]):
        fitted, whole = run(configured(settings, members, *overrides, svm)).every
        alone = run(compose([*configured_alone(settings, members), svm.replace("beside", "beside_nothing")])).main
        assert fitted.best == alone.best
        assert whole.data["images"]["train"] == 100


def configured_alone(settings, members):
    own = [s for s in settings if not s.startswith(("model.", "augment.", "trainer.max"))]
    return [*own, "model=none", f"output_dir={members[1]}"]


def test_members_that_know_the_held_out_fold_are_refused(settings, members):
    for of in ((0, 1), (2, 0)):
        with pytest.raises(UserError, match=r"knows images of data\.fold=0"):
            run(configured(settings, members, "model.combine=mean", "data.folds=2", "data.fold=0", of=of))


def test_two_members_of_one_run_have_no_folds(settings, members):
    last = str(Path(members[0][0]).with_name("last.ckpt"))
    with pytest.raises(UserError, match="two members are of one run"):
        run(configured(settings, ([members[0][0], last], members[1]), "model.fit_on=out_of_fold"))


def test_several_gpus_are_refused_where_several_runs_are_one_process(settings, members, monkeypatch):
    def two(what):
        with monkeypatch.context() as patch:
            patch.setattr("torch.cuda.device_count", lambda: 2)
            one_device(what)

    monkeypatch.setattr(ensemble, "one_device", two)
    with pytest.raises(UserError, match="out_of_fold uses one GPU: set CUDA_VISIBLE_DEVICES=0"):
        run(configured(settings, members, "model.fit_on=out_of_fold", "model.folds=3"))


def test_fitting_on_validation_uses_its_images_and_says_so(settings, members, capsys):
    cfg = configured(settings, members, "model.fit_on=validation")
    data, machine = open_run_data(cfg), resolve()
    tables = ensemble.make_tables(cfg, data, ensemble.load_members(cfg, data, machine), machine, train=None)
    assert torch.equal(tables.fit, tables.validation)
    from deepfake_lit.cli import show

    show.results(run(cfg))
    assert "the figures say nothing about new ones" in capsys.readouterr().out.replace("\n", " ")


def test_patterns_name_the_kept_epochs(settings, tmp_path):
    output = [*settings, f"output_dir={tmp_path}"]
    result = run(compose([*output, "trainer.max_epochs=4", "trainer.keep_epochs=3"])).main
    kept = sorted(Path(result.folder).glob("epoch-*.ckpt"))
    ranked = sorted(result.history, key=lambda row: (-row["val/accuracy"], row["epoch"]))
    assert [p.name for p in kept] == sorted(f"epoch-{row['epoch']:03d}.ckpt" for row in ranked[:3])
    split = open_run_data(compose(output)).splits["validation"]
    for path in kept:  # each holds the weights of its own epoch
        p = Predictor.load([str(path)], resolve()).on_split(split, ["identity"], 50)[0]
        row = result.history[int(path.stem.removeprefix("epoch-"))]
        assert (p.argmax(1).numpy() == split.labels).mean() == pytest.approx(row["val/accuracy"])
    vote = configured(settings, ([f"{result.folder}/epoch-*.ckpt"], tmp_path), "model.combine=vote", of=(0,))
    assert len(run(vote).main.members) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.members=[a.ckpt]"], "2 or more"),
        (["model.members=[a.ckpt,runs/*/nothing.ckpt]"], "there is no file"),
        (["model.members=[a.ckpt,b.ckpt]"], "there is no such checkpoint"),
        (["model.members=[a.skops,b.ckpt]"], "a.skops"),
        (["model.combine=median"], "must be one of head"),
        (["model.fit_on=test"], "must be one of train"),
        (["model.fit_on=null"], "must say on what"),
        (["model.fit_on=out_of_fold", "model.folds=1"], "2 or more"),
        (["augment.hflip=0.5"], "augment=none"),
        (["init_from=a.ckpt"], "leave init_from out"),
        (["trainer.ema=0.9"], "no ema or swa"),
    ],
)
def test_impossible_ensembles_are_refused(overrides, message, settings, members):
    with pytest.raises(UserError, match=message):
        run(configured(settings, members, *overrides))


def test_an_ensemble_is_no_member_and_no_start(settings, members):
    result = run(configured(settings, members)).main
    nested = ([f"{result.folder}/best.ckpt", members[0][0]], members[1])
    with pytest.raises(UserError, match="is an ensemble; a single network is wanted here"):
        run(configured(settings, nested))


def test_a_baseline_has_no_folds(settings, members):
    with pytest.raises(UserError, match="is a baseline"):
        run(configured(settings, members, "model.fit_on=out_of_fold", "model.folds=2", of=(2, 0)))


def test_the_module_is_lightnings(settings, members):
    cfg = configured(settings, members)
    from deepfake_lit.training.build import build_parts

    module, datamodule, _ = build_parts(cfg, open_run_data(cfg), resolve(), train=None)
    assert isinstance(module, pl.LightningModule)
    batch = next(iter(datamodule.val_dataloader()))
    assert batch.images.shape == (50, 2, 5)


def test_a_baseline_that_is_fitted_again_is_the_same_member(settings, members):
    """Two dumps of one pipeline differ in their bytes; what was fitted is the same."""
    paths, output = members
    cfg = configured(settings, members, "model.combine=mean", of=(0, 2))
    first = run(cfg).main
    before = Path(paths[2]).read_bytes()
    shutil.rmtree(Path(paths[2]).parent)
    again = run(
        compose([settings[0], settings[1], "model=none", SVM, "data.channels=rgba", "seed=1", f"output_dir={output}"])
    ).main
    assert f"{again.folder}/model.skops" == paths[2]
    assert Path(paths[2]).read_bytes() != before
    assert run(cfg).main.finished == first.finished  # it was not run again
    assert first.config["model"]["weights"][1] == again.fingerprint


def test_a_baseline_s_file_of_before_is_told_by_its_bytes(tmp_path):
    kept = Path(__file__).parents[1] / "kept" / "svm.skops"
    assert member_digest(kept) == hashlib.sha256(kept.read_bytes()).hexdigest()[:16]
