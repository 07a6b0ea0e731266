"""What a user reads when something is wrong: one or two lines with the cause and the remedy, never a traceback.

A row of the tables is a situation, a command, what the message says, and the exit status. Words in braces are paths:
`{data}` has a small data set, `{out}` is not there yet, `{file}` is a file, `{checkpoint}` fits the data, `{diverged}`
is full of NaN.
"""

import contextlib
import errno
import json
import os
import re
import resource
import shutil
from pathlib import Path

import pytest
import torch
from helpers.command_line import exit_status
from helpers.made_up_runs import made_up
from helpers.tiny_data import write_healthy

from deepfake_lit.cli.main import COMMANDS
from deepfake_lit.core import hardware

KEPT = Path(__file__).parents[1] / "kept"
TRAIN = "train data.root={data} output_dir={out} data.cache_dir={cache} trainer.max_epochs=1 model.width=0.125"
PLAIN = "train data.root={data} output_dir={out} data.cache_dir={cache}"
ROBUSTNESS = "robustness {checkpoint} data.root={data} data.cache_dir={cache} output={out}"
PREDICT = "predict {checkpoint} images={data} output={out}"
EVALUATE = "evaluate {checkpoint} data.root={data} data.cache_dir={cache} output={out}"


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """The paths that stand in the tables, but for {out}."""
    top = tmp_path_factory.mktemp("places")
    for name in ("data", "run", "empty"):
        (top / name).mkdir()
    write_healthy(top / "data")
    (top / "file").write_text("a file")
    (top / "text.ckpt").write_text("weights, honestly")
    (top / "result.json").write_text(json.dumps({"schema": 1}))
    shutil.copy(KEPT / "network.ckpt", top / "run" / "best.ckpt")
    checkpoint = torch.load(KEPT / "network.ckpt", weights_only=True)
    checkpoint["state_dict"] = {
        k: v * torch.nan if v.is_floating_point() else v for k, v in checkpoint["state_dict"].items()
    }
    torch.save(checkpoint, top / "diverged.ckpt")
    found = {name: str(top / name) for name in ("data", "file", "run", "runs", "empty", "cache")}
    made_up(top / "runs" / "runs" / "net" / "x", 0.9, 0)
    found |= {"checkpoint": str(KEPT / "network.ckpt"), "diverged": str(top / "diverged.ckpt")}
    return found | {"json": str(top / "result.json"), "text": str(top / "text.ckpt")}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "_available", lambda: {"cpu"})


def said(command: str, places: dict[str, str], tmp_path: Path, capsys) -> tuple[int, str]:
    """The exit status of a command, and its message; `|` stands for a space within an argument."""
    words = [word.format(**places, out=tmp_path / "out").replace("|", " ") for word in command.split()]
    capsys.readouterr()
    status = exit_status(words)
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert "Error executing job" not in errors
    message = errors.rpartition("deepfake-lit: ")[2].strip()
    assert 1 <= len(message.splitlines()) <= 2, message
    assert "weights_only" not in message
    return status, message


def check(command: str, message: str, status: int, places, tmp_path, capsys) -> str:
    found = said(command, places, tmp_path, capsys)
    assert re.search(message.format(**{k: re.escape(v) for k, v in places.items()}), found[1]), found[1]
    assert found[0] == status
    return found[1]


