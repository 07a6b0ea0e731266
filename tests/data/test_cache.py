"""Decoded images: right pixels, from the cache where it has them, and in memory where there can be no cache."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from helpers.tiny_data import SIDE, encode, noise, put, zipped
from PIL import Image

from deepfake_lit.core.errors import UserError
from deepfake_lit.data import pool as decoding
from deepfake_lit.data.cache import open_pixels
from deepfake_lit.data.pool import decode_stream
from deepfake_lit.data.sources import open_source
from deepfake_lit.data.sources.folder import Folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images a.png .. f.png: four opaque RGB ones, an opaque RGBA one, and one that is no image."""
    (tmp_path / "images").mkdir()
    for i, name in enumerate("abcd"):
        put(encode(noise(i)), f"{name}.png")(tmp_path / "images")
    put(encode(with_alpha(4, 255)), "e.png")(tmp_path / "images")
    put(b"?", "f.png")(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def cache_dir(tmp_path) -> Path:
    return tmp_path / "cache"


def with_alpha(seed: int, alpha) -> np.ndarray:
    return np.dstack([noise(seed), np.broadcast_to(np.uint8(alpha), (SIDE, SIDE))])


def opened(root: Path, cache_dir: Path, **settings):
    source = open_source(root)
    return open_pixels(source, sorted(source.files), "train", cache_dir, **settings)


def check(pixels, first: int = 0) -> None:
    """The images of `folder`, the first of them noise(first)."""
    expected = np.stack([noise(i) for i in (first, 1, 2, 3, 4)])
    np.testing.assert_array_equal(pixels.pixels, np.concatenate([expected, np.zeros((1, SIDE, SIDE, 3), np.uint8)]))
    assert pixels.transparency is None
    assert [fact.error is None for fact in pixels.facts] == [True] * 5 + [False]
    assert [fact.alpha for fact in pixels.facts] == [None] * 4 + [(255, 255), None]


@pytest.fixture
def no_decoding(monkeypatch):
    """A function after whose call nothing can be decoded."""

    def fail(*_):
        raise AssertionError("an image was decoded")

    return lambda: monkeypatch.setattr(decoding, "decode", fail)


def built(cache_dir: Path) -> list[Path]:
    return sorted(path for path in cache_dir.iterdir() if path.is_dir())


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("x.png", encode(noise(7))),
        ("x.png", encode(Image.fromarray(noise(7)).convert("P"))),
        ("x.png", encode(noise(7, (SIDE, SIDE)))),
        ("x.jpg", encode(noise(7), format="JPEG")),
        ("x.jpg", encode(Image.fromarray(noise(7)).convert("CMYK"), format="JPEG")),
        ("x.webp", encode(noise(7), format="WEBP")),
        ("x.bmp", encode(noise(7), format="BMP")),
        ("x.tif", encode(noise(7), format="TIFF")),
        ("x.gif", encode(noise(7), noise(8), format="GIF")),
    ],
)
def test_pixels_are_those_of_pillow(file, data, tmp_path, cache_dir):
    put(data, f"images/{file}")(tmp_path)
    pixels = opened(tmp_path / "images", cache_dir).pixels
    np.testing.assert_array_equal(pixels[0], np.asarray(Image.open(tmp_path / "images" / file).convert("RGB")))


