"""Files from a stranger are data: no checkpoint or result runs code, and each has its one clear message."""

import contextlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.checkpoint import ENTRY
from deepfake_lit.prediction.predictor import load_member
from deepfake_lit.prediction.trained import load_trained
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.result import REQUIRED, read_result
from deepfake_lit.settings.compose import compose
from deepfake_lit.studies.status import StatusConfig, look
from deepfake_lit.training.lineage import lineage_of, pinned
from deepfake_lit.training.run import run


class Malicious:
    """Leaves a file where it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    """A finished run's configuration, its folder, and its last checkpoint."""
    cfg = compose([*settings, f"output_dir={tmp_path_factory.mktemp('finished')}", "trainer.limit_train_batches=2"])
    folder = Path(run(cfg).main.folder)
    return cfg, folder, torch.load(folder / "last.ckpt", weights_only=True)


def changed(checkpoint: dict, *path: str, to) -> dict:
    """The checkpoint with another value at the end of a path of keys."""
    copy = dict(checkpoint)
    copy[path[0]] = changed(copy[path[0]], *path[1:], to=to) if len(path) > 1 else to
    return copy


def saved(checkpoint) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def as_tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
        archive.writestr("archive/version", b"3")
    return buffer.getvalue()


# name -> (content, given a good checkpoint and a file that code would leave), what the message says
CHECKPOINTS = {
    "empty": (lambda c, t: b"", "not a readable checkpoint"),
    "text": (lambda c, t: b"weights, honestly", "opened as a checkpoint|not a readable"),
    "cut off": (lambda c, t: saved(c)[:-3000], "not a readable checkpoint"),
    "one byte changed": (lambda c, t: saved(c)[:64] + b"\xff" + saved(c)[65:], "not a readable|more than data|damaged"),
    "a pickle that runs a command": (lambda c, t: pickle.dumps(Malicious(t)), "more than data"),
    "such a pickle in torch's format": (lambda c, t: saved(Malicious(t)), "more than data"),
    "such a pickle among the weights": (
        lambda c, t: saved(c | {"state_dict": c["state_dict"] | {"net.x": Malicious(t)}}),
        "more than data",
    ),
    "such a pickle as a callback's state": (
        lambda c, t: saved(c | {"callbacks": {"History": Malicious(t)}}),
        "more than data",
    ),
    "a whole module": (lambda c, t: saved(torch.nn.Linear(2, 2)), "more than data"),
    "a zip of zeros": (lambda c, t: zip_bomb(), "not a readable|more than data"),
    "a list": (lambda c, t: saved([1, 2]), "not a checkpoint of deepfake_lit"),
    "another program's": (lambda c, t: saved({"state_dict": {}}), "not a checkpoint of deepfake_lit"),
    "no configuration": (
        lambda c, t: saved(changed(c, ENTRY, "config", to=None)),
        "damaged|there is no|of another run",
    ),
    "an unknown network": (
        lambda c, t: saved(changed(c, ENTRY, "config", "model", "kind", to="os.system")),
        "model.kind is 'os.system'",
    ),
    "a target to instantiate": (
        lambda c, t: saved(changed(c, ENTRY, "config", "model", "_target_", to="os.system")),
        "there is no setting model._target_",
    ),
    "an interpolation": (
        lambda c, t: saved(changed(c, ENTRY, "config", "name", to="${oc.env:HOME}")),
        "must not hold interpolations",
    ),
    "a network of another width": (
        lambda c, t: saved(changed(c, ENTRY, "config", "model", "width", to=4.0)),
        "damaged|differs in model.width",
    ),
    "weights of another shape": (
        lambda c, t: saved(changed(c, "state_dict", "net.classifier.bias", to=torch.zeros(7))),
        "damaged",
    ),
    "an entry that is a number": (lambda c, t: saved(c | {ENTRY: 5}), "damaged"),
    "no class names": (
        lambda c, t: saved(c | {ENTRY: {k: v for k, v in c[ENTRY].items() if k != "class_names"}}),
        "damaged: it lacks class_names",
    ),
    "weights that are a list": (lambda c, t: saved(c | {"state_dict": [1]}), "damaged"),
    "weights that are text": (
        lambda c, t: saved(changed(c, "state_dict", "net.classifier.bias", to="0 0 0 0 0")),
        "damaged",
    ),
}
# of those that are taken for ensembles
ENSEMBLES = {
    "members that are text": (lambda c, t: saved(changed(c, ENTRY, "members", to="ab")), "damaged"),
    "a member that runs code": (
        lambda c, t: saved(changed(c, ENTRY, "members", to=[{"skops": as_tensor(pickle.dumps(Malicious(t)))}])),
        "not a readable baseline",
    ),
}
# of those that hold good weights, and cannot be gone on from
UNRESTORABLE = {
    "no optimizer": lambda c, t: saved({k: v for k, v in c.items() if k != "optimizer_states"}),
    "an optimizer that is text": lambda c, t: saved(c | {"optimizer_states": ["adam"]}),
    "no group of the optimizer": lambda c, t: saved(
        changed(c, "optimizer_states", to=[{"state": {}, "param_groups": []}])
    ),
    "loops without counts": lambda c, t: saved(c | {"loops": {"fit_loop": {}}}),
    "steps that are text": lambda c, t: saved(c | {"global_step": "many"}),
    "a history that is a number": lambda c, t: saved(c | {"callbacks": dict.fromkeys(c["callbacks"], 3)}),
}


