"""Where report A's code did something else than its text, the right behaviour (REPORTS: "the reports contradict
themselves", 5), and report A's settings as they reach the training step.

Its frozen members' batch-norm statistics: test_ensemble.
"""

from pathlib import Path

import pytest
import torch

from deepfake_lit.core.hardware import resolve
from deepfake_lit.data.datamodule import ImageDataModule, RawBatch
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.build import build_classifier
from deepfake_lit.training.callbacks import DerivedRandomness
from deepfake_lit.training.losses import resolve_class_weights
from deepfake_lit.training.optimizers import build_optimizer
from deepfake_lit.training.run import open_run_data, run

EXPERIMENTS = ["deepfake_net", "deepfake_net_2", "vgg16"]


@pytest.fixture
def small(settings, tmp_path):
    kept = [s for s in settings if s.startswith(("data.root", "data.cache", "trainer.progress"))]
    return [*kept, f"output_dir={tmp_path}", "data.image_size=32", "model.width=0.125"]


@pytest.mark.parametrize("experiment", ["deepfake_net_2", "vgg16"])
def test_the_plateau_watches_validation_accuracy_and_takes_the_largest_for_the_best(experiment, small, monkeypatch):
    """The report's was of mode "max" and was stepped with the training loss: as that falls, it halves the learning
    rate every three epochs. Here it is halved when accuracy has not been better for more than two epochs."""
    seen = []
    accuracies = iter([0.2, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6])

    def validated(self):
        self.log_dict({"val/accuracy": next(accuracies), "val/loss": 1.0, "val/f1": 0.5, "val/calibration_error": 0.1})

    monkeypatch.setattr("deepfake_lit.training.classifier.Classifier.on_validation_epoch_end", validated)
    monkeypatch.setattr(
        DerivedRandomness,
        "on_train_epoch_start",
        lambda self, trainer, module: seen.append(trainer.optimizers[0].param_groups[0]["lr"]),
        raising=False,
    )
    run(compose([*small, f"experiment={experiment}", "trainer.max_epochs=7", "trainer.limit_train_batches=1"]))
    lr = seen[0]
    assert seen == pytest.approx([lr] * 6 + [lr / 2])


def test_a_stage_steps_the_parameters_of_its_own_network(small, tmp_path):
    """One of the report's stages stepped an optimizer that held another model's parameters: nothing was trained."""
    first = run(compose([*small, "experiment=deepfake_net", "trainer.max_epochs=1"])).main
    start = Path(first.folder) / "best.ckpt"
    cfg = compose([*small, "experiment=deepfake_net_2_staged", f"init_from={start}", "trainer.max_epochs=1"])
    module = build_classifier(cfg, open_run_data(cfg), resolve())
    held = {id(p) for group in build_optimizer(cfg.optimizer, module.net).param_groups for p in group["params"]}
    assert held == {id(p) for p in module.net.parameters()}
    before = load_trained(start).net.state_dict()
    after = load_trained(Path(run(cfg).main.folder) / "last.ckpt").net.state_dict()
    moved = [not torch.equal(before[name], after[name]) for name, _ in module.net.named_parameters()]
    assert all(moved)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_validation_is_normalised_as_training_is(experiment, small):
    """One of the report's validation transforms left the normalisation out."""
    cfg = compose([*small, f"experiment={experiment}", "augment.cutmix_p=0", "augment.mixup_p=0"])
    cfg.augment = compose([*small]).augment  # none: what is left is preprocessing
    data = open_run_data(cfg)
    module = ImageDataModule(data, cfg.data, cfg.augment, cfg.seed)
    pixels, clear = data.splits["train"].gather(slice(0, 4))
    batch = RawBatch(torch.from_numpy(pixels), clear, torch.arange(4), torch.arange(4), 0, 0)
    trained, evaluated = module.training_batches(batch)[0].images, module.evaluation_batch(batch).images
    torch.testing.assert_close(trained, evaluated, rtol=0, atol=0)
    expected = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    torch.testing.assert_close(evaluated, expected)


@pytest.mark.parametrize(
    ("choice", "weights", "sampling"),
    [
        ("equal", None, None),
        ("class_4_by_2.5", [1, 1, 1, 1, 2.5], None),
        ("class_4_by_2.7", [1, 1, 1, 1, 2.7], None),
        ("classes_0_and_4", [1.9, 1, 1, 1, 1.7], None),
        ("sampler", None, [1, 1.4, 1, 1, 2]),
    ],
)
@pytest.mark.parametrize("experiment", ["deepfake_net", "deepfake_net_2", "residual_cnn"])
def test_the_sweep_over_class_weights_has_report_a_s_settings(choice, weights, sampling, experiment):
    cfg = compose(["data.root=x", f"experiment={experiment}", f"class_weights={choice}"])
    assert resolve_class_weights(cfg.loss.class_weights, [10] * 5) == weights
    assert cfg.data.class_sampling == sampling


def test_the_ensemble_s_head_is_report_a_s():
    cfg = compose(["data.root=x", "experiment=ensemble", "model.members=[a,b]"])
    assert cfg.loss.class_weights == [1.9, 1, 1, 1, 1.7]
    assert (cfg.model.combine, cfg.model.hidden, cfg.model.dropout) == ("head", 64, 0.3)
    from deepfake_lit.models.ensemble import build_combiner

    shapes = [tuple(p.shape) for p in build_combiner(cfg.model, 2, 5).parameters()]
    assert shapes == [(64, 10), (64,), (5, 64), (5,)]


def test_a_staged_run_keeps_nothing_of_the_first_one_s_optimizer(small):
    first = run(compose([*small, "experiment=deepfake_net", "trainer.max_epochs=1"])).main
    start = Path(first.folder) / "best.ckpt"
    staged = run(
        compose([*small, "experiment=deepfake_net_2_staged", f"init_from={start}", "trainer.max_epochs=1"])
    ).main
    state = read_checkpoint(Path(staged.folder) / "last.ckpt")["optimizer_states"][0]
    assert {float(s["step"]) for s in state["state"].values()} == {4.0}  # Adam's, of this stage's four steps alone