NO_DEVICE = "torch finds no such device on this machine; leave the setting out, or choose cpu"
SITUATIONS = {
    # devices and precisions
    "no GPU, train": (TRAIN + " trainer.accelerator=gpu", f"accelerator=gpu: {NO_DEVICE}", 2),
    "no CUDA, train": (TRAIN + " trainer.accelerator=cuda", f"accelerator=cuda: {NO_DEVICE}", 2),
    "no GPU, baselines": (PLAIN + " experiment=svm trainer.accelerator=gpu", f"accelerator=gpu: {NO_DEVICE}", 2),
    "no GPU, predict": (PREDICT + " accelerator=gpu", f"accelerator=gpu: {NO_DEVICE}", 2),
    "no MPS, evaluate": (EVALUATE + " accelerator=mps", f"accelerator=mps: {NO_DEVICE}", 2),
    "no such device": (TRAIN + " trainer.accelerator=tpu", "accelerator is 'tpu'; it must be one of auto, cpu, gpu", 2),
    "no such device, predict": (PREDICT + " accelerator=npu", "accelerator is 'npu'; it must be one of auto, cpu", 2),
    "fp16 on a CPU": (TRAIN + " trainer.precision=fp16", "precision=fp16 needs a GPU.*choose bf16, fp32 or auto", 2),
    "fp16 on a CPU, predict": (PREDICT + " precision=fp16", "precision=fp16 needs a GPU", 2),
    "no such precision": (EVALUATE + " precision=int8", "precision is 'int8'; it must be one of auto, fp32, bf16", 2),
    "GPUs by number": (TRAIN + " trainer.devices=[0,1]", r"trainer.devices=\[0, 1\] names GPUs.* run on the CPU", 2),
    "no devices": (TRAIN + " trainer.devices=0", "trainer.devices=0 must be auto, a number of devices, or a list", 2),
    "no such kind": (ROBUSTNESS + " kinds=[jpge]", "kinds is 'jpge'; it must be one of jpeg, jpeg_444, webp", 2),
    "no checkpoint, robustness": (
        "robustness data.root={data} output={out}",
        "name a checkpoint, as in: deepfake-lit robustness",
        2,
    ),
    "a checkpoint twice": (ROBUSTNESS + " {checkpoint}", "a checkpoint is named twice", 2),
    "no data, robustness": ("robustness {checkpoint} data.root={out}", "there is no such folder or file", 2),
    # a run that cannot be
    "no batches": (TRAIN + " trainer.limit_train_batches=0", "limit_train_batches is 0; it must be a number of", 2),
    "no validation": (TRAIN + " trainer.limit_val_batches=0.0", "limit_val_batches is 0.0; it must be a number of", 2),
    "half a batch": (TRAIN + " trainer.limit_val_batches=1.5", "limit_val_batches is 1.5; it must be", 2),
    "a strategy": (TRAIN + " trainer.strategy=fast", "invalid strategy name: `strategy='fast'`", 2),
    "share of no batch": (TRAIN + " trainer.limit_train_batches=0.01", "Try at least `limit_train_batches=1.0`", 2),
    "small images": (
        PLAIN + " model=timm model.name=vit_tiny_patch16_224",
        "model=timm does not take images of 16 x 16: set data.image_size=224",
        2,
    ),
    "no file of weights": (
        PLAIN + " model=timm model.name=resnet10t model.pretrained=true model.pretrained_file={out}.bin",
        "No such file or directory; model.pretrained_file is a file of weights",
        2,
    ),
    "no weights in the file": (
        PLAIN + " model=timm model.name=resnet10t model.pretrained=true model.pretrained_file={file}",
        r"trained weights of resnet10t cannot be had .*\n.*model.pretrained_file=FILE",
        2,
    ),
    "a file of weights for nothing": (
        PLAIN + " model=timm model.name=resnet10t model.pretrained_file={file}",
        "model.pretrained_file belongs to model.pretrained=true",
        2,
    ),
    "a start is missing": (PLAIN + " experiment=vgg16_staged", "init_from is not set; give it .* init_from=VALUE", 2),
    "a sweep is printed": (TRAIN + " -m seed=1,2 --cfg job", "--cfg prints one: leave -m out", 2),
    "nothing is printed": (TRAIN + " --cfg", "--cfg is followed by what is to be printed: job, hydra or all", 2),
    "a look before now": ("status output_dir={out} watch=-1", "watch is a number of seconds above 0", 2),
    # checkpoints
    "no checkpoint": ("predict {out} images={data}", "there is no such checkpoint", 2),
    "none named": ("evaluate data.root={data}", "name a checkpoint, as in: deepfake-lit evaluate", 2),
    "a list for a number": (TRAIN + " seed=[1]", "seed: .* is not a whole number; its default is seed=0", 2),
    "a number for a list": (PLAIN + " model.dropout=2", r"must be a list; its default is model.dropout=\[0.25,", 2),
    "a result": ("predict {json} images={data}", "{json} is not a readable checkpoint; .* are best.ckpt and last", 2),
    "a text": ("export {text} output={out}", "{text} is not a readable checkpoint", 2),
    "a long setting": ("export {text} output={out} about=" + 300 * "a", "{text} is not a readable checkpoint", 2),
    "a folder without": ("export {empty} output={out}", "{empty} is a folder without best.ckpt", 2),
    "a start that is none": (TRAIN + " init_from={json}", "{json} is not a readable checkpoint", 2),
    "diverged, predict": (
        "predict {diverged} images={data} output={out}",
        "{diverged} answers with NaN or infinity.*take another checkpoint",
        2,
    ),
    "diverged, evaluate": (
        "evaluate {diverged} data.root={data} data.cache_dir={cache} output={out}",
        "{diverged} answers with NaN or infinity",
        2,
    ),
    "one of several diverged": (
        "predict {checkpoint} {diverged} images={data} output={out}",
        "{diverged} answers with NaN or infinity",
        2,
    ),
    "diverged, export": ("export {diverged} output={out}/model.onnx", "{diverged} answers with NaN or infinity", 2),
    "diverged, explain": ("explain {data}/train/t00.png {diverged} output={out}", "{diverged} answers with NaN", 2),
    "no checkpoint, explain": ("explain {data}/train/t00.png {out}", "there is no such checkpoint", 2),
    "no image, explain": ("explain {checkpoint}", "name one image, and a checkpoint", 2),
    "no checkpoint, app": ("app {out}", "there is no such checkpoint", 2),
    "two checkpoints, app": ("app {checkpoint} {diverged}", "name one checkpoint, as in: deepfake-lit app", 2),
    # names of settings
    "epochs": (TRAIN + " epochs=3", "there is no setting epochs; did you mean trainer.max_epochs?", 2),
    "trainer.epochs": (TRAIN + " trainer.epochs=3", "no setting trainer.epochs; did you mean trainer.max_epochs?", 2),
    "learning rate": (TRAIN + " optimizer.learning_rate=1", "did you mean optimizer.lr?", 2),
    "lr": (TRAIN + " lr=1", "did you mean optimizer.lr?", 2),
    "batch": (TRAIN + " batch=8", "did you mean data.batch_size?", 2),
    "another group's": (TRAIN + " trainer.batch_size=8", "did you mean data.batch_size?", 2),
    "image_dir": (PLAIN + " image_dir=x", "did you mean data.root?", 2),
    "a folder as the data": (
        "train data={data}",
        "there is no data={data}; .* a folder of images is data.root={data}",
        2,
    ),
    "another kind's": (TRAIN + " model.name=x", "no setting model.name in model=deepfake_net; timm has it", 2),
    "two other kinds'": (TRAIN + " optimizer.momentum=1", "in optimizer=adamw; sgd and muon have it", 2),
    "a network of timm": (PLAIN + " model=resnet50", "must be one of .*model=timm model.name=resnet50", 2),
    "an experiment": (PLAIN + " experiment=vgg61", "there is no experiment=vgg61; did you mean experiment=vgg16?", 2),
    "a typo, predict": (PREDICT + " bach_size=3", "there is no setting bach_size; did you mean batch_size?", 2),
    "train's name, predict": ("predict {checkpoint} data.root={data}", "no setting data; did you mean images?", 2),
    "train's name, evaluate": (EVALUATE + " output_dir={out}", "no setting output_dir; did you mean output?", 2),
    # how a value is written
    "brackets": (
        "train data.root=my|folder|(1)",
        r"data.root: my folder \(1\) has characters that must be quoted.* 'data.root=\"my folder \(1\)\"'",
        2,
    ),
    "an equals sign": ("train data.root=a=b", "must be quoted.* 'data.root=\"a=b\"'", 2),
    "no value": (TRAIN + " nonsense", "'nonsense' is no setting; settings are NAME=VALUE", 2),
    "several values": (TRAIN + " seed=1,2", "seed=1,2 are several values: add -m to train each", 2),
    # what does nothing
    "an argument too many": ("status foo", "'foo' is nothing that this command takes; its settings are output_dir=", 2),
    "a flag, status": ("status --output_dir /x", "there is no flag --output_dir; .* output_dir=VALUE", 2),
    "a flag, train": (TRAIN + " --epochs=3", "there is no flag --epochs; settings have no dashes: epochs=3", 2),
    "a flag, predict": (PREDICT + " --tta", "there is no flag --tta", 2),
    "a flag, audit": ("audit data.root={data} --verbose", "there is no flag --verbose", 2),
    "a network's, svm": (
        PLAIN + " experiment=svm trainer.max_epochs=3",
        "trainer.max_epochs=3 would have no effect",
        2,
    ),
    "a network's choice, svm": (PLAIN + " experiment=svm optimizer=sgd", "optimizer=sgd would have no effect", 2),
    "a network's, a sweep of svm": (
        PLAIN + " -m experiment=svm augment.hflip=0.5 seed=1,2",
        "augment.hflip=0.5 would have no effect: model=none trains no network",
        2,
    ),
    "a run's, audit": (
        "audit data.root={data} trainer.max_epochs=3",
        "audit looks at the files alone; leave it out",
        2,
    ),
    "a network's, evaluate": (EVALUATE + " data.image_size=64", "data.image_size=64 would have no effect", 2),
    # places
    "no data": ("train data.root={out}", "there is no such folder or file", 2),
    "data not given": ("audit", "data.root is not set", 2),
    "images not given": ("predict {checkpoint}", "images is not set", 2),
    "no output, status": ("status output_dir={out}", "there is no folder", 2),
    "no folder, samples": ("samples", "name one folder", 2),
}
WRITING = {  # command -> how the place that it writes to is set, in a message
    "predict {checkpoint} images={data} output=@": "output",
    "evaluate {checkpoint} data.root={data} data.cache_dir={cache} output=@": "output",
    "robustness {checkpoint} data.root={data} data.cache_dir={cache} output=@": "output",
    "audit data.root={data} data.cache_dir={cache} output_dir=@": "output_dir",
    "export {checkpoint} output=@/model.onnx": "output",
    "explain {checkpoint} {data}/train/t00.png output=@/page.html": "output",
    "report output_dir={runs} output=@": "output",
    "bench start data.root={data} data.cache_dir={cache} output=@": "output",
    "samples @ train=5 validation=5 image_size=16": "another FOLDER",
    "demo output_dir=@ train=5 validation=5 image_size=16": "output_dir",
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_message_names_cause_and_remedy(situation, places, tmp_path, capsys):
    check(*SITUATIONS[situation], places, tmp_path, capsys)


@pytest.mark.parametrize("command", [*WRITING, TRAIN.replace("{out}", "@")])
def test_the_output_is_a_file(command, places, tmp_path, capsys):
    check(command.replace("@", "{file}"), "{file}.*(move it|choose another output_dir)", 2, places, tmp_path, capsys)


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "make room"), (errno.EROFS, "make it writable")], ids=("full", "read-only")
)
def test_the_disk_is(number, remedy, command, places, tmp_path, monkeypatch, capsys):
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    message = rf"/out\S*: {os.strerror(number)}; {remedy}, or write elsewhere with {WRITING[command]}"
    check(command.replace("@", "{out}"), message, 2, places, tmp_path, capsys)


