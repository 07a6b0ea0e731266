"""Random numbers that are computed from their place in the run, without a generator's state.

Every random number of a run is a function of (seed, epoch, sample or step, stream). So a checkpoint stores no
generator, a sample's augmentation does not depend on its batch, worker or device, and a resumed run equals one that
never stopped. The mixing function is the finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014).
"""

import random

import torch
from torch import Tensor

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    """Apply splitmix64's finaliser to a Python integer: 64 bits in, 64 bits out."""
    x &= MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def derive(*parts: int | str) -> int:
    """Return a 64-bit number for a path of integers and names, such as derive(seed, epoch, "shuffle")."""
    state = 0
    for part in parts:
        if isinstance(part, str):
            part = int.from_bytes(part.encode(), "big")
        while True:  # 64 bits at a time, so that no part of a long name is lost
            state = mix(state + GOLDEN + (part & MASK))
            part >>= 64
            if part <= 0:
                break
    return state


def seed_torch(device: torch.device, *parts: int | str) -> None:
    """Seed torch's generators of the CPU and of one device.

    `torch.manual_seed` would also queue a seed, with a stack trace, for every other kind of device."""
    seed = derive(*parts) >> 1
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def python_random(*parts: int | str) -> random.Random:
    """Return a Python generator that is seeded with `derive`."""
    return random.Random(derive(*parts))


def _signed(x: int) -> int:
    return x - 2**64 if x >= 2**63 else x


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift int64 right logically; torch's own shift is arithmetic."""
    return (x >> bits) & (2 ** (64 - bits) - 1)


def mix_tensor(x: Tensor) -> Tensor:
    """Apply `mix` to an int64 tensor on any device; products wrap around."""
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def sample_keys(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Return one int64 key per sample, on the indices' device.

    Args:
        indices: int64 (B,), positions in the data set.
    """
    return mix_tensor(indices * _signed(GOLDEN) + _signed(derive(seed, epoch, "sample")))


def uniform(keys: Tensor, stream: str, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return float32 (B,), uniform between low and high, one per key; streams of different names are independent.

    In [0, 1] the value 1 never occurs; with other limits rounding can reach `high`.
    """
    bits = _shift(mix_tensor(keys + _signed(derive(stream))), 40)  # 24 bits, which float32 holds exactly
    return bits.to(torch.float32) * (2.0**-24 * (high - low)) + low


def chance(keys: Tensor, stream: str, p: float) -> Tensor:
    """Return bool (B,), each True with probability p."""
    return uniform(keys, stream) < p
