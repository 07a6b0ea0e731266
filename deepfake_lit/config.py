"""The typed schema of the whole configuration, its cross-field checks, and the fingerprint of a run.

Hydra composes YAML and command line onto these dataclasses (`register`); `load` checks the composed tree once more
and returns plain dataclasses, so nothing behind it ever sees a `DictConfig`. Groups with several kinds (model,
optimizer, scheduler) have one dataclass a kind, chosen by the group's `kind`.
"""

import dataclasses
import difflib
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from deepfake_lit.errors import UserError


@dataclass
class DataConfig:
    root: str = MISSING  # folder or .zip with the images
    layout: str = "auto"  # auto | kaggle (CSVs beside folders) | folders (a folder per class)
    channels: str = "rgb"  # rgb | rgba | gray
    image_size: int | None = None  # side of the network's input in pixels; null: as the files are
    decode_size: int | None = None  # resize every file to this side when it is decoded; null: all must be equal
    num_classes: int | None = None  # null: from the data
    class_names: list[str] | None = None  # null: from the folders, or "0", "1", ...
    validation_fraction: float = 0.1  # layout "folders" without a train folder: the share held out, by image id
    mean: list[float] = field(default_factory=lambda: [0.5])  # of pixels in [0, 1]; one value or one a channel
    std: list[float] = field(default_factory=lambda: [0.5])
    batch_size: int = 32
    eval_batch_size: int = 250
    class_sampling: list[float] | None = None  # weight of each class in a weighted sampler; null: every image once
    tolerate: list[str] = field(default_factory=list)  # kinds of problem that warn instead of stopping the run
    cache_dir: str | None = None  # decoded images; null: <output_dir>/cache
    workers: int = 0  # processes that gather batches; 0: the training process itself
    decode_workers: int | None = None  # processes that decode files; null: one a core


@dataclass
class AugmentConfig:
    """Probabilities are per image, except those of CutMix and MixUp, which are per batch."""

    hflip: float = 0.0
    vflip: float = 0.0
    rotation: float = 0.0  # degrees, uniform in +-
    translate: float = 0.0  # share of the side, uniform in +-
    scale: list[float] = field(default_factory=lambda: [1.0, 1.0])
    shear: float = 0.0  # degrees, uniform in +-
    perspective: float = 0.0  # distortion scale in [0, 1]
    perspective_p: float = 0.5
    interpolation: str = "bilinear"  # of every warp: bilinear | nearest
    fill: float = 0.0  # what a warp brings in from outside, pixel value in [0, 1]
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur_p: float = 0.0
    blur_kernel: int = 3
    blur_sigma: list[float] = field(default_factory=lambda: [0.1, 2.0])
    randaugment_ops: int = 0
    randaugment_magnitude: int = 9  # of 0..30
    cutout_p: float = 0.0  # a square in the centre of the image
    cutout_size: int = 30  # pixels of the network's input
    erasing_p: float = 0.0  # a rectangle anywhere
    erasing_area: list[float] = field(default_factory=lambda: [0.02, 0.2])
    erasing_ratio: list[float] = field(default_factory=lambda: [0.3, 3.3])
    occlusion_fill: float = 0.0  # of cut-out and erasing, pixel value in [0, 1]
    cutmix_p: float = 0.0
    cutmix_alpha: float = 1.0
    mixup_p: float = 0.0
    mixup_alpha: float = 0.2


@dataclass
class DeepFakeNetConfig:
    kind: str = "deepfake_net"
    width: float = 1.0
    dropout: list[float] = field(default_factory=lambda: [0.25, 0.3, 0.4])  # after each of the three blocks


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
class TimmConfig:
    kind: str = "timm"
    name: str = MISSING  # any of timm.list_models()
    pretrained: bool = False
    dropout: float = 0.0


@dataclass
class LossConfig:
    label_smoothing: float = 0.0
    class_weights: Any = None  # null | one number a class | "balanced" | {focus: {4: 2.7}}, every other class 1


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
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.0


@dataclass
class AdamWConfig:
    kind: str = "adamw"
    lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 1e-2


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
    """Peak learning rate: optimizer.lr. It starts at peak / div_factor, not at the peak."""

    kind: str = "onecycle"
    warmup: float = 0.1  # share of all steps
    div_factor: float = 25.0
    final_div_factor: float = 1e4


@dataclass
class CosineConfig:
    kind: str = "cosine"
    warmup: float = 0.0  # share of all steps, linear
    final_lr_factor: float = 0.0


