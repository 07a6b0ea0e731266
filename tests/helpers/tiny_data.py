"""A tiny healthy data set, and ways to break one: functions of its root that return None, or another root."""

import io
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 16


def noise(seed: int, shape=(SIDE, SIDE, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encode(*frames: np.ndarray | Image.Image, format: str = "PNG", **options) -> bytes:
    first, *others = [f if isinstance(f, Image.Image) else Image.fromarray(f) for f in frames]
    buffer = io.BytesIO()
    first.save(buffer, format, **({"save_all": True, "append_images": others} if others else {}), **options)
    return buffer.getvalue()


def png(depth: int, raw: bytes, side: int = SIDE) -> bytes:
    """An RGB PNG that Pillow would not write."""
    header = struct.pack(">IIBBBBB", side, side, depth, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def write_csvs(root: Path, classes: int = 3) -> None:
    for split in ("train", "validation"):
        rows = [f"{split[0]}{i:02},{i % classes}\n" for i in range(12)]
        (root / f"{split}.csv").write_text("image_id,label\n" + "".join(rows))


def write_healthy(root: Path) -> Path:
    """train: t00..t11, validation: v00..v11, with the labels 0, 1, 2 in turn; the pixels of t00 are noise(0)."""
    write_csvs(root)
    for seed, split in enumerate(("train", "validation")):
        (root / split).mkdir()
        for i in range(12):
            (root / split / f"{split[0]}{i:02}.png").write_bytes(encode(noise(100 * seed + i)))
    return root


def zipped(root: Path, top: str = "") -> Path:
    target = root.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, top + path.relative_to(root).as_posix())
    return target


def cut_zip(root: Path) -> Path:
    path = zipped(root)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def damaged_zip(root: Path, after: bytes, distance: int = 0) -> Path:
    path = zipped(root)
    data = bytearray(path.read_bytes())
    start = data.index(after) + len(after) + distance
    data[start : start + 8] = bytes(b ^ 0xFF for b in data[start : start + 8])
    path.write_bytes(data)
    return path


def put(data: bytes, name: str):
    def write(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    return write


def replace(data: bytes, ending: str = "png"):
    """Another file for the image t03."""
    return chain(remove("train/t03.png"), put(data, f"train/t03.{ending}"))


def edit(old: str, new: str, name: str = "train.csv"):
    def change(root):
        content = (root / name).read_text()
        assert content.count(old) == 1
        (root / name).write_text(content.replace(old, new))

    return change


def row(line: str, name: str = "train.csv"):
    return lambda root: put((root / name).read_bytes() + f"{line}\n".encode(), name)(root)


def copy(source: str, target: str):
    return lambda root: put((root / source).read_bytes(), target)(root)


def rename(old: str, new: str):
    def change(root):
        (root / old).rename(root / new)

    return change


def remove(*names: str):
    def change(root):
        for name in names:
            (root / name).unlink()

    return change


def class_folders(**counts: int):
    """class_folders(train_real=4) puts four images into train/real, and nothing else into the root."""

    def change(root):
        shutil.rmtree(root)
        for i, (name, count) in enumerate(counts.items()):
            for j in range(count):
                path = root / name.replace("_", "/") / f"{j}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(noise(1000 * i + j)))

    return change


def chain(*steps):
    def change(root):
        for step in steps:
            step(root)

    return change
