"""Every setting of a run, with its meaning and default, as typed dataclasses.

Groups with several kinds (model, optimizer, scheduler) have one dataclass a kind, in kinds.py.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from deepfake_lit.settings.roles import setting


@dataclass
class DataConfig:
    root: str = setting(MISSING, role="place")  # folder or .zip with the images
    # auto | kaggle (CSVs beside folders) | folders (a folder per class)
    layout: str = setting("auto", role="reading", reads=True)
    channels: str = "rgb"  # rgb | rgba | gray
    image_size: int | None = None  # side of the network's input in pixels; null: as the files are
    # resize every file to this side when it is decoded; null: all must be equal
    decode_size: int | None = setting(None, reads=True)
    num_classes: int | None = setting(None, reads=True)  # null: from the data
    class_names: list[str] | None = setting(None, reads=True)  # null: from the folders, or "0", "1", ...
    # layout "folders" without a train folder: the share held out, by image id
    validation_fraction: float = setting(0.1, reads=True)
    # cross-validation within the training split: it is divided into so many folds, with every class alike in each, and
    # fold number `fold` (from 0) takes the validation split's place
    folds: int | None = setting(None, since="2026-11-25")
    fold: int | None = setting(None, since="2026-11-25")
    mean: list[float] = setting([0.5])  # of pixels in [0, 1]; one value or one a channel
    std: list[float] = setting([0.5])
    batch_size: int = 32
    eval_batch_size: int = 250
    class_sampling: list[float] | None = None  # weight of each class in a weighted sampler; null: every image once
    # kinds of problem that warn instead of stopping the run
    tolerate: list[str] = setting([], role="reading", reads=True)
    cache_dir: str | None = setting(None, role="place")  # decoded images; null: <output_dir>/cache
    workers: int = setting(0, role="work")  # processes that gather batches; 0: the training process itself
    # keep decoded images on the device and gather batches there; null: on a GPU where they take at most a quarter of
    # its memory
    on_device: bool | None = setting(None, role="work")
    decode_workers: int | None = setting(None, role="work")  # processes that decode files; null: one a core


@dataclass
class AugmentConfig:
    """Probabilities are per image, except those of CutMix and MixUp, which are per batch."""

    hflip: float = 0.0
    vflip: float = 0.0
    rotation: float = 0.0  # degrees, uniform in +-
    translate: float = 0.0  # share of the side, uniform in +-
    scale: list[float] = setting([1.0, 1.0])
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
    blur_sigma: list[float] = setting([0.1, 2.0])
    randaugment_ops: int = 0
    randaugment_magnitude: int = 9  # of 0..30
    cutout_p: float = 0.0  # a square in the centre of the image
    cutout_size: int = 30  # pixels of the network's input
    erasing_p: float = 0.0  # a rectangle anywhere
    erasing_area: list[float] = setting([0.02, 0.2])
    erasing_ratio: list[float] = setting([0.3, 3.3])
    occlusion_fill: float = 0.0  # of cut-out and erasing, pixel value in [0, 1]
    cutmix_p: float = 0.0
    cutmix_alpha: float = 1.0
    # with the next image of the same class, so that labels stay whole
    cutmix_within_class: bool = setting(False, since="2026-11-25")
    mixup_p: float = 0.0
    mixup_alpha: float = 0.2
    # CutMix and MixUp in the first so many epochs alone; null: in all
    mix_epochs: int | None = setting(None, since="2026-11-26")
    # pixels at most that an image is shifted by, its border mirrored
    crop: int | None = setting(None, since="2026-11-25")
    crop_shared: bool = setting(False, since="2026-11-25")  # one shift a batch in place of one an image
    rot90: float | None = setting(None, since="2026-11-25")  # probability of a quarter, half or three-quarter turn
    # side, in pixels of the network's input, of a window anywhere in the image that is trained on in its place,
    # before all other augmentation; evaluation sees the whole image
    window: int | None = setting(None, since="2026-11-25")


@dataclass
class BaselineConfig:
    """A pipeline of scikit-learn on features of the images, as the files are and without augmentation."""

    # feature -> its settings, side by side in this order; deepfake_lit/baselines/features.py
    features: dict[str, Any] = setting({})
    # class of scikit-learn, or KNN, SVM, Standardise -> its parameters, one after the other
    steps: dict[str, Any] = setting({})
    save: bool = True  # the fitted pipeline, as model.skops, for `predict` and `evaluate`
    memory_gib: float = 8.0  # of an SVM's kernel matrix and what is needed to make it


@dataclass
class LossConfig:
    label_smoothing: float = 0.0
    class_weights: Any = None  # null | one number a class | "balanced" | {focus: {4: 2.7}}, every other class 1


@dataclass
class TrainerConfig:
    max_epochs: int = 10
    accelerator: str = setting("auto", role="work")
    devices: Any = "auto"  # how many, or which; auto: one. The batch size is that of one device
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 where the machine computes in it
    channels_last: bool | None = None  # null: with bf16 and fp16
    deterministic: bool = False
    gradient_clip: float | None = None  # norm
    accumulate_grad_batches: int = 1
    limit_train_batches: Any = 1.0  # a number of batches (int) or a share of an epoch (float), as in Lightning
    limit_val_batches: Any = 1.0
    checkpoint_minutes: float = setting(10.0, role="work")  # from one last.ckpt to the next within an epoch
    log_every_n_steps: int = setting(50, role="work")
    progress_bar: bool = setting(True, role="work")
    threads: int | None = setting(None, role="work")  # CPU threads of one process; null: torch's choice
    # epochs in a row without a better value of `monitor` that end the training
    early_stopping: int | None = setting(None, since="2026-11-25")
    # decay of an exponential moving average of weights and batch-norm statistics, which is then what is validated and
    # kept; the k-th step's is at most (1 + k) / (10 + k), so that the first weights are soon forgotten
    ema: float | None = setting(None, since="2026-11-25")
    # share of the epochs after which weights are averaged, one set an epoch, all alike (stochastic weight averaging);
    # the batch-norm statistics of the average are measured anew on training images
    swa: float | None = setting(None, since="2026-11-25")
    # so many of the best epochs leave their weights, as epoch-NNN.ckpt
    keep_epochs: int | None = setting(None, since="2026-11-25")


@dataclass
class ViewsConfig:
    views: list[str] = setting(["identity", "hflip"])  # of test-time augmentation


@dataclass
class Config:
    name: str = setting("default", role="apart")  # of the experiment; the folder that its runs stand in
    seed: int = 0
    output_dir: str = setting("outputs", role="place")
    monitor: str = "val/accuracy"  # what best.ckpt is selected on
    # fingerprint of a run of the same name to go on from, for more epochs; null: from the start. A constant or plateau
    # schedule makes that the run of so many epochs; the others are planned anew, and the result is one of its own
    extends: str | None = setting(None, since="2026-11-25")
    # checkpoint whose weights the network starts with; nothing else is taken from it. To go on with a run, repeat it
    init_from: str | None = setting(None, role="weights")
    # digest of those weights, which the run fills in: another file is refused
    init_weights: str | None = setting(None, since="2026-11-25")
    data: DataConfig = field(default_factory=DataConfig)
    model: Any = MISSING
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluate: ViewsConfig = field(default_factory=ViewsConfig)
    # classical estimators, fitted when the run starts; each is a run of its own, by this name
    baselines: dict[str, Any] = setting({}, role="apart")  # name -> BaselineConfig
    retry_failed: bool = setting(False, role="work")  # of a sweep: try the trials again that failed before
