"""Images of different sizes without a resize, and images that are decoded when asked for instead of stored."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import exit_status
from helpers.tiny_data import encode, noise, write_healthy, zipped
from PIL import Image

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.hardware import resolve
from deepfake_lit.data import pool as decoding
from deepfake_lit.data.cache import open_pixels
from deepfake_lit.data.datamodule import ImageDataModule, random_places
from deepfake_lit.data.decode import decode, size_of
from deepfake_lit.data.fit import centre, window
from deepfake_lit.data.images import open_data
from deepfake_lit.data.problems import DataError
from deepfake_lit.data.sources import open_source
from deepfake_lit.data.windows import Ragged, Streamed
from deepfake_lit.prediction.checkpoint import read_checkpoint
from deepfake_lit.prediction.predictor import Predictor
from deepfake_lit.results.files import read_predictions
from deepfake_lit.results.result import ARRAYS
from deepfake_lit.settings.checks import check
from deepfake_lit.settings.choices import VIEWS
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.schema import AugmentConfig, DataConfig

TINY = ["model.width=0.125", "trainer.max_epochs=2", "data.batch_size=8", "trainer.progress_bar=false"]
TINY += ["trainer.accelerator=cpu", "trainer.precision=fp32", "augment=none"]


def sizes_of(count: int) -> list[tuple[int, int]]:
    return [(40 + i % 7, 36 + i % 5) for i in range(count)]


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Two classes of 16 + 6 images; no two neighbours have the same size, and the smallest side is 36."""
    root = tmp_path / "mixed"
    for split, count in (("train", 16), ("validation", 6)):
        for label, name in enumerate(("fake", "real")):
            (root / split / name).mkdir(parents=True)
            for i, size in enumerate(sizes_of(count)):
                seed = 1000 * len(split) + 100 * label + i
                (root / split / name / f"{split}-{name}-{i:02}.png").write_bytes(encode(noise(seed, (*size, 3))))
    return root


def opened(root: Path, cache: Path, **settings):
    return open_data(DataConfig(root=str(root), **settings), cache)


@pytest.fixture
def no_reading(monkeypatch):
    def fail(*_):
        raise AssertionError("an image was read")

    def forbid():
        for name in ("decode", "size_of"):
            monkeypatch.setattr(decoding, name, fail)

    return forbid


@pytest.mark.parametrize("side", [(9, 7), (3, 4), (1, 2), (5, 20)])
@pytest.mark.parametrize("size", [(4, 4), (8, 6), (13, 3)])
def test_a_window_mirrors_what_lies_beyond_the_image(side, size):
    image = noise(1, (*side, 3))
    top, left = centre(side, size)
    expected = np.pad(image, ((20, 20), (20, 20), (0, 0)), mode="reflect")
    expected = expected[20 + top : 20 + top + size[0], 20 + left : 20 + left + size[1]]
    np.testing.assert_array_equal(window(image, top, left, size), expected)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("alpha", [255, 7])
def test_crop_and_pad_keep_pixels(fit, alpha):
    image = np.dstack([noise(3, (10, 6, 3)), np.full((10, 6), alpha, np.uint8)])
    image[0, 0, 3] = 255
    fact, pixels, transparency = decode(encode(image), (8, 8), fit)
    assert (fact.height, fact.width) == (10, 6)
    np.testing.assert_array_equal(pixels[:, 1:7], image[1:9, :, :3])
    np.testing.assert_array_equal(pixels[:, 0], image[1:9, 1, :3])
    assert (transparency is None) == (alpha == 255)
    assert alpha == 255 or (transparency[:, 1:7] == 255 - image[1:9, :, 3]).all()


def test_the_head_of_a_file_says_the_size_that_decoding_finds():
    turned = Image.fromarray(noise(1, (10, 6, 3)))
    exif = turned.getexif()
    exif[0x0112] = 6
    data = encode(turned, format="JPEG", exif=exif)
    fact = decode(data, None)[0]
    assert size_of(data) == (fact.height, fact.width) == (6, 10)
    assert size_of(encode(noise(1, (10, 6, 3)))) == (10, 6)
    assert size_of(b"?") == (0, 0)


