"""Construction of torch's optimizers and schedulers from the settings."""

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau, SequentialLR

from deepfake_lit.core.metrics import better


def build_optimizer(cfg, net: nn.Module, fused: bool = True) -> Optimizer:
    """Build the optimizer of a network's trainable weights.

    Args:
        fused: do all of the optimizer's arithmetic on a weight in one pass, also on a CPU; Muon ignores it.
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    if cfg.kind == "sgd":
        return SGD(parameters, cfg.lr, cfg.momentum, weight_decay=cfg.weight_decay, nesterov=cfg.nesterov, fused=fused)
    matrices = [p for p in parameters if p.dim() >= 2]
    others = {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}
    if cfg.kind == "muon":
        from deepfake_lit.training.muon import Muon

        *hidden, classifier = matrices
        groups = [{"params": hidden}, {"params": [classifier], "use_fallback": True}, others]
        return Muon(groups, cfg.lr, cfg.weight_decay, cfg.momentum, nesterov=True)
    if getattr(cfg, "matrices_only", None):
        parameters = [{"params": matrices}, others]
    cls = {"adam": Adam, "adamw": AdamW}[cfg.kind]
    return cls(parameters, cfg.lr, tuple(cfg.betas), weight_decay=cfg.weight_decay, fused=fused)


def build_scheduler(cfg, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
    """Build a scheduler as Lightning takes it; plateau steps once per epoch on its metric, the others every step."""
    if cfg.kind == "plateau":
        scheduler = ReduceLROnPlateau(optimizer, mode=better(cfg.monitor), factor=cfg.factor, patience=cfg.patience)
        return {"scheduler": scheduler, "interval": "epoch", "monitor": cfg.monitor}
    lr = optimizer.param_groups[0]["lr"]
    if cfg.kind == "onecycle":
        # torch divides by zero if the warm-up is exactly one step long
        warmup = cfg.warmup + 1e-9 if cfg.warmup * total_steps == 1 else cfg.warmup
        scheduler = OneCycleLR(
            optimizer,
            max_lr=lr,
            total_steps=total_steps,
            pct_start=warmup,
            div_factor=cfg.div_factor,
            final_div_factor=cfg.final_div_factor,
            cycle_momentum=cfg.cycle_momentum,
        )
    else:
        warmup = round(cfg.warmup * total_steps)
        scheduler = CosineAnnealingLR(optimizer, max(1, total_steps - warmup), lr * cfg.final_lr_factor)
        if warmup:
            rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup)
            scheduler = SequentialLR(optimizer, [rise, scheduler], [warmup])
    return {"scheduler": scheduler, "interval": "step"}