@dataclass
class TrainerConfig:
    max_epochs: int = 10
    accelerator: str = "auto"
    devices: Any = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 where the machine computes in it
    channels_last: bool | None = None  # null: with bf16 and fp16
    deterministic: bool = False
    gradient_clip: float | None = None  # norm
    accumulate_grad_batches: int = 1
    limit_train_batches: Any = 1.0  # a number of batches (int) or a share of an epoch (float), as in Lightning
    limit_val_batches: Any = 1.0
    log_every_n_steps: int = 50
    progress_bar: bool = True
    threads: int | None = None  # CPU threads of one process; null: torch's choice


@dataclass
class EvaluateConfig:
    views: list[str] = field(default_factory=lambda: ["identity", "hflip"])  # of test-time augmentation


@dataclass
class Config:
    name: str = "default"  # of the experiment; the folder that its runs stand in
    seed: int = 0
    output_dir: str = "outputs"
    monitor: str = "val/accuracy"  # what best.ckpt is selected on
    data: DataConfig = field(default_factory=DataConfig)
    model: Any = MISSING
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


KINDS: dict[str, tuple[type, ...]] = {
    "model": (DeepFakeNetConfig, ResidualCNNConfig, VGG16Config, TimmConfig),
    "optimizer": (SGDConfig, AdamConfig, AdamWConfig),
    "scheduler": (ConstantConfig, PlateauConfig, OneCycleConfig, CosineConfig),
}

# Settings that cannot change a result: where things lie, and how the work is shown or divided. The data themselves
# enter the fingerprint by their content's hash.
NOT_IDENTITY = {
    "name",
    "output_dir",
    "data.root",
    "data.layout",
    "data.tolerate",
    "data.cache_dir",
    "data.workers",
    "data.decode_workers",
    "trainer.accelerator",
    "trainer.log_every_n_steps",
    "trainer.progress_bar",
    "trainer.threads",
}