def test_photographs_of_any_size_are_cut_and_not_resized(mixed, tmp_path, capsys, no_reading):
    data = opened(mixed, tmp_path / "cache")
    assert (data.fit, data.size) == ("random_crop", (36, 36))
    assert "random windows of 36 x 36 pixels" in capsys.readouterr().err
    train = data.splits["train"]
    assert isinstance(train.pixels, Ragged)
    assert train.pixels.shape == (32, 36, 36, 3)
    files = [np.asarray(Image.open(mixed / file)) for file in train.files]
    np.testing.assert_array_equal(train.pixels.image(5), files[5])
    whole = train.gather(slice(None))[0]
    for i, image in enumerate(files):
        np.testing.assert_array_equal(whole[i], window(image, *centre(image.shape[:2], (36, 36)), (36, 36)))
    np.testing.assert_array_equal(train.pixels[3], whole[3])
    np.testing.assert_array_equal(train.pixels[:, 2:9, 1:5][np.array([4, 1])], whole[[4, 1], 2:9, 1:5])
    assert train.pixels[:, 2:9, 1:5].shape == (32, 7, 4, 3)
    no_reading()
    again = opened(mixed, tmp_path / "cache")
    assert again.hash == data.hash
    np.testing.assert_array_equal(again.splits["train"].gather(slice(None))[0], whole)


def test_what_worked_before_is_as_it_was(tmp_path):
    (tmp_path / "data").mkdir()
    root = write_healthy(tmp_path / "data")
    auto, resize = opened(root, tmp_path / "cache"), opened(root, tmp_path / "cache", fit="resize")
    assert auto.fit == "resize"
    assert auto.hash == resize.hash == HEALTHY
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == 2
    smaller = opened(root, tmp_path / "cache", decode_size=8)
    assert smaller.fit == "resize"
    hashes = {
        opened(root, tmp_path / "cache", decode_size=8, fit=fit).hash for fit in ("resize", "crop", "random_crop")
    }
    assert len(hashes) == 3
    assert smaller.hash in hashes


HEALTHY = "8cee8cdfea479be5b0598900"  # of these images, by the commit before there was data.fit


@pytest.mark.parametrize(("odd", "fit"), [(2, None), (4, "random_crop")])
def test_a_few_odd_sizes_are_mistakes_and_many_are_not(odd, fit, tmp_path):
    (tmp_path / "data").mkdir()
    root = write_healthy(tmp_path / "data")
    for i in range(odd):
        (root / "train" / f"t{i + 3:02}.png").write_bytes(encode(noise(i, (20 + i, 21, 3))))
    if fit:
        data = opened(root, tmp_path / "cache")
        assert (data.fit, data.size) == (fit, (32, 32))  # smaller images are mirrored
        tolerated = opened(root, tmp_path / "cache", tolerate=["wrong_size"])
        assert (tolerated.fit, tolerated.size) == ("resize", (16, 16))
        return
    with pytest.raises(DataError, match="another size"):
        opened(root, tmp_path / "cache")


def test_a_damaged_image_among_different_sizes_keeps_its_place(mixed, tmp_path):
    broken = mixed / "train" / "fake" / "train-fake-03.png"
    broken.write_bytes(broken.read_bytes()[:-900])
    (mixed / "train" / "fake" / "train-fake-04.png").write_bytes(b"?")
    for settings in ({}, {"cache_gib": 0}):
        data = opened(mixed, tmp_path / f"cache{len(settings)}", tolerate=["corrupt_image"], **settings)
        train = data.splits["train"]
        assert len(train) == 30
        for i, file in enumerate(train.files):
            image = np.asarray(Image.open(mixed / file))
            np.testing.assert_array_equal(train.pixels.image(train.rows[i]), image)


def test_many_processes_and_no_cache_folder_give_the_same(mixed, tmp_path, monkeypatch):
    one = opened(mixed, tmp_path / "one").splits["train"].gather(slice(None))[0]
    monkeypatch.setattr(decoding, "FEW", 1)
    monkeypatch.setattr(decoding, "TASK_BYTES", 20_000)
    two = opened(mixed, tmp_path / "two", decode_workers=2).splits["train"].gather(slice(None))[0]
    (tmp_path / "file").write_text("")
    memory = opened(mixed, tmp_path / "file", decode_workers=1).splits["train"].gather(slice(None))[0]
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, memory)


