"""Training augmentation of whole batches on the batch's device, with independent random parameters per sample.

The order is fixed: a window, quarter turns, shifts, flips, one warp (rotation, translation, scale, shear, perspective),
RandAugment, colour jitter, blur, cut-out, erasing; after normalisation CutMix or MixUp. Geometry and occlusion change
every plane; colour operations do not change alpha.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from deepfake_lit.core.randomness import chance, python_random, uniform
from deepfake_lit.data import colour
from deepfake_lit.data.channels import colour_planes
from deepfake_lit.data.randaugment import randaugment
from deepfake_lit.data.warp import affine, identity, perspective, warp
from deepfake_lit.settings.schema import AugmentConfig


def augment(images: Tensor, keys: Tensor, cfg: AugmentConfig, batch_size: int | None = None) -> Tensor:
    """Apply all configured augmentations except CutMix and MixUp.

    An image looks the same with whatever others it is augmented, except for a shift that a batch shares.

    Args:
        images: float (B, C, H, W) in [0, 1], before normalisation.
        keys: int64 (B,) from `randomness.sample_keys`.
        batch_size: number of images of a batch, if these are of several; None: they are one.

    Returns:
        Images of the same shape (with a window: of the window's side) and range; `images` itself is not changed.
    """
    if cfg.window:
        images = _window(images, keys, cfg.window)
    if cfg.rot90:
        images = _turned(images, keys, cfg.rot90)
    if cfg.crop:
        images = _shifted(images, keys, cfg.crop, batch_size or len(images) if cfg.crop_shared else None)
    matrices = _matrices(keys, cfg, *images.shape[-2:])
    for name, axis in (("hflip", 0), ("vflip", 1)):
        if not (p := getattr(cfg, name)):
            continue
        flipped = chance(keys, name, p)
        if matrices is None:
            images = torch.where(_each(flipped), images.flip(-1 - axis), images)
        else:  # as part of the warp: flipping the images first means flipping the matrices last
            matrices[:, axis] *= torch.where(flipped, -1.0, 1.0)[:, None]
    if matrices is not None:
        images = warp(images, matrices, cfg.interpolation, cfg.fill, _projective(cfg))
    if cfg.randaugment_ops:
        images = randaugment(images, keys, cfg.randaugment_ops, cfg.randaugment_magnitude, cfg.interpolation, cfg.fill)
    planes = colour_planes(images.shape[1])
    rgb = _blur(_jitter(images[:, :planes], keys, cfg), keys, cfg)
    images = rgb if planes == images.shape[1] else torch.cat([rgb, images[:, planes:]], 1)
    return _occlude(images, keys, cfg)


def _window(images: Tensor, keys: Tensor, side: int) -> Tensor:
    height, width = images.shape[-2:]
    top = (uniform(keys, "window_y") * (height - side + 1)).long()
    left = (uniform(keys, "window_x") * (width - side + 1)).long()
    return _windows(images, top, left, side, side)


def _windows(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Crop each image to (height, width), starting at its own row and column, int64 (B,)."""
    rows = torch.arange(height, device=images.device) + top[:, None]
    columns = torch.arange(width, device=images.device) + left[:, None]
    batch, plane = (torch.arange(n, device=images.device) for n in images.shape[:2])
    return images[batch[:, None, None, None], plane[:, None, None], rows[:, None, :, None], columns[:, None, None]]


def _turned(images: Tensor, keys: Tensor, p: float) -> Tensor:
    """Turn each image by 90, 180 or 270 degrees with probability p; images must be square."""
    turns = torch.where(chance(keys, "rot90", p), 1 + (uniform(keys, "turns") * 3).long(), 0)
    turned = images.clone()
    for count in (1, 2, 3):
        turned = torch.where(_each(turns == count), images.rot90(count, (-2, -1)), turned)
    return turned


def _shifted(images: Tensor, keys: Tensor, most: int, shared: int | None) -> Tensor:
    """Shift each image by -most..most pixels along both axes, with its border mirrored.

    Args:
        shared: shift so many images, which follow each other, by the shift of the first of them; None: each by its own.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (most,) * 4, mode="reflect")
    down, right = ((uniform(keys, f"crop_{axis}") * (2 * most + 1)).long() for axis in "yx")
    if shared and shared < len(images):
        down, right = (shift[::shared].repeat_interleave(shared)[: len(images)] for shift in (down, right))
    elif shared:
        rows = (torch.arange(height, device=images.device) + down[0])[:, None]
        return padded[:, :, rows, torch.arange(width, device=images.device) + right[0]]
    return _windows(padded, down, right, height, width)


def _each(per_sample: Tensor) -> Tensor:
    return per_sample.view(-1, 1, 1, 1)


def _projective(cfg: AugmentConfig) -> bool:
    return cfg.perspective > 0 and cfg.perspective_p > 0


def _matrices(keys: Tensor, cfg: AugmentConfig, height: int, width: int) -> Tensor | None:
    """Return one matrix per sample for all geometry except flips, or None if no such geometry is configured."""
    matrices = None
    if cfg.rotation or cfg.translate or cfg.shear or cfg.scale != [1.0, 1.0]:
        matrices = affine(
            uniform(keys, "rotation", -cfg.rotation, cfg.rotation),
            uniform(keys, "translate_x", -cfg.translate, cfg.translate) * width,
            uniform(keys, "translate_y", -cfg.translate, cfg.translate) * height,
            uniform(keys, "scale", *cfg.scale),
            uniform(keys, "shear_x", -cfg.shear, cfg.shear),
            uniform(keys, "shear_y", -cfg.shear, cfg.shear),
        )
    if _projective(cfg):
        # As in torchvision, each corner moves inwards by at most half of `perspective` times the side.
        inward_x = torch.stack([uniform(keys, f"corner_x/{i}") for i in range(4)], 1) * (cfg.perspective * width / 2)
        inward_y = torch.stack([uniform(keys, f"corner_y/{i}") for i in range(4)], 1) * (cfg.perspective * height / 2)
        x = torch.stack([inward_x[:, 0], width - 1 - inward_x[:, 1], width - 1 - inward_x[:, 2], inward_x[:, 3]], 1)
        y = torch.stack([inward_y[:, 0], inward_y[:, 1], height - 1 - inward_y[:, 2], height - 1 - inward_y[:, 3]], 1)
        moved = perspective(torch.stack([x, y], -1), height, width)
        applied = chance(keys, "perspective", cfg.perspective_p).view(-1, 1, 1)
        moved = torch.where(applied, moved, identity(keys))
        matrices = moved if matrices is None else matrices @ moved
    return matrices


def _jitter(rgb: Tensor, keys: Tensor, cfg: AugmentConfig) -> Tensor:
    for name in ("brightness", "contrast", "saturation"):
        if amount := getattr(cfg, name):
            rgb = getattr(colour, name)(rgb, uniform(keys, name, max(0.0, 1 - amount), 1 + amount))
    if cfg.hue:
        rgb = colour.hue(rgb, uniform(keys, "hue", -cfg.hue, cfg.hue))
    return rgb


def _blur(rgb: Tensor, keys: Tensor, cfg: AugmentConfig) -> Tensor:
    if not cfg.blur_p:
        return rgb
    blurred = colour.gaussian_blur(rgb, uniform(keys, "blur_sigma", *cfg.blur_sigma), cfg.blur_kernel)
    return torch.where(_each(chance(keys, "blur", cfg.blur_p)), blurred, rgb)


def _occlude(images: Tensor, keys: Tensor, cfg: AugmentConfig) -> Tensor:
    height, width = images.shape[-2:]
    if cfg.cutout_p:
        side = min(cfg.cutout_size, height, width)
        box = torch.zeros(height, width, dtype=torch.bool, device=images.device)
        top, left = (height - side) // 2, (width - side) // 2
        box[top : top + side, left : left + side] = True
        images = torch.where(_each(chance(keys, "cutout", cfg.cutout_p)) & box, cfg.occlusion_fill, images)
    if cfg.erasing_p:
        box = _each(chance(keys, "erasing", cfg.erasing_p)) & _boxes(keys, cfg, height, width)
        images = torch.where(box, cfg.occlusion_fill, images)
    return images


def _boxes(keys: Tensor, cfg: AugmentConfig, height: int, width: int) -> Tensor:
    """Return bool (B, 1, H, W): one random rectangle per sample.

    Area and aspect ratio are drawn as in Zhong et al. (arXiv 1708.04896). A side that is too long for the image is
    cut to the image; the paper draws again instead.
    """
    area = uniform(keys, "erasing_area", *cfg.erasing_area) * (height * width)
    ratio = torch.exp(uniform(keys, "erasing_ratio", *(math.log(r) for r in cfg.erasing_ratio)))
    h = torch.round(torch.sqrt(area * ratio)).clamp(1, height)
    w = torch.round(torch.sqrt(area / ratio)).clamp(1, width)
    top = torch.floor(uniform(keys, "erasing_top") * (height - h + 1)).view(-1, 1, 1, 1)
    left = torch.floor(uniform(keys, "erasing_left") * (width - w + 1)).view(-1, 1, 1, 1)
    y = torch.arange(height, device=keys.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=keys.device).view(1, 1, 1, -1)
    return (y >= top) & (y < top + _each(h)) & (x >= left) & (x < left + _each(w))


def mix_batch(
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    cfg: AugmentConfig,
    seed: int,
    epoch: int,
    step: int,
    outliers: Tensor | None = None,
):
    """Apply CutMix (Yun et al. 2019, arXiv 1905.04899), MixUp (Zhang et al. 2018, arXiv 1710.09412) or neither.

    The choice, the mixing ratio and CutMix's box are drawn once per batch, on the host, from (seed, epoch, step), so
    the device never waits. Each image is mixed with its neighbour, since a batch is already in random order. CutMix can
    use the next image of the same class instead; the label then stays whole. From epoch `mix_epochs` on nothing is
    mixed, so that the last epochs train on whole images.

    Args:
        images: float (B, C, H, W), normalised.
        labels: int64 (B,).
        outliers: bool (B,), images of no class: their targets are the same for all classes. None: there are none.

    Returns:
        (images, soft targets float32 (B, K)).
    """
    targets = F.one_hot(labels, num_classes).to(torch.float32)
    if outliers is not None:
        targets = torch.where(outliers[:, None], 1 / num_classes, targets)
    if cfg.mix_epochs is not None and epoch >= cfg.mix_epochs:
        return images, targets
    random = python_random(seed, epoch, step, "mix")
    choice, following = random.random(), None

    def partners(batch: Tensor) -> Tensor:
        return batch.roll(1, 0) if following is None else batch[following]

    if choice < cfg.cutmix_p:
        ratio = random.betavariate(cfg.cutmix_alpha, cfg.cutmix_alpha)
        height, width = images.shape[-2:]
        top, bottom, left, right = cutmix_box(ratio, random.randrange(height), random.randrange(width), height, width)
        if cfg.cutmix_within_class:
            following = next_of_class(labels)
        images, inner = images.clone(), images[..., top:bottom, left:right]
        images[..., top:bottom, left:right] = partners(inner)
        ratio = 1 - (bottom - top) * (right - left) / (height * width)
    elif choice < cfg.cutmix_p + cfg.mixup_p:
        ratio = random.betavariate(cfg.mixup_alpha, cfg.mixup_alpha)
        images = torch.lerp(partners(images), images, ratio)
    else:
        return images, targets
    return images, torch.lerp(partners(targets), targets, ratio)


def next_of_class(labels: Tensor) -> Tensor:
    """Return int64 (B,): the position of the next image of the same class; the last one is followed by the first."""
    ordered, order = labels.sort(stable=True)
    first = torch.searchsorted(ordered, ordered)
    last = torch.searchsorted(ordered, ordered, right=True) - 1
    place = torch.arange(len(labels), device=labels.device)
    following = torch.where(place == last, first, place + 1)
    return torch.empty_like(order).scatter(0, order, order[following])


def cutmix_box(ratio: float, centre_y: int, centre_x: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of a box with the share 1 - ratio of the area, clipped at the border."""
    half = 0.5 * math.sqrt(1 - ratio)
    half_h, half_w = int(half * height), int(half * width)
    return (
        max(centre_y - half_h, 0),
        min(centre_y + half_h, height),
        max(centre_x - half_w, 0),
        min(centre_x + half_w, width),
    )
