"""Every setting of a run, with its meaning and default, as typed dataclasses.

Groups with several kinds (model, optimizer, scheduler) have one dataclass per kind, in kinds.py.
"""

from dataclasses import dataclass, field
from typing import Any

from deepfake_lit.settings.roles import MISSING, setting


@dataclass
class DataConfig:
    root: str = setting(MISSING, role="place")  # folder, .zip, .tar or table (.parquet) with the images
    # auto | kaggle (train.csv and images in folders) | folders (a folder for each class; no CSV file or table is read)
    layout: str = setting("auto", role="reading", reads=True)
    channels: str = "rgb"  # rgb | rgba | gray
    image_size: int | None = None  # side of the network's input in pixels; null: the size of the images
    # side in pixels that every file is brought to when it is decoded; null: all must have the same size, or `fit` is
    # random_crop: then it is the smallest side of all images, at least 32 and at most 256
    decode_size: int | None = setting(None, reads=True)
    # how images get the size decode_size: resize (removes traces of generators) | crop or pad (the centre; where it is
    # too small, its border is mirrored) | random_crop (random windows in training, the centre in evaluation) | auto:
    # resize with a decode_size; without one, random_crop where fewer than 80 % of the images have the same size
    fit: str = setting("auto", role="reading", since="2026-11-27", reads=True)
    num_classes: int | None = setting(None, reads=True)  # number of classes; null: taken from the data
    class_names: list[str] | None = setting(None, reads=True)  # null: the names of the folders, or "0", "1", ...
    # share of the images that is held out, chosen by image id, if layout "folders" has no train folder
    validation_fraction: float = setting(0.1, reads=True)
    # cross-validation within the training split: it is divided into this many folds, stratified by class, and fold
    # number `fold` (from 0) replaces the validation split; null: no cross-validation
    folds: int | None = setting(None, since="2026-11-25")
    fold: int | None = setting(None, since="2026-11-25")  # the fold that is held out, from 0
    # numbers of classes whose images are in neither training nor validation, as in [4]: the network does not know them,
    # the others are numbered anew, and `evaluate` takes their images as unknown; null: none
    leave_out: list[int] | None = setting(None, since="2026-11-28")
    # groups of classes, by number or name, for further figures: {real: [0], fake: [1, 2, 3, 4]}; no effect on training
    groups: Any = setting(None, role="work", since="2026-11-28")
    mean: list[float] = setting([0.5])  # mean of pixels in [0, 1], for normalisation; one value, or one per channel
    std: list[float] = setting([0.5])  # standard deviation of pixels, in the same form
    batch_size: int = 32  # images in a training step
    eval_batch_size: int = 250  # images computed together in an evaluation
    class_sampling: list[float] | None = None  # sampling weight of each class; null: every image once per epoch
    # kinds of problem that give a warning instead of stopping the run
    tolerate: list[str] = setting([], role="reading", reads=True)
    cache_dir: str | None = setting(None, role="place")  # folder for decoded images; null: <output_dir>/cache
    # largest size of a split's decoded images in GiB; larger ones, and those that the disk has no room for, are not
    # stored but decoded again in every epoch
    cache_gib: float = setting(100.0, role="work", since="2026-11-27")
    workers: int = setting(0, role="work")  # processes that make batches; 0: the training process does it
    # keep decoded images on the device and gather batches there; null: only on a CUDA GPU, and only if they take at
    # most a quarter of its memory
    on_device: bool | None = setting(None, role="work")
    # number of batches that are augmented in one call; null: 1 on a CPU, and on a CUDA GPU as many as a 64th of its
    # memory holds, at most 32
    portion: int | None = setting(None, role="work", since="2026-11-27")
    decode_workers: int | None = setting(None, role="work")  # processes that decode files; null: one per core


