"""From a network and decoded pixels to logits, with test-time augmentation."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from deepfake_lit.core.hardware import Hardware
from deepfake_lit.data.images import SplitImages
from deepfake_lit.data.pool import Places
from deepfake_lit.data.preprocess import Preprocess, tensors
from deepfake_lit.data.views import apply_view
from deepfake_lit.prediction.member import Member


@torch.inference_mode()
def logits(
    net: nn.Module,
    preprocess: Preprocess,
    pixels: Tensor,
    transparency: Tensor | None,
    views: list[str],
    machine: Hardware,
) -> Tensor:
    """Return the logits of each view of a batch, float32 (V, B, K), on the CPU.

    Args:
        net: in eval mode, on the machine's device.
        pixels: uint8 (B, H, W, 3).
        transparency: uint8 (B, H, W) or None.
    """
    device = torch.device(machine.device)
    memory_format = torch.channels_last if machine.channels_last else torch.contiguous_format
    images = preprocess(
        pixels.to(device, non_blocking=True),
        None if transparency is None else transparency.to(device, non_blocking=True),
    )
    outputs = []
    for view in views:
        with torch.autocast(device.type, machine.dtype, enabled=machine.dtype != torch.float32):
            outputs.append(net(apply_view(view, images).contiguous(memory_format=memory_format)).float())
    return torch.stack(outputs).cpu()


def look(
    member: Member, pixels: Tensor, transparency: Tensor | None, views: list[str], machine: Hardware
) -> tuple[Tensor, Tensor | None]:
    """Return a member's logits, float32 (V, B, K), and its features, float32 (V, B, D), on the CPU.

    Features are the input of its last linear layer; None for what is not one network with such a layer.
    """
    if not has_features(member):
        return member.logits(pixels, transparency, views, machine), None
    features: list[Tensor] = []
    hook = last_linear(member.net).register_forward_pre_hook(
        lambda module, inputs: features.append(inputs[0].float().cpu())
    )
    try:
        found = member.logits(pixels, transparency, views, machine)
    finally:
        hook.remove()
    return found, torch.stack(features)


def has_features(member: Member) -> bool:
    """Tell whether `look` returns features."""
    return member.net is not None and last_linear(member.net) is not None


def last_linear(net: nn.Module) -> nn.Linear | None:
    """Return the last linear layer of a network, which gives its logits."""
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def split_batches(split: SplitImages, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield a split's images in order, as `logits` takes them."""
    for [batch] in split_windows(split, size, (None,)):
        yield batch


def split_windows(split: SplitImages, size: int, places: Places) -> Iterator[list[tuple[Tensor, Tensor | None]]]:
    """Yield a split's images in order: for each place, their windows there as `logits` takes them."""
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        yield [tensors(*split.gather(rows, None if place is None else np.array(place))) for place in places]
