"""The CUDA path on a machine without a GPU, with torch's fake tensors.

They carry shape, dtype and device but no values. An operation that mixes devices raises, as on a real GPU, and so does
one that reads a value back to the host, which on a real GPU works but waits for it. What this cannot see: kernels that
do not exist or compute something else on a GPU.
"""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import deepfake_lit
from deepfake_lit.core.hardware import Hardware
from deepfake_lit.core.randomness import sample_keys
from deepfake_lit.data.datamodule import Batch, ImageDataModule, RawBatch
from deepfake_lit.data.preprocess import Preprocess
from deepfake_lit.models.build import build_model
from deepfake_lit.prediction.inference import logits
from deepfake_lit.settings.choices import CHANNELS, VIEWS
from deepfake_lit.settings.kinds import (
    AdamWConfig,
    ConstantConfig,
    DeepFakeNetConfig,
    ResidualCNNConfig,
    TimmConfig,
    VGG16Config,
    WhiteningCNNConfig,
)
from deepfake_lit.settings.schema import AugmentConfig, Config, DataConfig, LossConfig
from deepfake_lit.training.averaging import MovingAverage
from deepfake_lit.training.classifier import Classifier

B, K, SIZE = 4, 5, 64
DEVICES_MIXED = "same device|different devices"  # the words of newer and of older versions of torch
EVERYTHING = AugmentConfig(
    hflip=0.5,
    vflip=0.5,
    rotation=10,
    translate=0.1,
    scale=[0.9, 1.1],
    shear=5,
    perspective=0.3,
    fill=0.2,
    brightness=0.1,
    contrast=0.1,
    saturation=0.1,
    hue=0.1,
    blur_p=0.5,
    randaugment_ops=2,
    cutout_p=0.3,
    erasing_p=0.5,
    crop=3,
    rot90=0.5,
    window=32,
)
MODELS = [
    DeepFakeNetConfig(width=0.25),
    ResidualCNNConfig(width=0.125),
    VGG16Config(width=0.125),
    WhiteningCNNConfig(width=0.125),
    *(WhiteningCNNConfig(width=0.125, texture=texture) for texture in ("gram", "residuals", "spectrum")),
    TimmConfig(name="resnet10t"),
]


