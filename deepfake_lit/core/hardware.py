"""The device, precision and memory format that this machine computes in, and how a result describes them."""

from dataclasses import asdict, dataclass

import torch

from deepfake_lit.core.system import cores, cpu_name


@dataclass(frozen=True)
class Hardware:
    """What a run computed on; results store it."""

    device: str  # cpu | cuda | mps
    name: str
    cores: int
    precision: str  # fp32 | bf16 | fp16
    channels_last: bool

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def lightning_precision(self) -> str:
        return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[self.precision]

    @property
    def dtype(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


def resolve(accelerator: str = "auto", precision: str = "auto", channels_last: bool | None = None) -> Hardware:
    """Choose the device, precision and memory format: as set, else what is fast here without a loss of accuracy.

    The default is bf16 on a GPU that has it and on a CPU with AVX512-bf16 or AMX instructions, else fp32. channels_last
    is the default on CUDA and wherever precision is not fp32: on a CPU in fp32 its weight gradients are slower.
    """
    device = _device(accelerator)
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    if channels_last is None:
        channels_last = precision != "fp32" or device == "cuda"
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    return Hardware(device, name, cores(), precision, channels_last)


def _device(accelerator: str) -> str:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