def test_training_windows_are_a_function_of_seed_epoch_and_image(mixed, tmp_path):
    data = opened(mixed, tmp_path / "cache")
    train = data.splits["train"]

    def seen(seed: int, epoch: int, workers: int = 0) -> np.ndarray:
        module = ImageDataModule(data, DataConfig(batch_size=5, workers=workers), AugmentConfig(), seed)
        loader = module.train_dataloader().loader
        loader.sampler.set_epoch(epoch)
        found = np.zeros((32, 36, 36, 3), np.uint8)
        for batch in loader:
            found[batch.indices] = batch.pixels
        return found

    first = seen(0, 0)
    np.testing.assert_array_equal(first, seen(0, 0, workers=2))
    assert (first != seen(0, 1)).any(axis=(1, 2, 3)).sum() > 20
    assert (first != seen(1, 0)).any(axis=(1, 2, 3)).sum() > 20
    places = random_places(0, None, 0, 0, np.arange(32))
    for i, (height, width) in enumerate(train.pixels.sizes):
        top, left = (places[i] * (height - 35, width - 35)).astype(int)
        np.testing.assert_array_equal(first[i], train.pixels.image(i)[top : top + 36, left : left + 36])
    for batch in ImageDataModule(data, DataConfig(), AugmentConfig(), 0).val_dataloader():
        np.testing.assert_array_equal(batch.pixels, data.splits["validation"].gather(batch.indices.numpy())[0])


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("settings", [{}, {"decode_size": 24}, {"decode_size": 24, "fit": "crop"}])
def test_streamed_images_are_those_of_the_cache(settings, archive, mixed, tmp_path, capsys, no_reading):
    image = np.dstack([noise(1, (40, 40, 3)), noise(2, (40, 40))])
    (mixed / "train" / "fake" / "train-fake-00.png").write_bytes(encode(image))
    root = zipped(mixed) if archive else mixed
    stored = opened(root, tmp_path / "cache", **settings)
    assert "decoded again" not in capsys.readouterr().err
    streamed = opened(root, tmp_path / "facts", cache_gib=0, **settings)
    assert capsys.readouterr().err.count("decoded again in every epoch") == 1
    assert not list((tmp_path / "facts").rglob("*.npy"))
    assert streamed.hash == stored.hash
    for name, split in stored.splits.items():
        other = streamed.splits[name]
        assert isinstance(other.pixels, Streamed)
        copy = pickle.loads(pickle.dumps(other))
        for a, b, c in zip(*(s.gather(slice(None)) for s in (split, other, copy)), strict=True):
            assert (a is None) == (b is None) == (c is None) == (name == "validation" and a is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)
                np.testing.assert_array_equal(a, c)
    no_reading()
    assert opened(root, tmp_path / "facts", cache_gib=0, **settings).hash == stored.hash


def test_a_full_disk_streams(mixed, tmp_path, monkeypatch, capsys):
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    assert isinstance(opened(mixed, tmp_path / "cache").splits["train"].pixels, Streamed)
    assert "the free disk" in capsys.readouterr().err


def test_a_file_that_changes_while_it_is_streamed_is_an_error(mixed, tmp_path):
    train = opened(mixed, tmp_path / "cache", cache_gib=0).splits["train"]
    (mixed / train.files[2]).write_bytes(encode(noise(1, (9, 9, 3))))
    with pytest.raises(UserError, match=r"train-fake-02.png changed since .*: it is 9 x 9 pixels now"):
        train.gather(np.array([2]))
    (mixed / train.files[2]).unlink()
    with pytest.raises(UserError, match="can no longer be read"):
        train.gather(np.array([2]))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    [path] = folder.glob("runs/*/*/last.ckpt")
    return read_checkpoint(path)["state_dict"]


