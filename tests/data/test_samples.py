import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepfake_lit.core.errors import UserError
from deepfake_lit.data.samples import write_samples

COUNTS = {"train": 600, "validation": 150, "test": 20}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples")
    write_samples(path, **COUNTS)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def labelled(root: Path, split: str) -> tuple[list[Path], np.ndarray]:
    table = rows(root / f"{split}.csv")
    return [root / split / f"{r['image_id']}.png" for r in table], np.array([int(r["label"]) for r in table])


def test_same_seed_same_bytes_other_seed_other_pixels(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_samples(tmp_path / name, train=20, validation=10, test=5, image_size=32, seed=seed)
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert len(a) == 35 + 4
    assert a == b
    assert a.keys() & c.keys() == {"train.csv", "validation.csv", "test.csv", "sample_submission.csv"}
    assert not set(a.values()) & set(c.values())


def test_layout(root):
    for split, count in COUNTS.items():
        table = rows(root / f"{split}.csv")
        assert list(table[0]) == (["image_id"] if split == "test" else ["image_id", "label"])
        assert len(table) == count
        assert {f"{r['image_id']}.png" for r in table} == {p.name for p in (root / split).iterdir()}
    submission = rows(root / "sample_submission.csv")
    assert [r["image_id"] for r in submission] == [r["image_id"] for r in rows(root / "test.csv")]
    assert {r["label"] for r in submission} == {"0"}


def test_a_split_without_images_leaves_no_files(tmp_path):
    write_samples(tmp_path, train=5, validation=0, test=0, image_size=16)
    assert {p.name for p in tmp_path.iterdir()} == {"train", "train.csv"}


def test_labels_are_balanced_and_their_order_is_not_regular(root):
    for split in ("train", "validation"):
        _, labels = labelled(root, split)
        assert np.bincount(labels).tolist() == [COUNTS[split] // 5] * 5
        # By chance a fifth of the rows repeats an earlier label; all do if sorted (distance 1) or cyclic (5).
        for distance in (1, 5):
            assert 0.08 < np.mean(labels[distance:] == labels[:-distance]) < 0.35


def test_an_image_does_not_depend_on_the_counts(root, tmp_path):
    write_samples(tmp_path, train=10, validation=5, test=5)
    fewer, more = files(tmp_path), files(root)
    images = [name for name in fewer if name.endswith(".png")]
    assert len(images) == 20
    assert all(fewer[name] == more[name] for name in images)
    labels = {r["image_id"]: r["label"] for r in rows(root / "train.csv")}
    assert all(labels[r["image_id"]] == r["label"] for r in rows(tmp_path / "train.csv"))


def test_ids_are_unique_and_say_nothing_of_the_label(root):
    ids = [r["image_id"] for split in COUNTS for r in rows(root / f"{split}.csv")]
    assert len(set(ids)) == sum(COUNTS.values())

    digits, labels = {}, {}
    for split in ("train", "validation"):
        paths, labels[split] = labelled(root, split)
        digits[split] = [[int(d, 16) for d in p.stem.replace("-", "")] for p in paths]
    # 0.2 is chance, 0.35 is 4.6 standard deviations above it.
    model = KNeighborsClassifier(15, metric="hamming").fit(digits["train"], labels["train"])
    assert model.score(digits["validation"], labels["validation"]) < 0.35


def test_only_class_3_has_alpha_and_it_varies(root):
    paths, labels = labelled(root, "validation")
    mattes = []
    for path, label in zip(paths, labels, strict=True):
        with Image.open(path) as image:
            assert image.size == (64, 64)
            assert image.mode == ("RGBA" if label == 3 else "RGB")
            if label == 3:
                mattes.append(np.asarray(image.getchannel("A")))
    assert all(len(np.unique(m)) > 20 and np.ptp(m) > 100 for m in mattes)  # soft, and over most of the range
    assert len({m.tobytes() for m in mattes}) == len(mattes) == COUNTS["validation"] // 5


def arrays(root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images (RGB alone, 0..1) and labels, validation images and labels."""
    out = []
    for split in ("train", "validation"):
        paths, labels = labelled(root, split)
        out += [np.stack([np.asarray(Image.open(p).convert("RGB"), np.float32) / 255 for p in paths]), labels]
    return tuple(out)


def test_neither_pixels_nor_mean_colours_give_the_class_away(root):
    train, train_labels, validation, validation_labels = arrays(root)
    for features in (lambda x: x.reshape(len(x), -1), lambda x: x.mean(axis=(1, 2))):
        model = KNeighborsClassifier(5, algorithm="brute").fit(features(train), train_labels)
        assert model.score(features(validation), validation_labels) < 0.5


def traces(images: np.ndarray) -> np.ndarray:
    """How the fine residual of an image goes with itself some pixels on, and with that of another colour."""
    near = images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    fine = images[:, 1:-1, 1:-1] - near / 4
    fine = np.tanh(fine / fine.std(axis=(1, 2, 3), keepdims=True))  # edges must not outweigh the noise
    size = fine.shape[1]
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    products = [fine[:, dy:, dx:] * fine[:, : size - dy, : size - dx] for dy, dx in shifts]
    products += [fine[..., :1] * fine[..., 1:2], fine[:, ::2, ::2] * fine[:, 1::2, 1::2]]
    return np.stack([p.mean(axis=(1, 2, 3)) for p in products], axis=1)


def test_rgb_alone_tells_every_class_by_its_traces(root):
    train, train_labels, validation, validation_labels = arrays(root)
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(traces(train), train_labels)
    predicted = model.predict(traces(validation))
    assert all(np.mean(predicted[validation_labels == c] == c) > 0.8 for c in range(5))


@pytest.mark.parametrize("wrong", [{"train": -1}, {"seed": -1}, {"image_size": 15}])
def test_wrong_numbers_are_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        write_samples(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
