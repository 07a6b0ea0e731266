"""The settings of models, optimizers and schedulers: one dataclass a kind, chosen by the group's `kind`."""

from dataclasses import dataclass

from omegaconf import MISSING

from deepfake_lit.settings.roles import setting


@dataclass
class DeepFakeNetConfig:
    kind: str = "deepfake_net"
    width: float = 1.0
    dropout: list[float] = setting([0.25, 0.3, 0.4])  # after each of the three blocks


@dataclass
class ResidualCNNConfig:
    kind: str = "residual_cnn"
    width: float = 1.0
    dropout: float = 0.3


@dataclass
class VGG16Config:
    kind: str = "vgg16"
    width: float = 1.0
    dropout: float = 0.5


@dataclass
class WhiteningCNNConfig:
    kind: str = "whitening_cnn"
    width: float = 1.0
    dropout: float = 0.0  # before the last layer
    patch: int = 4  # side of the whitening filters
    stride: int = 2  # of the whitening filters; at 1 the feature map is halved by a maximum in their place
    learned: bool = False  # filters of the same shape that are trained from random ones, in place of whitening
    pooling: str = "avg"  # avg | avg_max
    # beside the pooled features, of models/texture.py: gram (second moments of the first feature map, 2,080 numbers at
    # width 1) | residuals (second moments of noise residuals, 465 of RGB) | spectrum (mean log-spectrum of blocks, 192)
    texture: str | None = setting(None, since="2026-11-25")
    padding: bool = setting(True, since="2026-11-25")  # with zeros around the image before the whitening filters
    # the most that a whitened response, of deviation 1, counts; null: no limit
    clip: float | None = setting(None, since="2026-11-25")


@dataclass
class TimmConfig:
    kind: str = "timm"
    name: str = MISSING  # any of timm.list_models()
    pretrained: bool = False
    dropout: float = 0.0


@dataclass
class EnsembleConfig:
    """Trained members, frozen, and one answer made of theirs."""

    kind: str = "ensemble"
    # checkpoints of networks, baselines' model.skops; RUN/epoch-*.ckpt stands for several
    members: list[str] = setting(MISSING, role="weights")
    weights: list[str] | None = None  # digests of the members' weights, which the run fills in: another file is refused
    combine: str = "head"  # head (trained, on all logits) | mean | weighted_mean (of probabilities) | vote
    # what a head or the weights of a mean are fitted on: train (the images that the members know by heart) |
    # out_of_fold (each training image by members that have not seen it; those are trained first) | validation
    fit_on: str | None = "train"
    folds: int | None = 5  # of out_of_fold
    hidden: int = 64  # of the head
    dropout: float = 0.3


@dataclass
class NoNetworkConfig:
    """Only the baselines; what belongs to a network's training counts for nothing."""

    kind: str = "none"


@dataclass
class SGDConfig:
    kind: str = "sgd"
    lr: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass
class AdamConfig:
    kind: str = "adam"
    lr: float = 1e-3
    betas: list[float] = setting([0.9, 0.999])
    weight_decay: float = 0.0


@dataclass
class AdamWConfig:
    kind: str = "adamw"
    lr: float = 1e-3
    betas: list[float] = setting([0.9, 0.999])
    weight_decay: float = 1e-2
    matrices_only: bool = setting(False, since="2026-11-25")  # weight decay on weights of two and more dimensions alone


@dataclass
class MuonConfig:
    """timm's Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"), Nesterov's momentum.

    Its steps are scaled to be as large as AdamW's. Biases, norms and the classifier, which is the last matrix, are
    NAdamW's with betas 0.9 and 0.95, at the same learning rate.
    """

    kind: str = "muon"
    lr: float = 1e-3
    momentum: float = 0.95
    weight_decay: float = 1e-2  # on matrices and convolutions, the classifier too


@dataclass
class ConstantConfig:
    kind: str = "constant"


@dataclass
class PlateauConfig:
    kind: str = "plateau"
    monitor: str = "val/accuracy"  # the mode (max or min) follows from the metric
    factor: float = 0.5
    patience: int = 2  # epochs


@dataclass
class OneCycleConfig:
    """Peak learning rate: optimizer.lr. It starts at peak / div_factor, not at the peak.

    As torch's, it turns the momentum the other way round: SGD's momentum, or the first of Adam's, AdamW's and Muon's
    betas, goes from 0.95 to 0.85 and back whatever the optimizer says.
    """

    kind: str = "onecycle"
    warmup: float = 0.1  # share of all steps
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    cycle_momentum: bool = setting(True, since="2026-11-25")  # false: the optimizer's own, all along


@dataclass
class CosineConfig:
    kind: str = "cosine"
    warmup: float = 0.0  # share of all steps, linear
    final_lr_factor: float = 0.0


KINDS: dict[str, tuple[type, ...]] = {
    "model": (
        DeepFakeNetConfig,
        ResidualCNNConfig,
        VGG16Config,
        WhiteningCNNConfig,
        TimmConfig,
        EnsembleConfig,
        NoNetworkConfig,
    ),
    "optimizer": (SGDConfig, AdamConfig, AdamWConfig, MuonConfig),
    "scheduler": (ConstantConfig, PlateauConfig, OneCycleConfig, CosineConfig),
}