@pytest.mark.parametrize("archive", [False, True])
def test_training_evaluation_and_prediction_see_the_same(archive, mixed, tmp_path):
    """Trained from the cache, and streamed with and without workers, the weights are the same."""
    root = zipped(mixed) if archive else mixed
    ways = {"cache": [], "stream": ["data.cache_gib=0"], "workers": ["data.cache_gib=0", "data.workers=2"]}
    for way, settings in ways.items():
        assert exit_status(["train", f"data.root={root}", f"output_dir={tmp_path / way}", *TINY, *settings]) == 0
    found = {way: weights(tmp_path / way) for way in ways}
    for way in ("stream", "workers"):
        assert all(torch.equal(found["cache"][key], found[way][key]) for key in found["cache"])
    [checkpoint] = (tmp_path / "cache").glob("runs/*/*/last.ckpt")
    entry = read_checkpoint(checkpoint)["deepfake_lit"]
    assert (entry["fit"], entry["image_size"], entry["config"]["data"]["fit"]) == ("random_crop", [36, 36], "auto")

    own = read_predictions(checkpoint.parent / "predictions.npz")
    of_id = dict(zip(own["ids"].tolist(), own[ARRAYS["last"]], strict=True))
    assert np.stack(list(of_id.values())).std(0).min() > 1e-4  # so that other pixels would have another answer
    evaluation = [f"data.root={root}", f"output={tmp_path / 'evaluation'}", "accelerator=cpu", "precision=fp32"]
    assert exit_status(["evaluate", str(checkpoint), *evaluation]) == 0
    again = np.load(tmp_path / "evaluation" / "predictions.npz")
    assert again["ids"].tolist() == own["ids"].tolist()
    np.testing.assert_allclose(again["probabilities"], own[ARRAYS["last"]], atol=1e-5)

    images = f"images={mixed / 'validation' / 'fake'}"
    how = ["views=[identity]", "accelerator=cpu", "precision=fp32", f"output={tmp_path / 'new'}"]
    assert exit_status(["predict", str(checkpoint), images, *how]) == 0
    lines = (tmp_path / "new" / "probabilities.csv").read_text().splitlines()[1:]
    assert len(lines) == 6
    for line in lines:
        image_id, _, *p = line.split(",")[:4]
        expected = next(row for key, row in of_id.items() if image_id in key)
        np.testing.assert_allclose([float(value) for value in p], expected, atol=1e-5)


def test_a_checkpoint_without_a_fit_resizes(tmp_path, mixed):
    """As those of before 2026-11-27."""
    (tmp_path / "data").mkdir()
    root = write_healthy(tmp_path / "data")
    assert exit_status(["train", f"data.root={root}", f"output_dir={tmp_path / 'out'}", *TINY]) == 0
    [path] = (tmp_path / "out").glob("runs/*/*/last.ckpt")
    whole = torch.load(path, weights_only=True)
    assert whole["deepfake_lit"].pop("fit") == "resize"
    torch.save(whole, tmp_path / "old.ckpt")
    answers = []
    for checkpoint in (path, tmp_path / "old.ckpt"):
        out = tmp_path / f"new-{checkpoint.stem}"
        assert exit_status(["predict", str(checkpoint), f"images={mixed / 'train' / 'fake'}", f"output={out}"]) == 0
        answers.append((out / "probabilities.csv").read_text())
    assert answers[0] == answers[1]


def test_settings_that_do_not_fit_each_other():
    for wrong, message in (
        (["data.fit=crop"], "needs data.decode_size"),
        (["data.fit=zoom"], "data.fit"),
        (["data.fit=random_crop", "data.on_device=true"], "every epoch"),
        (["data.cache_gib=-1"], "0 or more"),
    ):
        with pytest.raises(UserError, match=message):
            check(compose(["data.root=x", *wrong]))


def test_open_pixels_has_windows_of_any_size(mixed, tmp_path):
    source = open_source(mixed)
    pixels = open_pixels(source, sorted(source.files), "train", tmp_path / "cache", fit="random_crop")
    assert pixels.pixels.shape == (44, 1, 1, 3)
    assert pixels.of_size((50, 20)).pixels[:2].shape == (2, 50, 20, 3)
    assert json.loads((next((tmp_path / "cache").glob("train-*/facts.json"))).read_text())[0][2:4] == [36, 40]


