"""The settings of the commands that do not train, with their meanings and defaults.

They stand here and not beside the work, so that help and mistakes in a setting need not wait for torch.
"""

from dataclasses import dataclass, field
from typing import Any

from deepfake_lit.settings.roles import setting
from deepfake_lit.settings.schema import DataConfig


@dataclass
class EvaluateConfig:
    data: DataConfig = field(default_factory=DataConfig)
    # train | validation | test | all; auto: the validation or test split of the data. If there is none: all images, or,
    # if the checkpoint was trained on these data, only the share that was held out
    split: str = "auto"
    # for classes with other names: class of the data -> class of the checkpoint, or none_of_these, as in
    # {fake: ai, midjourney: none_of_these}
    classes: dict[str, str] = setting({})
    views: list[str] = setting(["identity", "hflip"])  # views of test-time augmentation
    batch_size: int = 250  # images that are computed together
    output: str = "outputs/evaluation"  # folder for the files that it writes
    accelerator: str = "auto"  # auto | cpu | gpu
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 if the machine supports it, else fp32


@dataclass
class RobustnessConfig(EvaluateConfig):
    views: list[str] = setting(["identity"])  # views of test-time augmentation
    output: str = "outputs/robustness"  # folder for the files that it writes
    kinds: list[str] | None = None  # kinds of distortion, as in data/distortions.py; null: all of them


@dataclass
class CalibrateConfig:
    data: DataConfig = field(default_factory=DataConfig)
    # images that the calibration is fitted on: validation | test | all; auto: as in evaluate. The checkpoint must not
    # have been trained on them
    split: str = "auto"
    # checkpoints of the same training on folds (data.folds=5 data.fold=0, ...). The calibration is then fitted on the
    # answers of each for the training images that it has not seen, and measured on the split; null: fitted on the split
    folds: list[str] | None = None
    classes: dict[str, str] = setting({})  # class of the data -> class of the checkpoint, or none_of_these
    method: str = "temperature"  # temperature: one number for all classes | vector: a scale and a bias for each class
    # score of unfamiliarity that decides which images are rejected; prediction/unfamiliarity.py lists the scores. auto:
    # knn for one network whose training images are in the data, else max_softmax
    score: str = "auto"
    coverage: float = 0.95  # share of the prediction sets that shall contain the true class
    rejected: float = 0.05  # share of the images of known classes that may be called none_of_these
    views: list[str] = setting(["identity", "hflip"])  # views of test-time augmentation; use the same ones in predict
    batch_size: int = 250  # images that are computed together
    output: str | None = None  # the checkpoint that is written; null: calibrated.ckpt beside each checkpoint
    accelerator: str = "auto"  # auto | cpu | gpu
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 if the machine supports it, else fp32


@dataclass
class OpenSetConfig:
    data: DataConfig = field(default_factory=DataConfig)
    split: str = "auto"  # validation | test; auto: the data's own
    classes: dict[str, str] = setting({})  # class of the data -> class of the checkpoint, or none_of_these
    views: list[str] = setting(["identity"])  # views of test-time augmentation
    batch_size: int = 250  # images that are computed together
    output: str = "outputs/open_set"  # folder for the file that it writes; below the output folder, the page shows it
    accelerator: str = "auto"  # auto | cpu | gpu
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 if the machine supports it, else fp32


@dataclass
class PredictConfig:
    # folder, .zip, image, CSV with a column of ids or paths, text file with a path per line, or a list: [a.png,folder]
    images: Any = None
    output: str = "outputs/predictions"  # folder for the files that it writes
    views: list[str] = setting(["identity", "hflip"])  # views of test-time augmentation
    batch_size: int = 250  # images that are computed together
    accelerator: str = "auto"  # auto | cpu | gpu
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 if the machine supports it, else fp32
    decode_workers: int | None = None  # processes that decode files; null: one per core
    # groups of classes, by number or name: {real: [0], fake: [1, 2, 3, 4]}; null: the training's data.groups
    groups: Any = None
    # write files.csv: how each file was processed before, as far as the file shows it; null: only for up to 500 images
    history: bool | None = None


@dataclass
class ExportConfig:
    # where to write: an ONNX file if the name ends in .onnx, weights with a card if it ends in .ckpt, else a folder for
    # Hugging Face
    output: str = "model.onnx"
    about: str | None = None  # for the card: what the network is and what it was trained on, in a sentence or two
    licence: str | None = None  # for the card: licence of the weights, such as MIT
    robustness: str | None = None  # for the card: a robustness.json that deepfake-lit robustness wrote
    # labelled images, of whose classes it gets the mean residuals and spectra
    data: DataConfig = field(default_factory=lambda: DataConfig(root=""))