def register() -> None:
    """Make the schema known to Hydra, so that every setting can be overridden without a `+`."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, kinds in KINDS.items():
        for cls in kinds:
            store.store(group=f"{group}/schema", name=cls().kind, node=cls, package=group)


def load(composed: DictConfig) -> Config:
    """The composed configuration as checked plain dataclasses.

    Raises:
        UserError: one line for the first unknown key, wrong type, missing value or impossible combination.
    """
    tree = OmegaConf.to_container(composed, resolve=False)
    try:
        schema = OmegaConf.structured(Config)
        for group, kinds in KINDS.items():
            by_kind = {cls().kind: cls for cls in kinds}
            kind = (tree.get(group) or {}).get("kind")
            if kind not in by_kind:
                raise UserError(f"{group}.kind is {kind!r}; it must be one of {', '.join(by_kind)}")
            schema[group] = OmegaConf.structured(by_kind[kind])
        cfg: Config = OmegaConf.to_object(OmegaConf.merge(schema, tree))
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from None
    check(cfg)
    return cfg


def explain(error: OmegaConfBaseException, schema: type | None = None) -> str:
    """One line for a configuration error, with the nearest existing name where a key is unknown.

    Args:
        schema: the dataclass that was merged onto; None: the configuration of a run.
    """
    reason = str(error).splitlines()[0]
    key = error.full_key or ""
    if isinstance(error, ConfigKeyError) or "is not in struct" in reason or "not in '" in reason:
        leaf = key.rpartition(".")[2]
        guess = difflib.get_close_matches(leaf, _names(schema), n=1)
        hint = f"; did you mean {key.rpartition('.')[0] + '.' if '.' in key else ''}{guess[0]}?" if guess else ""
        return f"there is no setting {key}{hint}"
    if "MISSING" in type(error).__name__.upper() or "Missing mandatory value" in reason:
        return f"{key} is not set; give it on the command line, as in {key}=VALUE"
    return f"{key}: {reason}" if key else reason


def _names(schema: type | None) -> list[str]:
    classes = [schema] if schema else [Config, DataConfig, AugmentConfig, LossConfig, TrainerConfig, EvaluateConfig]
    if not schema:
        classes += [cls for kinds in KINDS.values() for cls in kinds]
    return sorted({f.name for cls in classes for f in dataclasses.fields(cls)})


def metric_mode(metric: str) -> str:
    """Whether the best value of a logged metric is its largest or its smallest: "max" or "min"."""
    return "min" if metric.endswith(("loss", "calibration_error")) else "max"


def check(cfg: Config) -> None:
    """Raise `UserError` for values and combinations that types cannot rule out."""

    def require(ok: bool, message: str) -> None:
        if not ok:
            raise UserError(message)

    def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
        require(value in allowed, f"{name} is {value!r}; it must be one of {', '.join(allowed)}")

    from deepfake_lit.data.channels import CHANNELS
    from deepfake_lit.data.problems import KINDS as PROBLEMS
    from deepfake_lit.views import VIEWS

    d, a, t = cfg.data, cfg.augment, cfg.trainer
    one_of("data.layout", d.layout, ("auto", "kaggle", "folders"))
    one_of("data.channels", d.channels, tuple(CHANNELS))
    tolerable = tuple(name for name, kind in PROBLEMS.items() if kind.when_tolerated)
    for kind in d.tolerate:
        one_of("data.tolerate", kind, tolerable)
    count = CHANNELS[d.channels]
    for name, value in (("data.mean", d.mean), ("data.std", d.std)):
        require(len(value) in (1, count), f"{name} has {len(value)} values; {d.channels} needs 1 or {count}")
    require(min(d.std) > 0, "data.std must be above 0")
    for name in ("batch_size", "eval_batch_size"):
        require(getattr(d, name) > 0, f"data.{name} must be above 0")
    for name in ("image_size", "decode_size"):
        require(getattr(d, name) is None or getattr(d, name) >= 8, f"data.{name} must be at least 8 pixels")
    require(0 < d.validation_fraction < 1, "data.validation_fraction must lie between 0 and 1")

    for f in dataclasses.fields(a):
        if f.name in ("hflip", "vflip") or f.name.endswith("_p"):
            value = getattr(a, f.name)
            require(0 <= value <= 1, f"augment.{f.name} is a probability; {value} is not in [0, 1]")
    require(a.cutmix_p + a.mixup_p <= 1, "augment.cutmix_p + augment.mixup_p must not exceed 1")
    require(min(a.cutmix_alpha, a.mixup_alpha) > 0, "augment.cutmix_alpha and mixup_alpha must be above 0")
    one_of("augment.interpolation", a.interpolation, ("bilinear", "nearest"))
    require(a.blur_kernel % 2 == 1 and a.blur_kernel > 0, "augment.blur_kernel must be odd")
    require(0 <= a.randaugment_magnitude <= 30, "augment.randaugment_magnitude must be in 0..30")
    require(0 <= a.hue <= 0.5, "augment.hue must be in [0, 0.5]")
    for name in ("scale", "blur_sigma", "erasing_area", "erasing_ratio"):
        pair = getattr(a, name)
        require(
            len(pair) == 2 and 0 < pair[0] <= pair[1],
            f"augment.{name} must be [low, high] with 0 < low <= high",
        )

    m = cfg.model
    if hasattr(m, "width"):
        require(m.width > 0, "model.width must be above 0")
    for p in m.dropout if isinstance(m.dropout, list) else [m.dropout]:
        require(0 <= p < 1, f"model.dropout is a probability below 1; got {p}")
    if m.kind == "deepfake_net":
        require(len(m.dropout) == 3, "model.dropout of deepfake_net is three probabilities, one a block")

    require(0 <= cfg.loss.label_smoothing < 1, "loss.label_smoothing must be in [0, 1)")
    require(cfg.optimizer.lr > 0, "optimizer.lr must be above 0")
    require(cfg.seed >= 0, "seed must be 0 or more")
    require(t.max_epochs > 0, "trainer.max_epochs must be above 0")
    one_of("trainer.precision", t.precision, ("auto", "fp32", "bf16", "fp16"))
    for name, value in (
        ("monitor", cfg.monitor),
        ("scheduler.monitor", getattr(cfg.scheduler, "monitor", None)),
    ):
        if value is not None:
            one_of(name, value, ("val/accuracy", "val/f1", "val/loss", "val/calibration_error"))
    require(len(cfg.evaluate.views) > 0, "evaluate.views needs at least one view")
    for view in cfg.evaluate.views:
        one_of("evaluate.views", view, tuple(VIEWS))


def to_dict(cfg: Config) -> dict[str, Any]:
    """The configuration as plain dicts, lists and scalars, as checkpoints and results store it."""
    return dataclasses.asdict(cfg)


def from_dict(tree: dict[str, Any]) -> Config:
    """The inverse of `to_dict`, with the same checks as `load`; a tree from a file is data, without interpolations."""
    if "${" in json.dumps(tree):
        raise UserError("a stored configuration must not hold interpolations (${...})")
    return load(OmegaConf.create(tree))


def identity(cfg: Config) -> dict[str, Any]:
    """Every setting that can change a result, as a flat dict of dotted names."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict) and not prefix:
                walk(f"{name}.", value)
            elif name not in NOT_IDENTITY:
                flat[name] = value

    walk("", to_dict(cfg))
    return flat


def fingerprint(cfg: Config, data_hash: str) -> str:
    """16 hexadecimal digits that two runs share exactly when they must give the same result."""
    text = json.dumps([identity(cfg), data_hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
