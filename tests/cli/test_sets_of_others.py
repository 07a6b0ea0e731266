"""Four commands on data sets as others have them, without renaming and with no setting but data.root."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import exit_status
from helpers.tiny_data import encode, noise

TINY = ["model.width=0.125", "trainer.max_epochs=1", "data.batch_size=16", "trainer.progress_bar=false"]


def cifake(root: Path) -> None:
    for split, count in (("train", 30), ("test", 8)):
        for name in ("REAL", "FAKE"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = noise(1000 * (split == "test") + 100 * (name == "REAL") + i, (32, 32, 3))
                (root / split / name / f"{i:04} (2).jpg").write_bytes(encode(pixels, format="JPEG"))


def genimage(root: Path) -> None:
    """Photographs are JPEGs of any size, generated images are PNGs of one size each generator."""
    for g, (generator, side) in enumerate((("ADM", 48), ("BigGAN", 40))):
        for split, count in (("train", 24), ("val", 6)):
            for name in ("ai", "nature"):
                folder = root / generator / f"imagenet_ai_{generator.lower()}" / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    seed = 10_000 * g + 1000 * (split == "val") + 100 * (name == "ai") + i
                    size = (side, side) if name == "ai" else (40 + seed % 9, 40 + seed % 13)
                    way = {"format": "PNG"} if name == "ai" else {"format": "JPEG", "quality": 96}
                    ending = "PNG" if name == "ai" else "JPEG"
                    (folder / f"{i:03}.{ending}").write_bytes(encode(noise(seed, (*size, 3)), **way))


def parquet(root: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    (root / "data").mkdir(parents=True)
    for start, split, count in ((0, "train", 40), (1000, "test", 12)):
        images = [{"bytes": encode(noise(start + i, (32, 32, 3))), "path": None} for i in range(count)]
        columns = {
            "image": images,
            "label": [i % 2 for i in range(count)],
            "generator": [f"G{i % 3}" for i in range(count)],
        }
        features = {"info": {"features": {"label": {"names": ["real", "fake"], "_type": "ClassLabel"}}}}
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})
        write_table(table, root / "data" / f"{split}-00000-of-00001.parquet", row_group_size=10)


@pytest.mark.parametrize(
    ("make", "images", "groups", "warned"),
    [
        (cifake, 16, [], None),
        (genimage, 24, ["ADM", "BigGAN"], "the files' format alone tells the class in 100% of the images"),
        (parquet, 12, ["G0", "G1", "G2"], None),
    ],
    ids=["CIFAKE", "GenImage", "parquet"],
)
def test_audit_train_evaluate_and_predict(make, images, groups, warned, tmp_path, capsys):
    root, out = tmp_path / "data", tmp_path / "out"
    make(root)
    assert exit_status(["audit", f"data.root={root}", f"output_dir={out}"]) == 0
    said = capsys.readouterr()
    assert (warned or "predicts nothing") in said.err + "predicts nothing"
    assert exit_status(["train", f"data.root={root}", f"output_dir={out}", *TINY]) == 0
    [checkpoint] = out.glob("runs/*/*/best.ckpt")
    assert exit_status(["evaluate", str(checkpoint), f"data.root={root}", f"output={tmp_path / 'evaluation'}"]) == 0
    report = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert report["plain"]["images"] == images
    assert list(report["groups"]) == groups
    capsys.readouterr()
    assert exit_status(["predict", str(checkpoint), f"images={root}", f"output={tmp_path / 'predictions'}"]) == 0
    lines = (tmp_path / "predictions" / "probabilities.csv").read_text().splitlines()
    every = sum(1 for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")) or 52
    assert len(lines) == 1 + every
    assert np.isfinite([float(line.split(",")[2]) for line in lines[1:]]).all()
