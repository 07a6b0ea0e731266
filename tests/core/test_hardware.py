"""Precision and memory format: what the machine is good at, unless set."""

import json
from pathlib import Path

import pytest

from deepfake_lit.core import hardware
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run


@pytest.mark.parametrize(
    ("device", "has_bf16", "settings", "precision", "channels_last"),
    [
        ("cpu", False, {}, "fp32", False),
        ("cpu", True, {}, "bf16", True),
        ("cuda", True, {}, "bf16", True),
        ("cuda", False, {}, "fp32", True),
        ("mps", False, {}, "fp32", False),
        ("cpu", True, {"precision": "fp32"}, "fp32", False),
        ("cpu", False, {"precision": "bf16"}, "bf16", True),
        ("cpu", True, {"channels_last": False}, "bf16", False),
        ("cuda", True, {"precision": "fp16"}, "fp16", True),
    ],
)
def test_defaults_follow_the_machine(device, has_bf16, settings, precision, channels_last, monkeypatch):
    monkeypatch.setattr(hardware, "_device", lambda _: device)
    monkeypatch.setattr(hardware, "_has_bf16", lambda _: has_bf16)
    monkeypatch.setattr(hardware.torch.cuda, "get_device_name", lambda: "a GPU")
    machine = hardware.resolve(**settings)
    assert (machine.precision, machine.channels_last) == (precision, channels_last)


def test_bf16_and_channels_last_train_on_any_cpu(samples, tmp_path):
    """Slow without the instructions, but the path that machines with them take by default."""
    settings = [f"data.root={samples}", f"output_dir={tmp_path}", "model.width=0.125", "trainer.max_epochs=1"]
    result = run(compose([*settings, "trainer.precision=bf16", "augment.hflip=0.5"])).main
    stored = json.loads((Path(result.folder) / "result.json").read_text())
    assert (stored["hardware"]["precision"], stored["hardware"]["channels_last"]) == ("bf16", True)
    assert 0 < stored["last"]["log_loss"] < 5