def test_images_are_resized_to_the_size_that_is_asked_for(folder, cache_dir):
    pixels = opened(folder, cache_dir, size=(8, 12)).pixels
    expected = Image.fromarray(noise(1)).resize((12, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels[1], np.asarray(expected))
    check(opened(folder, cache_dir))  # another size is another cache


def test_second_opening_reads_no_image(folder, cache_dir, no_decoding):
    first = opened(folder, cache_dir)
    check(first)
    no_decoding()
    second = opened(folder, cache_dir)
    check(second)
    assert isinstance(second.pixels, np.memmap)
    assert second.facts == first.facts


def test_changed_file_is_noticed(folder, cache_dir):
    check(opened(folder, cache_dir))
    put(encode(noise(10)), "a.png")(folder)
    check(opened(folder, cache_dir), first=10)


def test_same_content_elsewhere_uses_the_same_folder(folder, tmp_path, cache_dir):
    check(opened(folder, cache_dir))
    check(opened(shutil.copytree(folder, tmp_path / "copy"), cache_dir))
    check(opened(zipped(folder), cache_dir))
    assert len(built(cache_dir)) == 1


def test_two_processes_at_once_build_one_folder(folder, cache_dir):
    script = (
        "import sys; from pathlib import Path; from deepfake_lit.data.cache import open_pixels; "
        "from deepfake_lit.data.sources import open_source; s = open_source(sys.argv[1]); sys.stdin.read(1); "
        "print(int(open_pixels(s, sorted(s.files), 'train', Path(sys.argv[2])).pixels.astype(int).sum()))"
    )
    command = [sys.executable, "-c", script, str(folder), str(cache_dir)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:  # both wait for this after their imports
        process.stdin.write("x")
        process.stdin.flush()
    outputs = [process.communicate() for process in processes]
    total = sum(int(noise(i).astype(int).sum()) for i in range(5))
    assert outputs == [(f"{total}\n", "")] * 2
    assert len(built(cache_dir)) == 1


@pytest.mark.parametrize("next_data", ["the same", "other"])
def test_what_a_killed_process_left_is_removed(next_data, folder, cache_dir):
    script = (
        "import os, sys; from pathlib import Path; from deepfake_lit.data.cache import open_pixels; "
        "from deepfake_lit.data.sources import open_source; "
        "s = open_source(sys.argv[1]); os.fsync = lambda fd: os._exit(9); "
        "open_pixels(s, sorted(s.files), 'train', Path(sys.argv[2]))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(folder), str(cache_dir)]).returncode == 9
    assert [path.suffix for path in built(cache_dir)] == [".part"]
    first = 0 if next_data == "the same" else 11
    if first:
        put(encode(noise(first)), "a.png")(folder)
    check(opened(folder, cache_dir), first)
    assert [path.name[:6] for path in built(cache_dir)] == ["train-"]


def test_what_a_running_process_writes_is_not_removed(folder, cache_dir):
    (cache_dir / "abc.1.part").mkdir(parents=True)
    with FileLock(cache_dir / "abc.lock"):
        check(opened(folder, cache_dir))
    assert (cache_dir / "abc.1.part").is_dir()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    "pixels.npy cut off": lambda folder: shorten(folder / "pixels.npy"),
    "pixels.npy empty": lambda folder: (folder / "pixels.npy").write_bytes(b""),
    "pixels.npy missing": lambda folder: (folder / "pixels.npy").unlink(),
    "pixels.npy of another shape": lambda folder: np.save(folder / "pixels.npy", np.zeros((6, 2, 2), np.uint8)),
    "facts.json cut off": lambda folder: shorten(folder / "facts.json"),
    "facts.json too short": lambda folder: (folder / "facts.json").write_text("[]"),
    "facts.json of another make": lambda folder: (folder / "facts.json").write_text(json.dumps([1] * 6)),
    "transparency.npy missing": lambda folder: (folder / "transparency.npy").unlink(),
    "transparency.npy cut off": lambda folder: shorten(folder / "transparency.npy"),
    "everything missing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_cache_is_built_again(damage, folder, cache_dir, no_decoding, capsys):
    put(encode(with_alpha(5, 9)), "f.png")(folder)
    opened(folder, cache_dir)
    capsys.readouterr()
    (cached,) = built(cache_dir)
    DAMAGE[damage](cached)
    for _ in range(2):
        again = opened(folder, cache_dir)
        np.testing.assert_array_equal(again.pixels, np.stack([noise(i) for i in range(6)]))
        assert (again.transparency[5] == 246).all()
        assert isinstance(again.pixels, np.memmap)
        no_decoding()
    assert ("was damaged" in capsys.readouterr().err) == (damage != "everything missing")


@pytest.mark.parametrize("content", [b"", b"\xff", b"..", b"train-0"])
def test_damaged_reference_is_written_again(content, folder, cache_dir, no_decoding):
    opened(folder, cache_dir)
    (reference,) = cache_dir.glob("*.ref")
    good = reference.read_bytes()
    reference.write_bytes(content)
    check(opened(folder, cache_dir))
    assert reference.read_bytes() == good
    assert len(built(cache_dir)) == 1


def test_failed_reading_is_not_remembered(folder, cache_dir, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        facts = opened(folder, cache_dir).facts
    assert {fact.error for fact in facts} == {("corrupt_image", "cannot be read: [Errno 5] I/O error")}
    check(opened(folder, cache_dir))


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def impossible_folder(cache_dir: Path, monkeypatch) -> None:
    cache_dir.write_text("a file where the folder should be")


NO_CACHE = {
    "no folder": impossible_folder,
    "full when reserving": lambda _, monkeypatch: monkeypatch.setattr(os, "posix_fallocate", no_space, raising=False),
    "full when writing": lambda _, monkeypatch: monkeypatch.setattr(os, "pwrite", no_space),
    "full at the end": lambda _, monkeypatch: monkeypatch.setattr(os, "fsync", no_space),
}


@pytest.mark.parametrize("obstacle", NO_CACHE)
@pytest.mark.parametrize("alpha", [255, 9])
def test_images_stay_in_memory_where_there_can_be_no_cache(obstacle, alpha, folder, cache_dir, monkeypatch, capsys):
    put(encode(with_alpha(5, alpha)), "f.png")(folder)
    NO_CACHE[obstacle](cache_dir, monkeypatch)
    pixels = opened(folder, cache_dir)
    np.testing.assert_array_equal(pixels.pixels, np.stack([noise(i) for i in range(6)]))
    if alpha == 255:
        assert pixels.transparency is None
    else:
        assert (pixels.transparency == np.array([0, 0, 0, 0, 0, 246], np.uint8)[:, None, None]).all()
    assert f"no image cache in {cache_dir} (" in capsys.readouterr().err
    assert not cache_dir.is_dir() or not built(cache_dir)


def test_file_system_that_cannot_reserve_space_has_a_cache_all_the_same(folder, cache_dir, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    pixels = opened(folder, cache_dir)
    check(pixels)
    assert isinstance(pixels.pixels, np.memmap)


def test_too_large_for_disk_and_memory_says_what_to_set(folder, cache_dir, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    impossible_folder(cache_dir, monkeypatch)
    monkeypatch.setattr(np, "zeros", no_memory)
    with pytest.raises(UserError, match=r"do not fit into the memory; set data\.cache_dir .* or data\.decode_size"):
        opened(folder, cache_dir)


def test_transparency_is_255_minus_alpha(folder, cache_dir):
    alpha = noise(20, (SIDE, SIDE))
    put(encode(with_alpha(0, alpha)), "a.png")(folder)
    palette = Image.fromarray(noise(21)).convert("P")
    put(encode(palette, transparency=3), "b.png")(folder)
    pixels = opened(folder, cache_dir)
    np.testing.assert_array_equal(pixels.transparency[0], 255 - alpha)
    np.testing.assert_array_equal(pixels.transparency[1], np.where(np.asarray(palette) == 3, 255, 0))
    assert not pixels.transparency[2:].any()
    assert pixels.facts[0].alpha == (alpha.min(), alpha.max())


def test_pool_of_processes_gives_the_same_as_one(tmp_path, monkeypatch):
    count = decoding.FEW + decoding.CHUNK // 2
    for i in range(count):
        put(encode(with_alpha(i, i % 256) if i % 7 == 0 else noise(i)), f"images/{i:04}.png")(tmp_path)
    put(b"?", "images/0100.png")(tmp_path)
    monkeypatch.chdir(tmp_path)
    one = opened(Path("images"), Path("one"), workers=1)
    pool = opened(Path("images"), Path("pool"), workers=2)
    memory = list(
        decode_stream(open_source("images"), sorted(open_source("images").files), (SIDE, SIDE), chunk=50, workers=2)
    )
    np.testing.assert_array_equal(one.pixels[count - 1], noise(count - 1))
    for other in (pool.pixels, np.concatenate([pixels for _, pixels, _, _ in memory])):
        np.testing.assert_array_equal(one.pixels, other)
    np.testing.assert_array_equal(one.transparency, pool.transparency)
    assert one.facts == pool.facts == [fact for *_, facts in memory for fact in facts]
    assert [len(names) for names, *_ in memory] == [50] * 5 + [38]


def test_a_task_is_bounded_by_bytes(folder, cache_dir, monkeypatch):
    assert decoding.per_task((6000, 4000)) == 1
    assert decoding.per_task((1024, 1024)) == 21
    assert decoding.per_task((32, 32)) == decoding.per_task((0, 0)) == decoding.CHUNK
    monkeypatch.setattr(decoding, "TASK_BYTES", 2 * 3 * SIDE * SIDE)
    check(opened(folder, cache_dir))
    source = open_source(folder)
    stream = list(decode_stream(source, sorted(source.files), (SIDE, SIDE)))
    assert [len(names) for names, *_ in stream] == [2, 2, 2]
    impossible_folder(cache_dir / "file", monkeypatch)
    check(opened(folder, cache_dir / "file"))


@pytest.mark.parametrize("turned", [False, True])
def test_caches_of_before_get_the_facts_that_they_lack(turned, folder, cache_dir):
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6  # by a quarter, clockwise; those caches ignore it
    (folder / "b.png").write_bytes(encode(noise(1), exif=exif))
    new = opened(folder, cache_dir)
    [cache] = built(cache_dir)
    pixels = np.array(new.pixels)
    pixels[1] = noise(1)
    np.save(cache / "pixels.npy", pixels)
    rows = [row[:8] for row in json.loads((cache / "facts.json").read_text())]
    (cache / "facts.json").write_text(json.dumps(rows))
    before = (cache / "pixels.npy").stat().st_ino
    again = opened(folder, cache_dir)
    assert again.facts == new.facts
    np.testing.assert_array_equal(again.pixels[1], np.rot90(noise(1), 3) if turned else noise(1))
    assert ((cache / "pixels.npy").stat().st_ino == before) is not turned  # the pixels that are right stay
    assert opened(folder, cache_dir).facts == new.facts
