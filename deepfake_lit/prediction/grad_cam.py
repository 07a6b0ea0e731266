"""Where a network looks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.trained import Trained


def grad_cam(trained: Trained, pixels: Tensor, transparency: Tensor | None, target: int) -> Tensor:
    """Compute which parts of the last feature map speak for a class (Selvaraju et al. 2017, arXiv 1610.02391).

    Args:
        pixels: uint8 (B, H, W, 3).
        target: index of the class.

    Returns:
        float32 (B, h, w) in [0, 1], of the size of the last feature map before global pooling.

    Raises:
        UserError: the network has no feature map.
    """
    net, maps = trained.net, []

    def keep(module: nn.Module, _, output) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[-2:]) > 1:
            maps.append(output)

    hooks = [module.register_forward_hook(keep) for module in net.modules()]
    try:
        with torch.enable_grad():
            logits = net(trained.preprocess(pixels, transparency).requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if not maps:
        raise UserError(f"{type(net).__name__} has no feature map to look at")
    features = maps[-1]
    (gradient,) = torch.autograd.grad(logits[:, target].sum(), features)
    heat = F.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1)).detach()
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