CORNERS = {"crop_tl": (0, 0), "crop_tr": (0, 1), "crop_bl": (1, 0), "crop_br": (1, 1)}


@pytest.mark.parametrize("settings", [{}, {"cache_gib": 0}], ids=["cache", "stream"])
def test_corner_windows_are_the_corners(settings, mixed, tmp_path):
    split = opened(mixed, tmp_path / "cache", **settings).splits["validation"]
    for view, (down, right) in CORNERS.items():
        pixels, _ = split.gather(slice(0, 3), np.array(VIEWS[view].place))
        for file, found in zip(split.files, pixels, strict=False):
            image = np.asarray(Image.open(mixed / file))
            rows, columns = (slice(-36, None) if at else slice(0, 36) for at in (down, right))
            np.testing.assert_array_equal(found, image[rows, columns])


def test_views_of_corners_are_the_mean_over_windows(mixed, tmp_path):
    views = f"[identity,{','.join(CORNERS)},hflip_crop_br]"
    out = f"output_dir={tmp_path / 'out'}"
    assert exit_status(["train", f"data.root={mixed}", out, f"evaluate.views={views}", *TINY]) == 0
    [checkpoint] = (tmp_path / "out").glob("runs/*/*/last.ckpt")
    own = read_predictions(checkpoint.parent / "predictions.npz")
    of_id = dict(zip(own["ids"].tolist(), own["probabilities_last_tta"], strict=True))

    images = mixed / "validation" / "fake"
    how = ["accelerator=cpu", "precision=fp32", f"output={tmp_path / 'new'}"]
    assert exit_status(["predict", str(checkpoint), f"images={images}", f"views={views}", *how]) == 0
    predictor = Predictor.load([str(checkpoint)], resolve("cpu", "fp32"))
    for line in (tmp_path / "new" / "probabilities.csv").read_text().splitlines()[1:]:
        image_id, _, *p = line.split(",")[:4]
        image = np.asarray(Image.open(images / f"{image_id}.png"))
        top, left = centre(image.shape[:2], (36, 36))
        seen = [image[top : top + 36, left : left + 36], image[:36, :36], image[:36, -36:], image[-36:, :36]]
        seen += [image[-36:, -36:], image[-36:, -36:][:, ::-1]]
        expected = predictor.by_view(torch.from_numpy(np.stack(seen)), None, ["identity"])[0].mean(0).numpy()
        np.testing.assert_allclose([float(value) for value in p], expected, atol=1e-5)
        np.testing.assert_allclose(next(row for key, row in of_id.items() if image_id in key), expected, atol=1e-5)


def test_what_has_no_windows_is_refused(mixed, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    whole = write_healthy(tmp_path / "data")
    one_size = ["train", f"data.root={whole}", *TINY, "trainer.max_epochs=1", "data.num_classes=3"]
    assert exit_status([*one_size, f"output_dir={tmp_path / 'a'}", "evaluate.views=[crop_tl]"]) == 2
    assert "crop_tl are corners of larger images, which need data.fit=random_crop" in capsys.readouterr().err
    paths = []
    for name, side in (("small", 32), ("large", 34)):
        cut = [f"data.root={mixed}", *TINY, "trainer.max_epochs=1", "data.fit=random_crop", f"data.decode_size={side}"]
        assert exit_status(["train", *cut, f"output_dir={tmp_path / name}"]) == 0
        paths += (tmp_path / name).glob("runs/*/*/last.ckpt")
    capsys.readouterr()
    assert exit_status(["predict", *map(str, paths), f"images={mixed}", f"output={tmp_path / 'new'}"]) == 2
    message = capsys.readouterr().err
    assert "was trained on windows of 34 x 34 pixels" in message
    assert "on windows of 32 x 32 pixels: they cannot answer together" in message


def test_on_device_says_that_it_does_nothing(mixed, tmp_path, capsys):
    data = opened(mixed, tmp_path / "cache", on_device=True)
    assert "data.on_device does nothing here" in capsys.readouterr().err
    module = ImageDataModule(data, DataConfig(root=str(mixed), on_device=True), AugmentConfig(), 0)
    assert next(iter(module.train_dataloader().loader)).pixels is not None
