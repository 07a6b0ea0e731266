"""Folds of the training split: what is held out, and runs on it."""

import dataclasses

import numpy as np
import pytest

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.images import cache_dir, fold_of, open_data, with_fold
from deepfake_lit.results.files import read_predictions
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run

pytestmark = pytest.mark.slow


def opened(settings, tmp_path, *overrides):
    cfg = compose([*settings, f"output_dir={tmp_path}", *overrides])
    return open_data(cfg.data, cache_dir(cfg.data, cfg.output_dir))


def test_folds_are_a_partition_with_classes_alike(settings, tmp_path):
    data = opened(settings, tmp_path)
    every = data.splits["train"]
    held_out = []
    for fold in range(3):
        part = with_fold(data, 3, fold)
        train, validation = part.splits["train"], part.splits["validation"]
        assert sorted(train.ids + validation.ids) == sorted(every.ids)
        assert max(np.bincount(validation.labels)) - min(np.bincount(validation.labels)) <= 1
        assert part.hash == data.hash
        held_out += validation.ids
        for split in (train, validation):  # pixels and labels are still those of the ids
            rows = [every.ids.index(i) for i in split.ids]
            np.testing.assert_array_equal(split.gather(slice(None))[0], every.gather(np.array(rows))[0])
            np.testing.assert_array_equal(split.labels, every.labels[rows])
            assert [split.files[0], split.facts[-1]] == [every.files[rows[0]], every.facts[rows[-1]]]
    assert sorted(held_out) == sorted(every.ids)


def test_an_image_stays_in_its_fold_in_whatever_order_the_files_come():
    ids, labels = [f"i{n}" for n in range(60)], np.arange(60) % 3
    order = np.random.default_rng(0).permutation(60)
    moved = fold_of([ids[i] for i in order], labels[order], 4)
    np.testing.assert_array_equal(moved, fold_of(ids, labels, 4)[order])
    assert len(set(moved.tolist())) == 4


def test_more_folds_than_images_of_a_class_are_refused():
    with pytest.raises(UserError, match="class 1 has only 2 training images"):
        fold_of(["a", "b", "c", "d", "e"], np.array([0, 0, 0, 1, 1]), 3)


def test_the_same_pixels_are_in_one_fold():
    hashes = [f"h{n % 20}" for n in range(60)]
    folds = fold_of(hashes, np.zeros(60, int), 4)
    assert all(len({folds[i] for i in range(60) if hashes[i] == h}) == 1 for h in hashes)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.folds=3"], "belong together"),
        (["data.folds=1", "data.fold=0"], "must be 2 or more"),
        (["data.folds=3", "data.fold=3"], "must be in 0..2"),
    ],
)
def test_impossible_folds_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        compose(["data.root=x", *overrides])


def test_a_run_on_a_fold_answers_for_its_images_and_is_a_run_of_its_own(settings, tmp_path):
    overrides = [*settings, f"output_dir={tmp_path}", "trainer.max_epochs=1"]
    results = [run(compose([*overrides, "data.folds=2", f"data.fold={fold}"])).main for fold in (0, 1)]
    data = opened(settings, tmp_path)
    answered = [set(read_predictions(f"{r.folder}/predictions.npz")["ids"].tolist()) for r in results]
    assert answered[0] | answered[1] == set(data.splits["train"].ids)
    assert not answered[0] & answered[1]
    assert results[0].fingerprint != results[1].fingerprint
    assert dataclasses.asdict(compose(overrides).data)["folds"] is None


def test_a_baseline_on_a_fold_is_a_run_of_its_own(settings, tmp_path):
    overrides = [*settings, f"output_dir={tmp_path}", "model=none", "baseline=logistic_regression"]
    overrides = [o for o in overrides if not o.startswith("model.")]
    cases = ([], ["data.folds=2", "data.fold=0"], ["data.folds=2", "data.fold=1"])
    assert len({run(compose([*overrides, *case])).main.folder for case in cases}) == 3


def test_a_start_that_knows_the_fold_is_refused(settings, tmp_path):
    overrides = [*settings, f"output_dir={tmp_path}", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    whole = run(compose(overrides)).main.folder
    own = run(compose([*overrides, "data.folds=2", "data.fold=1"])).main.folder
    later = [*overrides, "data.folds=2", "data.fold=1", "name=later"]
    with pytest.raises(UserError, match=r"knows images of data\.fold=1"):
        run(compose([*later, f"init_from={whole}/last.ckpt"]))
    second = run(compose([*later, f"init_from={own}/last.ckpt"])).main.folder
    with pytest.raises(UserError, match=r"knows images of data\.fold=0"):
        run(compose([*overrides, "data.folds=2", "data.fold=0", f"init_from={second}/last.ckpt"]))
