"""Geometry of whole batches: one resampling for all of rotation, translation, scale, shear and perspective.

Matrices are (B, 3, 3) and map a pixel of the output to where it comes from in the input, in pixels from the image's
centre with y pointing down - the convention behind torchvision's `affine` and `perspective`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def identity(like: Tensor) -> Tensor:
    """(B, 3, 3) float32 for keys or any tensor of B entries."""
    return torch.eye(3, device=like.device).expand(len(like), 3, 3)


def _matrix(*entries: Tensor) -> Tensor:
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def affine(
    angle: Tensor, translate_x: Tensor, translate_y: Tensor, scale: Tensor, shear_x: Tensor, shear_y: Tensor
) -> Tensor:
    """As torchvision's `affine` about the image's centre.

    Args:
        angle, shear_x, shear_y: degrees (B,), clockwise.
        translate_x, translate_y: pixels (B,), right and down.
        scale: factor (B,).
    """
    rotation, sx, sy = (torch.deg2rad(t) for t in (angle, shear_x, shear_y))
    a = torch.cos(rotation - sy) / torch.cos(sy)
    b = -a * torch.tan(sx) - torch.sin(rotation)
    c = torch.sin(rotation - sy) / torch.cos(sy)
    d = -c * torch.tan(sx) + torch.cos(rotation)
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale  # the inverse; the forward matrix has determinant 1
    return _matrix(
        a, b, -(a * translate_x + b * translate_y), c, d, -(c * translate_x + d * translate_y), zero, zero, one
    )


def perspective(corners: Tensor, height: int, width: int) -> Tensor:
    """The map that brings the image's four corners to given places, as torchvision's `perspective`.

    Args:
        corners: (B, 4, 2), new (x, y) of the top left, top right, bottom right and bottom left corner, in pixels
            from the top left one, which is (0, 0); the bottom right one is (width - 1, height - 1).
    """
    x, y = corners.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    old_x = torch.stack([zero[:, 0], one[:, 0] * (width - 1), one[:, 0] * (width - 1), zero[:, 0]], 1)
    old_y = torch.stack([zero[:, 0], zero[:, 0], one[:, 0] * (height - 1), one[:, 0] * (height - 1)], 1)
    rows_x = torch.stack([x, y, one, zero, zero, zero, -old_x * x, -old_x * y], -1)
    rows_y = torch.stack([zero, zero, zero, x, y, one, -old_y * x, -old_y * y], -1)
    system, target = torch.cat([rows_x, rows_y], 1), torch.cat([old_x, old_y], 1)
    # In float64: coefficients of pixels squared beside ones. solve_ex does not wait for the device, as solve does.
    solution = torch.linalg.solve_ex(system.double(), target.double())[0].float()
    from_corner = torch.cat([solution, one[:, :1]], 1).unflatten(-1, (3, 3))
    # torchvision evaluates these coefficients at pixel centres (x + 0.5) in a frame of edges; so does `warp`.
    to_corner, to_centre = torch.eye(3, device=corners.device), torch.eye(3, device=corners.device)
    to_corner[0, 2], to_corner[1, 2] = width / 2, height / 2
    to_centre[0, 2], to_centre[1, 2] = -width / 2, -height / 2
    return to_centre @ from_corner @ to_corner


def warp(images: Tensor, matrices: Tensor, interpolation: str, fill: float) -> Tensor:
    """Resample every image by its matrix.

    Args:
        images: float (B, C, H, W).
        matrices: (B, 3, 3), output pixel to input pixel.
        interpolation: "bilinear" or "nearest".
        fill: value of what lies outside the input.
    """
    height, width = images.shape[-2:]
    ys = torch.arange(height, device=images.device, dtype=torch.float32) + (0.5 - height / 2)
    xs = torch.arange(width, device=images.device, dtype=torch.float32) + (0.5 - width / 2)
    x, y = xs[None, None, :], ys[None, :, None]
    m = matrices[:, :, :, None, None]
    w = m[:, 2, 0] * x + m[:, 2, 1] * y + m[:, 2, 2]
    grid_x = (m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]) / w * (2 / width)
    grid_y = (m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]) / w * (2 / height)
    grid = torch.stack([grid_x, grid_y], -1)
    shifted = images - fill if fill else images  # grid_sample brings in zeros
    sampled = F.grid_sample(shifted, grid.to(images.dtype), mode=interpolation, align_corners=False)
    return sampled + fill if fill else sampled
