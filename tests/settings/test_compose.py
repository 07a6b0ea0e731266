"""Configuration: every file composes, every mistake is one line, a run is its fingerprint."""

import dataclasses
import itertools
import re
import shutil

import pytest
import yaml

from deepfake_lit.cli.main import main
from deepfake_lit.core.errors import UserError
from deepfake_lit.settings import compose as composing
from deepfake_lit.settings.compose import compose, config_dir, from_dict
from deepfake_lit.settings.identity import NOT_IDENTITY, fingerprint, to_dict

FILES = sorted(p.relative_to(config_dir()).with_suffix("") for p in config_dir().glob("*/*.yaml"))
FILES = [f for f in FILES if f.parent.name != "reproduce"]  # no part of a run's configuration: test_reproduce
NEEDS = {
    "none": ["baseline=knn"],
    "timm": ["model.name=resnet18"],
    "idea": ["experiment=whitening_cnn"],
    "ensemble": ["model.members=[a.ckpt,b.ckpt]"],
    "sweep/knn_k": ["baseline=knn"],
    "sweep/ensemble": ["experiment=ensemble", "model.members=[a.ckpt,b.ckpt]"],
    "deepfake_net_2_staged": ["init_from=a.ckpt"],
    "deepfake_net_2_erasing": ["init_from=a.ckpt"],
    "vgg16_staged": ["init_from=a.ckpt"],
}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_composes(file):
    choice = f"{'+' if file.parent.name == 'sweep' else ''}{file.parent}={file.name}"
    cfg = compose(["data.root=x", *NEEDS.get(str(file), NEEDS.get(file.name, NEEDS.get(file.parent.name, []))), choice])
    assert cfg.data.root == "x"


def test_there_are_files_to_compose():
    assert {"experiment", "model", "augment", "optimizer", "scheduler"} <= {f.parent.name for f in FILES}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dropuot=0.5", "there is no setting model.dropuot; did you mean model.dropout?"),
        ("+model.dropuot=0.5", "there is no setting model.dropuot; did you mean model.dropout?"),
        ("+nonsense=1", "there is no setting nonsense"),
        ("optimizer.momentum=0.9", "there is no setting optimizer.momentum"),  # adamw has none
        ("trainer.max_epochs=many", "trainer.max_epochs"),
        ("trainer.max_epochs=0", "trainer.max_epochs must be above 0"),
        ("data.channels=cmyk", "data.channels is 'cmyk'; it must be one of rgb, rgba, gray"),
        ("data.mean=[0.1,0.2]", "data.mean has 2 values; rgb needs 1 or 3"),
        ("data.tolerate=[csv]", "data.tolerate"),
        ("augment.hflip=1.5", "augment.hflip is a probability"),
        ("augment.blur_kernel=4", "augment.blur_kernel must be odd"),
        ("model.dropout=[0.1,0.2]", "three probabilities"),
        ("model.kind=resnet", "model.kind is 'resnet'; it must be one of deepfake_net"),
        ("evaluate.views=[mirror]", "views has 'mirror'"),
        ("monitor=accuracy", "monitor is 'accuracy'"),
        ("trainer.precision=int8", "trainer.precision"),
        ("seed=-1", "seed must be 0 or more"),
        ("data.class_names=[a,b,a]", "data.class_names=['a', 'b', 'a'] names a class twice"),
        ("data.workers=-1", "data.workers must not be negative"),
        ("trainer.threads=100000", "trainer.threads must be at most 1024"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be above 0"),
        ("optimizer.lr=nan", "optimizer.lr must be above 0"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay must not be negative"),
        ("optimizer.betas=[0.9,1]", "optimizer.betas must be two numbers in [0, 1)"),
        ("scheduler.warmup=2", "scheduler.warmup is a share of the steps, from 0 to 1"),
        ("scheduler.div_factor=0", "scheduler.div_factor must be above 0"),
        ("data.root=???", "data.root is not set"),
    ],
)
def test_a_mistake_is_one_line(override, message, capsys):
    with pytest.raises(SystemExit) as stop:
        _command_line(["train", "data.root=x", override])
    error = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert message in error[-1]
    assert error[-1].startswith("deepfake-lit: ")
    assert len(error) == 1


def _command_line(arguments):
    main(arguments)


def test_every_idea_is_tried():
    def swept(name):
        tree = yaml.safe_load((config_dir() / "sweep" / f"{name}.yaml").read_text())
        return tree["hydra"]["sweeper"]["params"]["idea"]

    tried = {idea for name in ("ideas", "regularisation") for idea in swept(name).split(",")}
    assert tried == {path.stem for path in (config_dir() / "idea").glob("*.yaml")}


def test_the_reports_settings_are_what_the_reports_say():
    """Values from REPORTS: the experiment files are what people copy from, so a slip here spreads."""
    a = compose(["data.root=x", "experiment=deepfake_net"])
    assert (a.data.image_size, a.data.batch_size, a.model.dropout) == (128, 32, [0.25, 0.3, 0.4])
    a2 = compose(["data.root=x", "experiment=deepfake_net_2"])
    assert (a2.optimizer.kind, a2.optimizer.lr, a2.model.dropout) == ("adam", 1e-4, [0.25, 0.2, 0.2])
    assert a2.loss.class_weights == {"focus": {4: 2.7}}
    assert (a2.scheduler.kind, a2.scheduler.patience, a2.scheduler.factor) == ("plateau", 2, 0.5)
    b = compose(["data.root=x", "experiment=residual_cnn"])
    assert (b.data.channels, b.data.image_size, b.data.batch_size) == ("rgba", None, 64)
    assert (b.optimizer.lr, b.optimizer.weight_decay, b.loss.label_smoothing) == (3e-4, 1e-4, 0.1)
    assert (b.augment.cutmix_p, b.augment.rotation, b.trainer.max_epochs) == (0.5, 10.0, 100)


