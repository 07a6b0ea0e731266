"""A small set of the real images, where they are at hand."""

from pathlib import Path

import pytest

from deepfake_lit.data.audit import audit
from deepfake_lit.data.images import open_data
from deepfake_lit.prediction.predict import PredictConfig, predict
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import DataConfig
from deepfake_lit.training.run import run


@pytest.mark.slow
def test_the_images_are_what_the_reports_say(real_images, tmp_path):
    data = open_data(DataConfig(root=str(real_images)), tmp_path)
    assert data.size == (100, 100)
    assert data.class_names == ["0", "1", "2", "3", "4"]
    assert [len(s) for s in data.splits.values()] == [100, 100]
    assert data.problems.kinds == []
    assert (
        "RGBA carries no image information"
        in audit(DataConfig(root=str(real_images)), tmp_path, tmp_path / "audit").findings["alpha"]["verdict"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["deepfake_net", "deepfake_net_2", "vgg16", "residual_cnn"])
def test_every_experiment_trains_and_predicts(experiment, real_images, tmp_path):
    slim = ["model.width=0.125", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"]
    settings = [f"experiment={experiment}", f"data.root={real_images}", f"output_dir={tmp_path}", *slim]
    result = run(compose(settings)).main
    assert result.best["images"] == 100
    checkpoint = str(Path(result.folder) / "last.ckpt")
    found = predict([checkpoint], PredictConfig(images=str(real_images / "validation"), output=str(tmp_path / "p")))
    assert found.probabilities.shape == (100, 5)
    assert found.unreadable == []