@pytest.fixture
def fake(monkeypatch):
    """Everything made inside is fake; "cuda" exists, with bf16."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *_, **__: True)
    with FakeTensorMode(allow_non_fake_inputs=True):  # networks are built outside: they enter with `.to("cuda")`
        yield


def on_cuda(*tensors: torch.Tensor) -> bool:
    return {t.device.type for t in tensors} == {"cuda"}


def raw_batch(device: str, transparent: bool = True) -> RawBatch:
    pixels = torch.zeros(B, 48, 48, 3, dtype=torch.uint8, device=device)
    numbers = torch.zeros(B, dtype=torch.int64, device=device)
    return RawBatch(pixels, pixels[..., 0] if transparent else None, numbers, numbers, 0, 0)


def classifier(model, channels: int = 3) -> Classifier:
    loss = LossConfig(label_smoothing=0.1)
    cfg = Config(model=model, loss=loss, optimizer=AdamWConfig(), scheduler=ConstantConfig())
    weights = [1.0, 1.0, 1.0, 1.0, 2.7]
    return Classifier(build_model(model, channels, K), cfg, list("abcde"), weights, channels_last=True)


def test_the_method_catches_a_tensor_on_the_cpu(fake, monkeypatch):
    on_gpu = torch.zeros(B, device="cuda")
    with pytest.raises(RuntimeError, match=DEVICES_MIXED):
        on_gpu + torch.arange(B)
    with pytest.raises(DataDependentOutputException):
        bool((on_gpu > 0).any())
    # The same in the package's code: a matrix that stayed on the CPU.
    monkeypatch.setattr("deepfake_lit.data.augment.identity", lambda like: torch.eye(3).expand(len(like), 3, 3))
    with pytest.raises(RuntimeError, match=DEVICES_MIXED):
        module_of("rgb", "cutmix_p").training_batches(raw_batch("cuda"))


def module_of(channels: str, mixing: str) -> ImageDataModule:
    count = CHANNELS[channels]
    cfg = DataConfig(batch_size=B, channels=channels, image_size=SIZE, mean=[0.4, 0.5, 0.6, 0.5][:count], std=[0.2])
    mixed = {"cutmix_p": 1.0, mixing: True} if mixing == "cutmix_within_class" else {mixing: 1.0}
    augment = dataclasses.replace(EVERYTHING, **mixed)
    classes = SimpleNamespace(class_names=list("abcde"))
    return ImageDataModule(classes, cfg, augment, 0, channels_last=True, device="cuda")


@pytest.mark.parametrize(
    ("channels", "transparent", "mixing"),
    [
        ("rgb", False, "cutmix_p"),
        ("rgba", True, "mixup_p"),
        ("rgba", False, "cutmix_within_class"),
        ("gray", True, "mixup_p"),
    ],
)
def test_batches_are_made_on_the_gpu(fake, channels, transparent, mixing):
    module, raw = module_of(channels, mixing), raw_batch("cuda", transparent)
    assert on_cuda(sample_keys(0, 0, raw.indices))
    for batch, side in ((module.training_batches(raw)[0], EVERYTHING.window), (module.evaluation_batch(raw), SIZE)):
        assert on_cuda(*batch)
        assert batch.images.shape == (B, CHANNELS[channels], side, side)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_images_kept_on_the_gpu(fake):
    module = module_of("rgba", "cutmix_p")
    pixels = np.zeros((9, 48, 48, 3), np.uint8)
    module.data.splits = {"train": SimpleNamespace(gather=lambda _: (pixels, pixels[..., 0]))}
    numbers = torch.zeros(B, dtype=torch.int64)
    batches = module.prepare([RawBatch(None, None, numbers, numbers, 0, step) for step in range(3)])
    assert [len(batch.labels) for batch in batches] == [B] * 3
    assert all(on_cuda(*batch) for batch in batches)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_training_step(fake, model):
    with torch.utils._python_dispatch._disable_current_modes():
        module = classifier(model)
    module.to("cuda")
    assert on_cuda(*module.parameters(), *module.buffers(), module.class_weights)
    # The validation metrics are left out: they count with bincount, whose shape depends on values.
    images = torch.zeros(B, 3, SIZE, SIZE, device="cuda").contiguous(memory_format=torch.channels_last)
    batch = Batch(images, torch.zeros(B, K, device="cuda"), torch.zeros(B, dtype=torch.int64, device="cuda"))
    with torch.autocast("cuda", torch.bfloat16):
        logits, loss = module(batch.images), module.training_step(batch, 0)
    last = torch.float32 if model.kind == "whitening_cnn" else torch.bfloat16  # its last layer is left out of autocast
    assert (logits.dtype, loss.dtype) == (last, torch.float32)
    assert on_cuda(logits, loss, module.train_sums)
    # No backward pass: torch's autograd engine asks the driver for the device.


@pytest.mark.parametrize("channels", CHANNELS)
def test_inference(fake, channels):
    """All views, from pixels on the CPU to probabilities on the CPU, with the network on the GPU between."""
    with torch.utils._python_dispatch._disable_current_modes():
        net = build_model(ResidualCNNConfig(width=0.125), CHANNELS[channels], K).eval()
        net.to(memory_format=torch.channels_last)
    net.to("cuda")
    seen = []
    net.register_forward_hook(lambda _, inputs, output: seen.extend((*inputs, output)))
    raw = raw_batch("cpu")
    preprocess = Preprocess(channels, SIZE, (0.5,), (0.5,))
    machine = Hardware("cuda", "fake", 1, "bf16", True)
    result = logits(net, preprocess, raw.pixels, raw.transparency, list(VIEWS), machine)
    assert (result.shape, result.dtype, result.device.type) == ((len(VIEWS), B, K), torch.float32, "cpu")
    assert len(seen) == 2 * len(VIEWS)
    assert on_cuda(*seen)
    assert {t.dtype for t in seen[1::2]} == {torch.bfloat16}
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in seen[::2])


def test_the_source_names_no_device_by_method():
    files = list(Path(deepfake_lit.__file__).parent.rglob("*.py"))
    assert len(files) > 20
    assert [str(f) for f in files if re.search(r"\.cuda\(", f.read_text())] == []


def test_an_average_lies_on_the_device_that_is_trained_on():
    """Lightning sets callbacks up before it moves the module there."""
    average = MovingAverage(0.9)
    module = LightningModule()
    module.layer = torch.nn.Linear(2, 2)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    average.setup(trainer, module, "fit")
    assert {p.device.type for p in average._average_model.module.parameters()} == {"meta"}
    assert {p.device.type for p in module.parameters()} == {"cpu"}