@dataclass
class ExplainerConfig:
    robustness: str | None = None  # a robustness.json that deepfake-lit robustness wrote; null: the figures on the card
    # labelled images, of whose classes the mean residuals and spectra are shown; null: those in the checkpoint
    data: DataConfig = field(default_factory=lambda: DataConfig(root=""))
    views: list[str] = setting(["identity", "hflip"])  # views of test-time augmentation
    accelerator: str = "auto"  # auto | cpu | gpu
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; auto: bf16 if the machine supports it, else fp32


@dataclass
class ExplainConfig(ExplainerConfig):
    output: str = "explanation.html"  # the HTML file that it writes


@dataclass
class AppConfig(ExplainerConfig):
    host: str = "127.0.0.1"  # address that the page is served on; 0.0.0.0 lets other machines in
    port: int | None = None  # port of the page; null: the first free one from 7860 on
    browser: bool = False  # open the page in a browser


@dataclass
class ReproduceConfig:
    scale: str = "full"  # full: as the report states | cpu: slimmer networks, fewer epochs | smoke: seconds per network
    # null: those of the scale; with a single seed, rows that are a mean over seeds are left out
    seeds: list[int] | None = None
    rows: list[str] | None = None  # rows of the tables, by their keys in conf/reproduce/; null: all rows
    # numbers of seeds at which you will read the verdicts, as in [3,6,10]; null: those of the scale; if it
    # has none, one look at all seeds. The first run of a report declares them, and later runs keep them
    looks: list[int] | None = None
    # number of folds of the training images; each row is run on each fold, with the first seed unless `seeds` names
    # several; null: no folds, measured on the validation images
    folds: int | None = None
    # settled: rows get more seeds, where these are the likeliest to bring a verdict, until every claim has its own; or
    # until more seeds would hardly bring one. `looks` are then the numbers of seeds at which a claim may be looked at
    until: str | None = None
    budget: str | None = None  # time after which `until=settled` begins no more runs, as in 2h, 90m or 45s


@dataclass
class SearchConfig:
    trials: int = 40  # number of configurations that are tried; the same command with more of them goes on
    pruner: str = "hyperband"  # halving | hyperband | median | wilcoxon | none: which trials pause before their end
    sampler: str = "tpe"  # tpe | random | grid (every combination of listed values): which configurations are tried
    # epochs of the first rung, where a trial is first compared with others; null: a ninth of trainer.max_epochs
    first: int | None = None
    eta: int = 3  # each rung is so many times as far as the one before, and about one trial in so many goes on from it
    # trials are measured on the first of so many folds of the training images, and trained on the others; null: on the
    # validation images, which are then no fair test of the winner. data.folds= and data.fold= choose another fold
    folds: int | None = 5
    seeds: list[int] = setting([0, 1, 2])  # of the winner, which is trained again on all training images
    # null: a file in the search's folder; or a URL that Optuna knows, such as postgresql://HOST/NAME
    storage: str | None = None


@dataclass
class JudgeConfig:
    output: str = "outputs/judge"  # folder of what is written, with a folder for each report


@dataclass
class ReportConfig:
    output_dir: str = "outputs"  # where the runs are
    output: str | None = None  # folder for the page; null: <output_dir>/report
    data_root: str | None = None  # the images, for the page; null: where they were when the runs were trained
    images: bool = True  # show images on the page; false: a page without images, to publish
    # groups of classes, by number or name: {real: [0], fake: [1, 2, 3, 4]}; null: those of a training's data.groups
    groups: Any = None


@dataclass
class StatusConfig:
    output_dir: str = "outputs"  # where the runs are
    watch: float | None = None  # show the list again after so many seconds, until Ctrl-C; null: show it once


@dataclass
class BenchConfig:
    data: DataConfig = field(default_factory=DataConfig)
    sizes: list[int] = setting([2000, 4000, 12500])  # training images of KNN and SVM
    repetitions: int = 3  # how often each of the two ways is measured, in turn
    patience: float = 60.0  # seconds; for KNN and SVM, a way that takes longer is not repeated
    threads: int | None = None  # null: one per core
    seconds: float | None = None  # time limit for everything that is measured in processes of its own; null: no limit
    growth: list[int] = setting([12500, 50000, 200000])  # numbers of made-up images
    growth_runs: list[int] = setting([20, 200, 2000])  # numbers of made-up runs
    # made-up images of `memory`: number, side in pixels, classes
    memory: list[list[int]] = setting([[12500, 100, 5], [3000, 32, 1000], [48, 4000, 2]])
    output: str = "outputs/bench"  # folder for the files that it writes


@dataclass
class SamplesConfig:
    train: int = 1500  # images
    validation: int = 300  # images
    test: int = 0  # images
    image_size: int = 64  # side in pixels
    seed: int = 0  # another seed gives other images of the same kind


@dataclass
class DemoConfig:
    output_dir: str = "outputs/demo"  # folder for everything that it writes
    train: int = 1200  # images
    validation: int = 300  # images
    test: int = 100  # images
    image_size: int = 64  # side in pixels
    seed: int = 0  # of the images and the training
    max_epochs: int = 6  # of the training