def test_the_disk_is_full_in_training(places, tmp_path, monkeypatch, capsys):
    """What it has done is kept: the same command goes on once there is room."""

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    check(
        TRAIN,
        "/out/runs/.*: No space left on device; make room, and the same command goes on",
        75,
        places,
        tmp_path,
        capsys,
    )
    monkeypatch.undo()
    assert exit_status([word.format(**places, out=tmp_path / "out") for word in TRAIN.split()]) == 0


@contextlib.contextmanager
def no_file_beyond(size: int):
    """As on a disk with so little room: the kernel refuses what would make a file larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("command", "size", "message", "status"),
    [
        (TRAIN, 100, "/out/runs/.*: File too large; make room, and the same command goes on", 75),
        (TRAIN, 3000, "/out/runs/.*: File too large; make room, and the same command goes on", 75),  # best.ckpt
        (TRAIN + " -m seed=1,2", 100, "/out: File too large; make room, or write elsewhere with output_dir=", 2),
        (PLAIN + " model=none baseline=svm", 100, "/out/runs/svm.*make room, and the same command goes on", 75),
        (PREDICT, 0, "/out: File too large; make room, or write elsewhere with output=", 2),
        (PREDICT, 100, "/out/submission.csv: File too large; make room", 2),
        (EVALUATE, 3000, "/out/confusion.png: File too large; make room", 2),
        ("audit data.root={data} data.cache_dir={cache} output_dir={out}", 3000, "/contact_sheet.png: File too", 2),
        ("export {checkpoint} output={out}/model.onnx", 3000, "/out/model.onnx: File too large; make room", 2),
        ("report output_dir={runs} output={out}", 3000, "/out/index.html: File too large; make room", 2),
        ("samples {out} train=5 validation=5", 100, "/out/train: File too large; make room", 2),
    ],
)
def test_the_disk_is_full_half_way(command, size, message, status, places, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    with no_file_beyond(size):
        check(command, message, status, places, tmp_path, capsys)
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_predict_finds_out_before_its_work(places, tmp_path, monkeypatch, capsys):
    def by_view(*arguments):
        raise AssertionError("it has begun")

    monkeypatch.setattr("deepfake_lit.prediction.predictor.Predictor.by_view", by_view)
    check("predict {checkpoint} images={data} output={file}/x", "{file}.*it is in the way", 2, places, tmp_path, capsys)


def test_trained_weights_without_network(places, tmp_path, monkeypatch, capsys):
    def create_model(*arguments, pretrained=False, **options):
        raise ConnectionError("cannot reach the hub\n" * 40)

    monkeypatch.setattr("timm.create_model", create_model)
    command = PLAIN + " model=timm model.name=resnet10t model.pretrained=true"
    message = (
        r"resnet10t cannot be had \(they are downloaded: ConnectionError cannot reach the hub\)\n.*pretrained_file"
    )
    check(command, message, 2, places, tmp_path, capsys)


def test_a_network_that_the_images_do_not_fit(tmp_path, capsys):
    """4x4 images are too small for three poolings."""
    assert exit_status(["samples", str(tmp_path / "data"), "train=10", "validation=5", "image_size=16"]) == 0
    for path in (tmp_path / "data").rglob("*.png"):
        _shrink(path)
    places = {"data": str(tmp_path / "data"), "cache": str(tmp_path / "cache")}
    message = "model=deepfake_net does not take images of 4 x 4: set data.image_size to a larger side"
    check(PLAIN, message, 2, places, tmp_path, capsys)
    words = [word.format(**places, out=tmp_path / "out") for word in TRAIN.split()]
    assert exit_status([*words, "data.image_size=32"]) == 0


def _shrink(path: Path) -> None:
    from PIL import Image

    Image.open(path).convert("RGB").resize((4, 4)).save(path)


# --- What is sensible is taken. ---


def test_a_run_s_folder_stands_for_its_best_epoch(places, tmp_path):
    for command in ("predict {run} images={data}", "evaluate {run} data.root={data}", "export {run}"):
        words = [word.format(**places) for word in command.split()]
        output = tmp_path / words[0] / ("model.onnx" if words[0] == "export" else "")
        assert exit_status([*words, f"output={output}"]) == 0
    assert exit_status([*f"{TRAIN} init_from={{run}}".format(**places, out=tmp_path).split()]) in (0, 2)


@pytest.mark.parametrize("command", ["train", "audit", "evaluate", "predict", "samples"])
def test_a_home_folder_may_be_short(command, places, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(places["data"]).parent))
    data, checkpoint = "~/data", f"~/{Path(places['run']).name}/best.ckpt"
    out = tmp_path / "out"
    words = {
        "train": [*TRAIN.format(**places | {"data": data}, out=out).split()[1:]],
        "audit": [f"data.root={data}", f"output_dir={out}"],
        "evaluate": [checkpoint, f"data.root={data}", f"output={out}"],
        "predict": [checkpoint, f"images={data}", f"output={out}"],
        "samples": ["~/more", "train=5", "validation=5", "image_size=16"],
    }
    assert exit_status([command, *words[command]]) == 0
    assert not Path("~").exists()


def test_the_quoting_that_a_message_shows_works(places, tmp_path, capsys):
    odd = tmp_path / "my folder (1)"
    shutil.copytree(places["data"], odd)
    words = TRAIN.replace("data.root={data}", "").format(**places, out=tmp_path / "out").split()
    assert exit_status([*words, f"data.root={odd}"]) == 2
    shown = re.search(r"Hydra: '(.*)'$", capsys.readouterr().err.strip())[1]
    assert exit_status([*words, shown]) == 0


def test_settings_that_a_command_uses_pass(places, tmp_path):
    out = tmp_path / "out"
    baseline = [*PLAIN.format(**places, out=out).split(), "model=none", "baseline=knn", "data.channels=gray", "seed=3"]
    assert exit_status([*baseline, "trainer.accelerator=cpu", "trainer.progress_bar=false"]) == 0
    assert exit_status(["audit", f"data.root={places['data']}", f"output_dir={out}", "experiment=residual_cnn"]) == 0
    assert exit_status(["status", f"output_dir={out}"]) == 0
    several = [*PLAIN.format(**places, out=out).split(), "-m", "experiment=svm,demo", "trainer.max_epochs=1"]
    assert exit_status(several) == 0


def test_no_room_for_temporary_files(monkeypatch, capsys):
    """torch wants a temporary folder as soon as it is imported."""

    def command(arguments: list[str]) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setitem(COMMANDS, "status", command)
    assert exit_status(["status"]) == 2
    assert "make room, or set TMPDIR to a folder that can be written" in capsys.readouterr().err
