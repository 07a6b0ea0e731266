"""Geometry on whole batches: rotation, translation, scale, shear and perspective in a single resampling.

Matrices are (B, 3, 3) and map each output pixel to its source in the input, in pixels from the image's centre, with y
pointing down: the convention behind torchvision's `affine` and `perspective`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def identity(like: Tensor) -> Tensor:
    """Return identity matrices, float32 (B, 3, 3), for keys or any tensor of B entries."""
    return torch.eye(3, device=like.device).expand(len(like), 3, 3)


def _matrix(*entries: Tensor) -> Tensor:
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def affine(
    angle: Tensor, translate_x: Tensor, translate_y: Tensor, scale: Tensor, shear_x: Tensor, shear_y: Tensor
) -> Tensor:
    """Return the matrices of torchvision's `affine` about the image's centre.

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
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale  # the inverse; before scaling the determinant is 1
    return _matrix(
        a, b, -(a * translate_x + b * translate_y), c, d, -(c * translate_x + d * translate_y), zero, zero, one
    )


def perspective(corners: Tensor, height: int, width: int) -> Tensor:
    """Return the matrices of torchvision's `perspective`, which moves the image's four corners to given places.

    Args:
        corners: (B, 4, 2), new (x, y) of the top left, top right, bottom right and bottom left corner, in pixels
            from the top left one, which is (0, 0); the bottom right one is (width - 1, height - 1).
    """
    # Map the unit square to the corners, measured from the image's centre (Heckbert 1989, closed form of the projective
    # map), and invert by the adjugate: a projective matrix may have any scale. torchvision measures corners from the
    # edge of the first pixel, so the image's centre is (width / 2, height / 2).
    x0, x1, x2, x3 = (corners[..., 0] - width / 2).unbind(1)
    y0, y1, y2, y3 = (corners[..., 1] - height / 2).unbind(1)
    dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / area, (dx1 * sy - sx * dy1) / area
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    u = torch.stack([e - f * h, c * h - b, b * f - c * e], -1)
    v = torch.stack([f * g - d, a - c * g, c * d - a * f], -1)
    w = torch.stack([d * h - e * g, b * g - a * h, a * e - b * d], -1)
    return torch.stack([(width - 1) * u - width / 2 * w, (height - 1) * v - height / 2 * w, w], 1)


def warp(images: Tensor, matrices: Tensor, interpolation: str, fill: float, projective: bool = False) -> Tensor:
    """Resample every image by its matrix.

    Args:
        images: float (B, C, H, W).
        matrices: (B, 3, 3), output pixel to input pixel.
        interpolation: "bilinear" or "nearest".
        fill: value of pixels from outside the input.
        projective: whether the matrices' last rows may differ from (0, 0, 1).
    """
    height, width = images.shape[-2:]
    ys = torch.arange(height, device=images.device, dtype=torch.float32) + (0.5 - height / 2)
    xs = torch.arange(width, device=images.device, dtype=torch.float32) + (0.5 - width / 2)
    x, y = xs[None, None, :], ys[None, :, None]
    # Each coordinate is a term in x plus a term in y, which needs few passes over whole images.
    m = matrices[:, :, :, None, None]
    grid = torch.empty(len(images), height, width, 2, device=images.device)
    for row, side in ((0, width), (1, height)):
        scale = 2 / side
        torch.add(m[:, row, 0] * scale * x, (m[:, row, 1] * y + m[:, row, 2]) * scale, out=grid[..., row])
    if projective:
        grid /= (m[:, 2, 0] * x + (m[:, 2, 1] * y + m[:, 2, 2]))[..., None]
    shifted = images - fill if fill else images  # grid_sample fills with zeros
    sampled = F.grid_sample(shifted, grid.to(images.dtype), mode=interpolation, align_corners=False)
    return sampled + fill if fill else sampled
