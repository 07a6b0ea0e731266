"""Evaluation on images of others: classes by their names, all of the images, figures of every group."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import exit_status
from helpers.tiny_data import encode, noise

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.hardware import resolve
from deepfake_lit.prediction.classes import align
from deepfake_lit.prediction.evaluate import EvaluateConfig, evaluate
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run

DARK = ("nature", "real", "REAL", "0_real")  # classes whose images are dark; all others are bright


def tree(root: Path, *folders: str, each: int = 10) -> Path:
    for i, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for j in range(each):
            pixels = noise(1000 * i + j) // 4 + (0 if set(folder.split("/")) & set(DARK) else 190)
            (root / folder / f"{j}.png").write_bytes(encode(pixels))
    return root


def settings(root: Path, output: Path, *more: str) -> list[str]:
    small = ["model.width=0.125", "trainer.max_epochs=6", "data.batch_size=8", "trainer.progress_bar=false"]
    return [f"data.root={root}", f"output_dir={output}", *small, "optimizer.lr=1e-2", "scheduler=constant", *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """The folder of class folders, and the checkpoint of a network that tells them; its classes stand in reverse."""
    folder = tmp_path_factory.mktemp("trained")
    root = tree(folder / "images", "ai", "nature", each=40)
    result = run(compose(settings(root, folder / "out", "data.class_names=[nature,ai]"))).main
    assert result.last["accuracy"] == 1
    return root, Path(result.folder) / "last.ckpt"


def evaluated(checkpoint: Path, root: Path, output: Path, **more) -> dict:
    cfg = EvaluateConfig(output=str(output), views=["identity"], **more)
    cfg.data.root = str(root)
    return evaluate([str(checkpoint)], cfg)


def test_classes_are_those_of_the_same_name_whatever_their_order(trained, tmp_path):
    root, checkpoint = trained
    report = evaluated(checkpoint, root, tmp_path / "out")  # the folders alone have the order ai, nature
    assert (report["plain"]["accuracy"], report["class_names"]) == (1, ["nature", "ai"])


def test_other_names_are_refused_with_both_lists_until_they_are_mapped(trained, tmp_path, capsys):
    _, checkpoint = trained
    root = tree(tmp_path / "data", "0_real", "1_fake")
    with pytest.raises(UserError, match=r"(?s)the data: 0_real, 1_fake; the checkpoint: nature, ai.*classes=\{0_real:"):
        evaluated(checkpoint, root, tmp_path / "out")
    command = ["evaluate", str(checkpoint), f"data.root={root}", f"output={tmp_path / 'out'}"]
    assert exit_status([*command, "classes={0_real: nature, 1_fake: ai}"]) == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["plain"]["accuracy"] == 1
    with pytest.raises(UserError, match="there is no class real"):
        evaluated(checkpoint, root, tmp_path / "out", classes={"real": "nature"})


def test_several_classes_of_the_data_can_be_one_of_the_checkpoints(trained, tmp_path):
    _, checkpoint = trained
    root = tree(tmp_path / "data", "real", "ADM", "glide")
    mapping = {"real": "nature", "ADM": "ai", "glide": "ai"}
    figures = evaluated(checkpoint, root, tmp_path / "out", classes=mapping)["plain"]
    assert (figures["images"], figures["accuracy"], figures["confusion"]) == (30, 1, [[10, 0], [0, 20]])


@pytest.mark.parametrize(
    ("folders", "split", "images", "chosen"),
    [
        (["nature", "ai"], "auto", 20, "train+validation"),
        (["validation/nature", "validation/ai"], "auto", 20, "validation"),
        (["test/nature", "test/ai"], "auto", 20, "test"),
        (["train/nature", "train/ai", "test/nature", "test/ai"], "auto", 20, "test"),
        (["train/nature", "train/ai", "test/nature", "test/ai"], "all", 40, "train+validation+test"),
        (["train/nature", "train/ai", "val/nature", "val/ai"], "auto", 20, "validation"),
        (["train/nature", "train/ai", "val/nature", "val/ai"], "train", 20, "train"),
    ],
)
def test_all_images_of_a_set_count(folders, split, images, chosen, trained, tmp_path):
    report = evaluated(trained[1], tree(tmp_path / "data", *folders), tmp_path / "out", split=split)
    assert (report["plain"]["images"], report["data"]["split"]) == (images, chosen)


def test_of_the_images_that_it_was_trained_on_only_those_held_out_count(trained, tmp_path):
    root, checkpoint = trained
    report = evaluated(checkpoint, root, tmp_path / "out")
    assert report["data"]["split"] == "validation"
    assert report["plain"]["images"] < 20


def test_every_generator_has_figures_of_its_own(trained, tmp_path, capsys):
    folders = [f"{g}/val/{c}" for g in ("ADM", "glide", "SD") for c in ("ai", "nature")]
    root = tree(tmp_path / "data", *folders)
    for file in (root / "glide/val/ai").iterdir():  # this generator is not recognised
        file.write_bytes(encode(noise(int(file.stem)) // 4))
    command = [
        "evaluate",
        str(trained[1]),
        f"data.root={root}",
        f"output={tmp_path / 'out'}",
        "data.tolerate=[same_pixels]",
    ]
    assert exit_status(command) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {g: f["accuracy"] for g, f in report["groups"].items()} == {"ADM": 1, "glide": 0.5, "SD": 1}
    assert report["plain"]["accuracy"] == pytest.approx(5 / 6)
    assert all(text in said for text in ("by group", "ADM", "glide", "0.5000"))
    stored = np.load(tmp_path / "out" / "predictions.npz")
    assert np.unique(stored["groups"], return_counts=True)[1].tolist() == [20, 20, 20]


def test_a_class_that_is_not_there_has_no_recall(trained, tmp_path, capsys):
    root = tree(tmp_path / "data", "ADM", "glide")
    command = ["evaluate", str(trained[1]), f"data.root={root}", f"output={tmp_path / 'out'}"]
    assert exit_status([*command, "classes={ADM: ai, glide: ai}"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "nature" in line]
    assert "-" in rows[0]
    assert "0.000000" not in rows[0]


def test_members_of_an_ensemble_agree_on_what_a_column_means(trained, tmp_path):
    root, checkpoint = trained
    other = run(compose(settings(root, tmp_path / "out"))).main  # its classes are ai, nature
    both = Predictor.load([str(checkpoint), f"{other.folder}/last.ckpt"], resolve("cpu", "fp32"))
    assert both.class_names == ["nature", "ai"]
    dark = torch.from_numpy(noise(5) // 4)[None]
    assert both.by_view(dark, None, ["identity"])[0, 0].argmax() == 0


def test_weights_with_another_order_of_classes_are_no_start(trained, tmp_path):
    root, checkpoint = trained
    with pytest.raises(UserError, match=r"classes in another order.*data.class_names=\[nature,ai\] gives the data"):
        run(compose(settings(root, tmp_path / "out", f"init_from={checkpoint}")))
    run(compose(settings(root, tmp_path / "out", f"init_from={checkpoint}", "data.class_names=[nature,ai]")))


def test_numbered_classes_keep_their_numbers():
    assert align(["0", "1"], ["real", "fake"], "the data", "the checkpoint") == [0, 1]
    assert align(["fake", "real"], ["0", "1"], "the data", "the checkpoint") == [0, 1]
    assert align(["FAKE", "REAL"], ["real", "fake"], "the data", "the checkpoint") == [1, 0]
    with pytest.raises(UserError, match="have different classes"):
        align(["0", "1"], ["0", "1", "2"], "the data", "the checkpoint")


def test_predictions_of_an_evaluation_are_kept_by_class_number_of_the_checkpoint(trained, tmp_path):
    root, checkpoint = trained
    evaluated(checkpoint, root, tmp_path / "out")
    stored = np.load(tmp_path / "out" / "predictions.npz")
    assert (stored["probabilities"].argmax(1) == stored["labels"]).all()


def test_a_folder_of_one_class_is_scored(trained, tmp_path):
    _, checkpoint = trained
    for name, folders in {"one": ["nature"], "two": ["ai/ADM", "ai/glide"]}.items():
        report = evaluated(checkpoint, tree(tmp_path / name, *folders), tmp_path / "out")
        assert (report["plain"]["accuracy"], report["plain"]["images"]) == (1, 10 * len(folders))
    assert set(report["groups"]) == {"ADM", "glide"}
    report = evaluated(checkpoint, tree(tmp_path / "photos", "photos"), tmp_path / "out", classes={"photos": "nature"})
    assert report["plain"]["recall_of"][1] == 0  # there are no images of `ai`


def test_which_images_are_scored_is_said(trained, tmp_path, capsys):
    _, checkpoint = trained
    evaluated(checkpoint, tree(tmp_path / "data", "ai", "nature"), tmp_path / "out")
    assert "no validation or test split with labels: all images are evaluated (split=all)" in capsys.readouterr().err


def test_classes_can_be_put_together_in_evaluate_and_predict(trained, tmp_path, capsys):
    root, checkpoint = trained
    root_of_three = tree(tmp_path / "data", "real", "ADM", "glide")
    command = ["evaluate", str(checkpoint), f"data.root={root_of_three}", f"output={tmp_path / 'out'}"]
    mapping = "classes={real: nature, ADM: ai, glide: ai}"
    assert exit_status([*command, mapping, "data.groups={photograph: [nature], generated: [1]}"]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (report["together"]["names"], report["together"]["accuracy"]) == (["photograph", "generated"], 1)
    assert report["together"]["auc_of"] == [1, 1]
    assert "classes put together" in capsys.readouterr().out
    assert exit_status([*command, mapping, "data.groups={one: [0, 1]}"]) == 2
    assert "needs two groups or more" in capsys.readouterr().err
    arguments = ["predict", str(checkpoint), f"images={root / 'ai'}", f"output={tmp_path / 'predicted'}"]
    assert exit_status([*arguments, "groups={photograph: [nature], generated: [ai]}"]) == 0
    head, first = (tmp_path / "predicted" / "probabilities.csv").read_text().splitlines()[:2]
    assert head == "image_id,label,p_nature,p_ai,class,group,p_group_photograph,p_group_generated"
    assert first.split(",")[4:6] == ["ai", "generated"]


def test_a_training_with_groups_hands_them_on(tmp_path):
    root = tree(tmp_path / "images", "a", "b", "c", each=12)
    overrides = settings(root, tmp_path / "out", "trainer.max_epochs=1")
    with pytest.raises(UserError, match="class c is in no group"):
        run(compose([*overrides, "data.groups={x:[a],y:[b]}"]))
    groups = "data.groups={x:[a,b],y:[2]}"
    result = run(compose([*overrides, groups])).main
    assert result.fingerprint == run(compose(overrides)).main.fingerprint  # they train nothing
    report = evaluated(Path(result.folder) / "last.ckpt", root, tmp_path / "evaluated")
    assert report["together"]["classes"] == {"x": [0, 1], "y": [2]}