@pytest.mark.parametrize("name", [*CHECKPOINTS, *ENSEMBLES])
def test_a_hostile_checkpoint_is_not_predicted_with(name, finished, tmp_path):
    content, message = (CHECKPOINTS | ENSEMBLES)[name]
    good = finished[2]
    (tmp_path / "x.ckpt").write_bytes(content(good, tmp_path / "trace"))
    for load in (load_member,) if name in ENSEMBLES else (load_trained, load_member):
        with pytest.raises(UserError, match=message):
            load(tmp_path / "x.ckpt")
    cfg = compose(["data.root=x", f"init_from={tmp_path / 'x.ckpt'}"])
    for read in (lambda: pinned(cfg), lambda: lineage_of(tmp_path / "x.ckpt")):
        with contextlib.suppress(UserError):  # that the weights belong to nothing is not theirs to find
            read()
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CHECKPOINTS, *UNRESTORABLE])
def test_a_hostile_checkpoint_is_put_aside_and_the_one_before_used(name, finished, tmp_path, capsys):
    cfg, folder, good = finished
    content = UNRESTORABLE[name] if name in UNRESTORABLE else CHECKPOINTS[name][0]
    (folder / "result.json").unlink(missing_ok=True)
    (folder / "previous.ckpt").write_bytes(saved(good))
    (folder / "last.ckpt").write_bytes(content(good, tmp_path / "trace"))
    run(cfg)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "it is kept as last.unusable-" in said
    assert "goes on from" in said
    assert "previous.ckpt" in said
    assert not (tmp_path / "trace").exists()
    assert (folder / "result.json").exists()
    last = torch.load(folder / "last.ckpt", weights_only=True)
    assert torch.equal(last["state_dict"]["net.classifier.bias"], good["state_dict"]["net.classifier.bias"])


RESULTS = {
    "empty": b"",
    "no JSON": b"accuracy = 1",
    "a list": b"[]",
    "cut off": b'{"schema": 1, "name": "x',
    "bytes": b"\xff\xfe\x00",
    "nested deeply": b"[" * 100_000,
    "without figures": b'{"schema": 1, "name": "x"}',
    "a schema that is text": json.dumps(dict.fromkeys(REQUIRED, "1")).encode(),
    "a newer schema": json.dumps(dict.fromkeys(REQUIRED, 99)).encode(),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_hostile_result_is_one_message(name, tmp_path):
    folder = tmp_path / "runs" / "x" / "0"
    folder.mkdir(parents=True)
    (folder / "result.json").write_bytes(RESULTS[name])
    with pytest.raises(UserError, match=r"result\.json"):
        read_result(folder)
    ((run,), _) = look(StatusConfig(str(tmp_path)))
    assert run.state == "unreadable"
    assert "result.json" in run.reason


@pytest.mark.parametrize("kind", ["a pickle", "objects", "cut off", "text", "other arrays"])
def test_hostile_predictions_are_one_message(kind, tmp_path):
    path, trace = tmp_path / "predictions.npz", tmp_path / "trace"
    if kind == "a pickle":
        path.write_bytes(pickle.dumps(Malicious(trace)))
    elif kind == "objects":
        np.savez(path, ids=np.array([Malicious(trace)], dtype=object), labels=[0], probabilities_last=[[1.0]])
    elif kind == "text":
        path.write_text("0.5,0.5")
    else:
        np.savez(
            path, **({"x": [1]} if kind == "other arrays" else {"ids": ["a"], "labels": [0], "probabilities_last": [1]})
        )
        if kind == "cut off":
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="predictions"):
        read_predictions(path)
    assert not trace.exists()
