"""What the tests of explanations share."""

from pathlib import Path

import pytest
from helpers.tiny_data import write_healthy

from deepfake_lit.explain.explainer import Explainer
from deepfake_lit.settings.commands import ExplainerConfig
from deepfake_lit.settings.schema import DataConfig

KEPT = Path(__file__).parents[1] / "kept" / "network.ckpt"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Labelled images like those that the kept network was trained on: 16x16, three classes."""
    return write_healthy(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def file(data) -> Path:
    return data / "validation" / "v00.png"


@pytest.fixture(scope="module")
def checkpoint() -> str:
    return str(KEPT)


@pytest.fixture(scope="module")
def explainer(data, checkpoint, tmp_path_factory) -> Explainer:
    data = DataConfig(str(data), cache_dir=str(tmp_path_factory.mktemp("cache")))
    return Explainer(checkpoint, ExplainerConfig(data=data, precision="fp32"))
