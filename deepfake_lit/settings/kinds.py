"""The settings of models, optimizers and schedulers: one dataclass per kind, chosen by the group's `kind`."""

from dataclasses import dataclass

from deepfake_lit.settings.roles import MISSING, setting


@dataclass
class DeepFakeNetConfig:
    kind: str = "deepfake_net"
    width: float = 1.0
    dropout: list[float] = setting([0.25, 0.3, 0.4])  # probabilities, after each of the three blocks


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
    patch: int = 4  # side of the whitening filters in pixels
    stride: int = 2  # of the whitening filters; at 1, a 2x2 max pooling halves the feature map instead
    learned: bool = False  # train filters of the same shape from random ones instead of whitening
    pooling: str = "avg"  # of the last feature map: avg | avg_max (both, concatenated)
    # features added to the pooled ones: null | gram (second moments of the first feature map, 2,080 at width 1) |
    # residuals (second moments of noise residuals, 465 for RGB) | spectrum (mean log-spectrum of blocks, 192 for RGB)
    texture: str | None = setting(None, since="2026-11-25")
    padding: bool = setting(True, since="2026-11-25")  # pad the image with zeros before the whitening filters
    # largest value of a whitened response, whose standard deviation is 1 for most filters; null: no limit
    clip: float | None = setting(None, since="2026-11-25")


@dataclass
class TimmConfig:
    kind: str = "timm"
    name: str = MISSING  # any name in timm.list_models()
    pretrained: bool = False  # start with timm's trained weights, which need network, or with those of a file
    # file of such weights (.safetensors, .bin, .pth), for machines without network; null: timm downloads them
    pretrained_file: str | None = setting(None, role="weights", since="2026-11-27")
    # digest of the file, set by the run; another file is refused
    pretrained_digest: str | None = setting(None, since="2026-11-27")
    dropout: float = 0.0


@dataclass
class EnsembleConfig:
    """Trained members, which are frozen, and one prediction combined from theirs."""

    kind: str = "ensemble"
    # checkpoints of networks, or model.skops of baselines; RUN/epoch-*.ckpt stands for several checkpoints
    members: list[str] = setting(MISSING, role="weights")
    weights: list[str] | None = None  # digests of the members' weights, set by the run; other weights are refused
    combine: str = "head"  # head (trained on all logits) | mean | weighted_mean (of probabilities) | vote
    # data that a head or the weights of a mean are fitted on: train (images that the members were trained on) |
    # out_of_fold (predictions for training images by members trained first without them) | validation
    fit_on: str | None = "train"
    folds: int | None = 5  # number of folds, for fit_on=out_of_fold
    hidden: int = 64  # units of the head's hidden layer
    dropout: float = 0.3  # of the head


@dataclass
class NoNetworkConfig:
    """No network: only the baselines are fitted, and the settings of a network's training have no effect."""

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
class AdamWConfig(AdamConfig):
    kind: str = "adamw"
    weight_decay: float = 1e-2
    matrices_only: bool = setting(False, since="2026-11-25")  # decay only weights of two or more dimensions


@dataclass
class MuonConfig:
    """timm's Muon with Nesterov momentum. Its steps are scaled to be as large as AdamW's.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". NAdamW, with betas 0.9 and 0.95 and
    the same learning rate, trains biases, norms and the classifier, which is the last matrix.
    """

    kind: str = "muon"
    lr: float = 1e-3
    momentum: float = 0.95
    weight_decay: float = 1e-2  # of matrices and convolutions, including the classifier


@dataclass
class ConstantConfig:
    kind: str = "constant"


@dataclass
class PlateauConfig:
    kind: str = "plateau"
    monitor: str = "val/accuracy"  # metric to watch; the mode (max or min) follows from the metric
    factor: float = 0.5  # the learning rate is multiplied by this at each reduction
    patience: int = 2  # epochs without improvement before a reduction


@dataclass
class OneCycleConfig:
    """One-cycle schedule, whose peak learning rate is optimizer.lr. It starts at peak / div_factor, not at the peak.

    As in torch, the momentum moves opposite to the learning rate: SGD's momentum, or the first of Adam's, AdamW's and
    Muon's betas, goes from 0.95 to 0.85 and back, whatever the optimizer's own setting is.
    """

    kind: str = "onecycle"
    warmup: float = 0.1  # share of all steps in which the learning rate rises
    div_factor: float = 25.0
    final_div_factor: float = 1e4  # the last learning rate is peak / (div_factor * final_div_factor)
    cycle_momentum: bool = setting(True, since="2026-11-25")  # false: the optimizer's own throughout


@dataclass
class CosineConfig:
    kind: str = "cosine"
    warmup: float = 0.0  # share of all steps in which the learning rate rises linearly
    final_lr_factor: float = 0.0  # last learning rate, as a share of optimizer.lr


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
