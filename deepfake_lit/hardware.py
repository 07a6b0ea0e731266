"""What this machine computes in, and how a result describes it."""

import contextlib
import ctypes
import platform
import sys
from dataclasses import asdict, dataclass

import torch

from deepfake_lit.data.pool import cores
from deepfake_lit.schema import TrainerConfig


@dataclass(frozen=True)
class Hardware:
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


def resolve(cfg: TrainerConfig) -> Hardware:
    """The precision and memory format of a run: what is set, else what is fast here without a loss of accuracy.

    bf16 and channels_last on a GPU that has bf16, and on a CPU with AVX512-bf16 or AMX instructions; else fp32.
    On a CPU channels_last only comes with bf16: in fp32 its weight gradients are slower than contiguous ones.
    """
    device = _device(cfg.accelerator)
    precision = cfg.precision
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    channels_last = cfg.channels_last
    if channels_last is None:
        channels_last = precision != "fp32" or device == "cuda"
    name = torch.cuda.get_device_name() if device == "cuda" else _cpu_name()
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


def _cpu_name() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def keep_freed_memory() -> None:
    """Let glibc keep large freed buffers instead of returning them to the kernel after every step.

    A CPU training step frees and takes hundreds of MB; getting them from the kernel again costs a page fault for
    each 4 KiB. Other C libraries ignore this.
    """
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    _glibc("mallopt", mmap_threshold, 2**30)
    _glibc("mallopt", trim_threshold, 2**31 - 1)


def return_freed_memory() -> None:
    """Give what has been freed back to the kernel, so that the memory that is used can be measured."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # musl
        getattr(ctypes.CDLL(None), function)(*arguments)
