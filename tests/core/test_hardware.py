"""Precision and memory format: what the machine is good at, unless set."""

import json
from pathlib import Path

import pytest

from deepfake_lit.core import hardware
from deepfake_lit.core.errors import UserError
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


@pytest.mark.parametrize(
    ("accelerator", "cuda", "mps", "device"),
    [
        ("auto", True, False, "cuda"),
        ("auto", False, True, "mps"),
        ("auto", False, False, "cpu"),
        ("gpu", True, True, "cuda"),
        ("gpu", False, True, "mps"),
        ("gpu", False, False, None),
        ("cuda", False, True, None),
        ("mps", True, False, None),
        ("cpu", True, True, "cpu"),
        ("tpu", True, True, None),
    ],
)
def test_a_device_is_what_was_asked_for_or_refused(accelerator, cuda, mps, device, monkeypatch):
    monkeypatch.setattr(hardware, "_available", lambda: {"cpu", *["cuda"] * cuda, *["mps"] * mps})
    if device:
        assert hardware._device(accelerator) == device
        return
    with pytest.raises(UserError, match="accelerator"):
        hardware._device(accelerator)


@pytest.mark.parametrize("devices", ["auto", 1, 2, "2", -1, [0, 1], "[1]", "0,1", [1]])
def test_devices_that_are_there(devices, monkeypatch):
    monkeypatch.setattr(hardware.torch.cuda, "device_count", lambda: 2)
    hardware.check_devices(devices, "cuda")


@pytest.mark.parametrize("devices", [3, "3", [0, 2], "0,1,2", 0, -2, 1.5, True, "many", []])
def test_devices_that_are_not(devices, monkeypatch):
    monkeypatch.setattr(hardware.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"trainer\.devices="):
        hardware.check_devices(devices, "cuda")


@pytest.mark.parametrize(("devices", "fits"), [("auto", True), (2, True), (64, True), (-1, False), ([0], False)])
def test_on_a_cpu_devices_are_processes(devices, fits):
    if fits:
        hardware.check_devices(devices, "cpu")
        return
    with pytest.raises(UserError, match="names GPUs"):
        hardware.check_devices(devices, "cpu")