@dataclass
class AugmentConfig:
    """Probabilities are per image, except those of CutMix and MixUp, which are per batch."""

    hflip: float = 0.0  # probability of a horizontal flip
    vflip: float = 0.0  # probability of a vertical flip
    rotation: float = 0.0  # degrees, uniform in +- this
    translate: float = 0.0  # share of the side, uniform in +- this
    scale: list[float] = setting([1.0, 1.0])  # factor, uniform in [low, high]
    shear: float = 0.0  # degrees, uniform in +- this
    perspective: float = 0.0  # distortion scale in [0, 1]
    perspective_p: float = 0.5  # probability of a perspective transform
    interpolation: str = "bilinear"  # interpolation of every geometric transform: bilinear | nearest
    fill: float = 0.0  # pixel value in [0, 1] of what a geometric transform brings in from outside
    brightness: float = 0.0  # factor, uniform in 1 +- this
    contrast: float = 0.0  # factor, uniform in 1 +- this
    saturation: float = 0.0  # factor, uniform in 1 +- this
    hue: float = 0.0  # share of the colour circle, uniform in +- this; at most 0.5
    blur_p: float = 0.0  # probability of a Gaussian blur
    blur_kernel: int = 3  # odd side in pixels
    blur_sigma: list[float] = setting([0.1, 2.0])  # pixels, uniform in [low, high]
    randaugment_ops: int = 0  # operations per image
    randaugment_magnitude: int = 9  # strength of the operations, from 0 to 30
    cutout_p: float = 0.0  # probability that a square in the centre of the image is filled
    cutout_size: int = 30  # side in pixels of the network's input
    erasing_p: float = 0.0  # probability that a rectangle anywhere in the image is filled
    erasing_area: list[float] = setting([0.02, 0.2])  # share of the image's area, in [low, high]
    erasing_ratio: list[float] = setting([0.3, 3.3])  # height / width, in [low, high]
    occlusion_fill: float = 0.0  # pixel value in [0, 1] that cutout and erasing fill with
    cutmix_p: float = 0.0  # probability that a batch is mixed by CutMix
    cutmix_alpha: float = 1.0  # the mixing ratio is drawn from Beta(alpha, alpha)
    # CutMix with the next image of the same class, so that labels are not mixed
    cutmix_within_class: bool = setting(False, since="2026-11-25")
    mixup_p: float = 0.0  # probability that a batch is mixed by MixUp
    mixup_alpha: float = 0.2  # as for CutMix
    # probability that an image is turned into one of no class; its target is then the same for all classes. The network
    # becomes unsure of what it has not seen
    outliers_p: float = setting(0.0, since="2026-11-28")
    # how: filter (a random filter) | traces (high frequencies mixed with those of an image of another class)
    outliers_kind: str = setting("filter", since="2026-11-28")
    # number of first epochs that use CutMix and MixUp; null: in all epochs
    mix_epochs: int | None = setting(None, since="2026-11-26")
    # largest shift of an image in pixels, with its border mirrored; null: no shift
    crop: int | None = setting(None, since="2026-11-25")
    crop_shared: bool = setting(False, since="2026-11-25")  # one shift per batch instead of one per image
    rot90: float | None = setting(None, since="2026-11-25")  # probability of a turn by 90, 180 or 270 degrees
    # side, in pixels of the network's input, of a randomly placed window that replaces the image in training, before
    # all other augmentation; evaluation uses the whole image; null: the whole image
    window: int | None = setting(None, since="2026-11-25")
    # JPEG quality, uniform in [low, high]; null: no JPEG. This setting and the next ones imitate what happens to files
    # when they are shared. They distort the decoded images, before all other augmentation
    laundering_jpeg: list[float] | None = setting(None, since="2026-11-28")
    laundering_webp: list[float] | None = setting(None, since="2026-11-28")  # WebP quality
    laundering_resize: list[float] | None = setting(None, since="2026-11-28")  # factor; the image is then resized back
    laundering_crop: list[float] | None = setting(None, since="2026-11-28")  # share of both sides that is cut off
    laundering_blur: list[float] | None = setting(None, since="2026-11-28")  # sigma in pixels
    laundering_noise: list[float] | None = setting(None, since="2026-11-28")  # sigma in grey levels
    laundering_gamma: list[float] | None = setting(None, since="2026-11-28")  # exponent
    # probability that an image is distorted at all, by whatever kind
    laundering_p: float = setting(0.75, since="2026-11-28")
    # largest number of distortions of an image; their number, kinds and order are random
    laundering_most: int = setting(2, since="2026-11-28")


@dataclass
class BaselineConfig:
    """Scikit-learn pipeline on features of the decoded images, without `image_size` and without augmentation."""

    # feature -> its settings, concatenated in this order; deepfake_lit/baselines/features.py lists them
    features: dict[str, Any] = setting({})
    # scikit-learn class, or KNN, SVM or Standardise -> its parameters; applied one after the other
    steps: dict[str, Any] = setting({})
    save: bool = True  # save the fitted pipeline as model.skops, for `predict` and `evaluate`
    memory_gib: float = 8.0  # most memory for an SVM's kernel matrix and for computing it


