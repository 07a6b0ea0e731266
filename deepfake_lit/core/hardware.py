"""The device, precision and memory format that this machine computes in, and how a result describes them."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from deepfake_lit.core.errors import OutOfMemory, UserError, one_of
from deepfake_lit.core.system import cores, cpu_name

# what a user may ask for -> the devices that it may mean, first choice first
ACCELERATORS = {
    "auto": ("cuda", "mps", "cpu"),
    "cpu": ("cpu",),
    "gpu": ("cuda", "mps"),
    "cuda": ("cuda",),
    "mps": ("mps",),
}
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


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

    Raises:
        UserError: there is no such device here, or it does not compute in this precision.
    """
    one_of("precision", precision, PRECISIONS)
    device = _device(accelerator)
    if precision == "fp16" and device == "cpu":
        raise UserError("precision=fp16 needs a GPU, and this would run on the CPU; choose bf16, fp32 or auto")
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    if channels_last is None:
        channels_last = precision != "fp32" or device == "cuda"
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    return Hardware(device, name, cores(), precision, channels_last)


def _device(accelerator: str) -> str:
    one_of("accelerator", accelerator, ACCELERATORS)
    there = _available()
    for device in ACCELERATORS[accelerator]:
        if device in there:
            return device
    raise UserError(
        f"accelerator={accelerator}: torch finds no such device on this machine; leave the setting out, or choose cpu"
    )


def _available() -> set[str]:
    """Return the kinds of device that torch finds on this machine."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return {"cpu", *(device for device, there in found.items() if there)}


def check_devices(devices: Any, device: str) -> None:
    """Check the setting `trainer.devices` against the devices of this machine. On a CPU a device is a process.

    Raises:
        UserError: it is neither a number of devices nor a list of them, or there are fewer.
    """
    if devices == "auto":
        return
    name, text = f"trainer.devices={devices}", str(devices)
    listed = re.fullmatch(r"\[?(\d+(?:, ?\d+)*,?)\]?", text) if "[" in text or "," in text else None
    if listed is None and not re.fullmatch(r"-1|[1-9]\d*", text):
        raise UserError(f"{name} must be auto, a number of devices, or a list of GPUs such as [0,1]")
    if device == "cpu":
        if listed or text == "-1":
            raise UserError(f"{name} names GPUs, and this would run on the CPU; give a number of processes")
        return
    there = torch.cuda.device_count() if device == "cuda" else 1
    wanted = max(int(n) for n in re.findall(r"\d+", listed[1])) + 1 if listed else int(text)
    if wanted > there:
        raise UserError(f"{name}: this machine has {there} of them; give at most {there}, or auto for one")


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turn torch's error that the GPU's memory does not suffice into one line with the remedy.

    Raises:
        OutOfMemory: it does not.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = ". ".join(str(error).split(". ")[:2]).rstrip(".")  # what follows is about the allocator
        raise OutOfMemory(f"{said}; lower data.batch_size, or let it have the GPU alone") from None


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