def test_round_trip_through_plain_data():
    cfg = compose(["data.root=x", "experiment=deepfake_net_2"])
    assert from_dict(to_dict(cfg)) == cfg


def test_stored_configurations_hold_no_interpolations():
    tree = to_dict(compose(["data.root=x"]))
    tree["name"] = "${oc.env:HOME}"
    with pytest.raises(UserError, match="interpolations"):
        from_dict(tree)


def test_fingerprint_changes_with_every_setting_that_matters_and_no_other():
    def prints(*overrides, data="d"):
        return fingerprint(compose(["data.root=x", *overrides]), data)

    base = prints()
    same = ["data.root=y", "output_dir=z", "data.workers=3", "trainer.progress_bar=false", "data.cache_dir=c", "name=n"]
    other = [
        "seed=1",
        "data.channels=gray",
        "optimizer.lr=0.5",
        "model.width=0.5",
        "augment.hflip=0.5",
        "loss.label_smoothing=0.1",
        "trainer.max_epochs=11",
        "trainer.precision=bf16",
        "scheduler=constant",
    ]
    assert [prints(o) for o in same] == [base] * len(same)
    everything = [base, prints(data="e"), *map(prints, other)]
    assert all(a != b for a, b in itertools.combinations(everything, 2))


def test_excluded_settings_exist():
    cfg = compose(["data.root=x"])
    ensemble = compose(["data.root=x", "model=ensemble", "model.members=[a,b]"])
    timm = compose(["data.root=x", "model=timm", "model.name=resnet18"])
    for name in NOT_IDENTITY:
        node = cfg
        if name.startswith("model."):
            node = timm if "pretrained" in name else ensemble
        for part in name.split("."):
            assert part in {f.name for f in dataclasses.fields(node)}, name
            node = getattr(node, part)


def _open_settings() -> list[tuple[str, str]]:
    """(choice, setting) of every ??? in conf/; a file that builds on another one leaves open what that one does."""
    found = []
    for file in FILES:
        text = (config_dir() / f"{file}.yaml").read_text()
        found += [(f"{file.parent}={file.name}", match) for match in re.findall(r"^(\w+): \?\?\?", text, re.MULTILINE)]
    return found


def test_there_are_open_settings():
    assert {"data=images", "experiment=vgg16_staged"} <= {choice for choice, _ in _open_settings()}


@pytest.mark.parametrize(("choice", "setting"), _open_settings())
def test_what_a_file_leaves_open_must_be_given(choice, setting, capsys):
    group = choice.partition("=")[0]
    name = setting if group == "experiment" else f"{group}.{setting}"
    others = [] if name == "data.root" else ["data.root=x"]
    with pytest.raises(UserError, match=f"{name} is not set; give it on the command line, as in {name}=VALUE"):
        compose([*others, choice])
    _command_line_ends(["train", *others, choice, "--cfg", "job"], 0)
    assert re.search(rf"^ *{setting}: \?\?\?$", capsys.readouterr().out, re.MULTILINE)
    _command_line_ends(["train", *others, choice, f"{name}=given", "--cfg", "job"], 0)
    assert re.search(rf"^ *{setting}: given$", capsys.readouterr().out, re.MULTILINE)


def _command_line_ends(arguments, status):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == status


def test_open_settings_of_any_group_and_depth(tmp_path, monkeypatch):
    """What a later file or the command line gives is given, null too."""
    conf = tmp_path / "conf"
    shutil.copytree(config_dir(), conf)
    (conf / "experiment" / "open.yaml").write_text(
        "# @package _global_\nextends: ???\ntrainer:\n  ema: ???\naugment:\n  crop: ???\n"
    )
    (conf / "experiment" / "closed.yaml").write_text(
        "# @package _global_\ndefaults: [open]\nextends: 0123456789abcdef\naugment: {crop: 4}\n"
    )
    (conf / "augment" / "open.yaml").write_text("hflip: ???\n")
    monkeypatch.setattr(composing, "config_dir", lambda: conf)
    composing._file.cache_clear()
    given = ["extends=null", "trainer.ema=0.9", "augment.crop=2"]
    for left_out in given:
        with pytest.raises(UserError, match=f"{left_out.partition('=')[0]} is not set"):
            compose(["data.root=x", "experiment=open", *(o for o in given if o != left_out)])
    cfg = compose(["data.root=x", "experiment=open", *given])
    assert (cfg.extends, cfg.trainer.ema, cfg.augment.crop) == (None, 0.9, 2)
    with pytest.raises(UserError, match=r"trainer.ema is not set"):
        compose(["data.root=x", "experiment=closed"])
    assert compose(["data.root=x", "experiment=closed", "trainer.ema=null"]).augment.crop == 4
    with pytest.raises(UserError, match=r"augment.hflip is not set"):
        compose(["data.root=x", "augment=open"])
    composing._file.cache_clear()


@pytest.mark.slow
def test_in_a_sweep_each_trial_lacks_it(samples, tmp_path, capsys):
    sweep = ["-m", "experiment=vgg16_staged", "seed=0,1", f"data.root={samples}", f"output_dir={tmp_path}"]
    _command_line_ends(["train", *sweep], 1)
    assert capsys.readouterr().err.count("failed: init_from is not set") >= 2
    assert not list(tmp_path.glob("runs/*/*/result.json"))