@dataclass
class LossConfig:
    label_smoothing: float = 0.0  # share of a label that is spread over all classes
    class_weights: Any = None  # null | one number per class | "balanced" | {focus: {4: 2.7}} (1 for all others)


@dataclass
class TrainerConfig:
    max_epochs: int = 10  # epochs that are trained, if nothing ends the training before
    accelerator: str = setting("auto", role="work")  # auto | cpu | gpu
    devices: Any = "auto"  # number of devices, or which ones; auto: one. Batch sizes are per device
    num_nodes: int = 1  # number of machines, as in Lightning
    strategy: str = "auto"  # auto | ddp and others of Lightning, for several devices
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 if the machine supports it, else fp32
    channels_last: bool | None = None  # memory format; null: true on CUDA and with bf16 or fp16
    # auto | on | off: compile the network for training, on a GPU into one CUDA graph; auto: on one CUDA GPU, if 4,000
    # steps or more are left and the run is not deterministic. It can change the result by rounding, as `precision` can
    compile: str = setting("auto", since="2026-11-27")
    deterministic: bool = False  # only kernels that give the same bits again; slower on a GPU
    gradient_clip: float | None = None  # largest norm of the gradients; null: no limit
    accumulate_grad_batches: int = 1  # batches whose gradients are added up for a step
    limit_train_batches: Any = 1.0  # training batches per epoch: their number (int) or share (float), as in Lightning
    limit_val_batches: Any = 1.0  # the same for the validation batches
    checkpoint_minutes: float = setting(10.0, role="work")  # minutes between two writes of last.ckpt within an epoch
    log_every_n_steps: int = setting(50, role="work")  # steps between two points of the curves in TensorBoard
    progress_bar: bool = setting(True, role="work")  # show a progress bar in a terminal; false: print lines instead
    threads: int | None = setting(None, role="work")  # CPU threads per process; null: torch's choice
    # stop the training after this many epochs in a row without a better value of `monitor`; null: never
    early_stopping: int | None = setting(None, since="2026-11-25")
    # decay of an exponential moving average of weights and batch-norm statistics, which is validated and kept; after k
    # updates the decay is at most (1 + k) / (10 + k), so that the first weights are soon forgotten; null: no average
    ema: float | None = setting(None, since="2026-11-25")
    # stochastic weight averaging: share of the epochs after which the weights of each epoch are averaged, all equally;
    # the batch-norm statistics of the average are measured again on training images; null: no average
    swa: float | None = setting(None, since="2026-11-25")
    # number of best epochs whose weights are kept, as epoch-NNN.ckpt; null: none
    keep_epochs: int | None = setting(None, since="2026-11-25")


@dataclass
class ViewsConfig:
    views: list[str] = setting(["identity", "hflip"])  # views of test-time augmentation


@dataclass
class Config:
    name: str = setting("default", role="apart")  # name of the experiment, and of the folder of its runs
    seed: int = 0  # seed of the first weights, the order of the images and the augmentation
    output_dir: str = setting("outputs", role="place")  # folder of runs, sweeps, caches and pages
    monitor: str = "val/accuracy"  # metric that selects best.ckpt
    # fingerprint of a run of the same name to continue for more epochs; null: start anew. With a constant or plateau
    # schedule the result is that of one longer run; other schedules are planned anew, and the result differs
    extends: str | None = setting(None, since="2026-11-25")
    # checkpoint of the initial weights and nothing else; null: none. To continue a run, repeat its command instead
    init_from: str | None = setting(None, role="weights")
    # digest of those weights; the run sets it, and other weights are refused
    init_weights: str | None = setting(None, since="2026-11-25")
    data: DataConfig = field(default_factory=DataConfig)
    model: Any = MISSING
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluate: ViewsConfig = field(default_factory=ViewsConfig)
    # classical estimators, fitted when the run starts; each is a separate run with this name
    baselines: dict[str, Any] = setting({}, role="apart")  # name -> BaselineConfig
    retry_failed: bool = setting(False, role="work")  # in a sweep, run trials again if they failed before
