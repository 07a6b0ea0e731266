"""What `predict` takes as images, and by which names it answers."""

import csv
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_data import encode, noise

from deepfake_lit.cli.main import COMMANDS
from deepfake_lit.core.errors import UserError
from deepfake_lit.prediction.inputs import are_images, find_images
from deepfake_lit.settings.compose import compose
from deepfake_lit.training.run import run


def put(path: Path, seed: int = 0, format: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(noise(seed), format=format))
    return path


@pytest.fixture
def generators(tmp_path) -> Path:
    """Folders in folders, with files of the same name."""
    root = tmp_path / "images"
    for number, name in enumerate(("ADM/0000", "ADM/0001", "BigGAN/0000", "BigGAN/deep/er/0002")):
        put(root / f"{name}.png", number)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A network of two named classes."""
    root = tmp_path_factory.mktemp("classes")
    for number in range(24):
        put(
            root / "data" / ("train", "validation")[number % 2] / ("ai", "nature")[number // 2 % 2] / f"{number}.png",
            number,
        )
    settings = [f"data.root={root / 'data'}", f"output_dir={root}", "trainer.max_epochs=1", "model.width=0.125"]
    return str(Path(run(compose(settings)).main.folder) / "best.ckpt")


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def zipped(root: Path) -> Path:
    target = root.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(root))
    return target


def test_ids_are_stems_where_these_are_unique(generators):
    (generators / "BigGAN" / "0000.png").unlink()
    assert find_images(generators).ids == ["0000", "0001", "0002"]


def test_ids_are_paths_where_stems_clash(generators):
    expected = ["ADM/0000", "ADM/0001", "BigGAN/0000", "BigGAN/deep/er/0002"]
    assert find_images(generators).ids == expected
    assert find_images(zipped(generators)).ids == expected
    assert find_images([generators / "ADM", generators / "BigGAN"]).ids == expected
    assert find_images([str(generators / f"{name}.png") for name in expected]).ids == expected


def test_ids_have_an_ending_where_they_differ_by_it_alone(generators):
    put(generators / "ADM" / "0000.jpg", 9, "JPEG")
    put(generators / "ADM" / "0000.png.jpg", 9, "JPEG")
    ids = find_images(generators / "ADM").ids
    assert sorted(ids) == ["0000.jpg", "0000.png", "0000.png.jpg", "0001.png"]
    (generators / "ADM" / "0000.png.jpg").unlink()
    assert find_images(generators / "ADM").ids == ["0000.jpg", "0000.png", "0001"]


@pytest.mark.parametrize("ending", [".png", ".PNG", ".jfif", ""])
def test_a_single_file_is_known_by_its_content(tmp_path, ending):
    found = find_images(put(tmp_path / f"cat{ending}"))
    assert (found.ids, found.places) == (["cat"], [f"cat{ending}"])
    assert found.source.read(found.files[0])[:4] == b"\x89PNG"


def test_a_tar_and_a_table_of_images(generators, tmp_path):
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        archive.add(generators, ".")
    found = find_images(tmp_path / "images.tar")
    assert sorted(Path(i).name for i in found.ids) == ["0000", "0000", "0001", "0002"]
    assert found.source.read(found.files[0])[:4] == b"\x89PNG"
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    contents = [encode(noise(i)) for i in range(3)]
    parquet.write_table(pyarrow.table({"image": contents}), tmp_path / "test.parquet")
    found = find_images(tmp_path / "test.parquet")
    assert [found.source.read(file) for file in found.files] == contents
    assert len(set(found.ids)) == 3


def test_a_file_given_twice_counts_once(generators):
    assert len(find_images([generators, generators / "ADM" / "0000.png"]).ids) == 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_text_file_has_a_path_a_line(generators, tmp_path, encoding, monkeypatch):
    put(generators / "\xe4.png")
    outside = put(tmp_path / "elsewhere" / "x.png", 5)
    lines = ["# chosen", "images/ADM/0001.png", "", str(outside), "images/\xe4.png", "images/gone.png"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(lines).encode(encoding))
    monkeypatch.chdir(generators)
    found = find_images(tmp_path / "list.txt")
    assert found.ids == ["0001", "x", "\xe4", "gone"]
    assert [file is None for file in found.files] == [False, False, False, True]


@pytest.mark.parametrize("column", ["image_id", "filename", "File_Name", "path", "FILE", "id", "Image"])
@pytest.mark.parametrize("value", ["ADM/0001.png", "images/ADM/0001.png", "images\\ADM\\0001.png", "0001", "0001.png"])
def test_a_table_has_a_column_of_ids_or_paths(generators, column, value):
    table = generators.parent / "images.csv"
    table.write_text(f"split,{column}\na,BigGAN/0000.png\na,{value}\na,gone.png\n")
    found = find_images(table)
    assert found.ids == ["BigGAN/0000.png", value, "gone.png"]
    numbers = [found.source.read(file) for file in found.files[:2]]
    assert numbers == [(generators / name).read_bytes() for name in ("BigGAN/0000.png", "ADM/0001.png")]
    assert found.files[2] is None
    assert {file for _, file, _ in found.skipped} >= {"images/ADM/0000.png"}


def test_a_name_that_is_two_files_is_neither(generators):
    (generators.parent / "images.csv").write_text("id\n0000\nADM/0000\n")
    assert [file is None for file in find_images(generators.parent / "images.csv").files] == [True, False]


def test_what_is_not_taken_is_named_where_it_may_be_an_image(generators):
    for name, content in (("README.md", b"# read"), ("a.heic", b"no"), ("broken.png", b"no"), (".DS_Store", b"\0")):
        (generators / name).write_bytes(content)
    put(generators / "._0000.png")
    put(generators / "__MACOSX" / "x.png")
    put(generators / "no_ending")
    found = find_images(generators)
    assert {"a", "broken", "no_ending"} < set(found.ids)
    assert not {"README", ".DS_Store"} & set(found.ids)
    assert [(file, reason) for _, file, reason in found.skipped] == [
        ("._0000.png", "a hidden file"),
        ("__MACOSX/x.png", "a hidden file"),
    ]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("https://a.org/cat.png", "images=https://a.org/cat.png is an address, not a path on this machine"),
        ("{tmp}/nothing", "images={tmp}/nothing: there is no such folder or file"),
        ("{tmp}/empty", "images={tmp}/empty: no images found; nothing is in there"),
        ("{tmp}/notes", "images={tmp}/notes: no images found; there are other files, such as notes.md"),
        ("{tmp}/twice.csv", "the image id x stands there more than once"),
        ("{tmp}/binary.bin", "images={tmp}/binary.bin: neither a folder nor a readable .zip"),
        ("{tmp}/gone.txt", "images={tmp}/gone.txt: neither an image nor a list of images; none of its lines is a path"),
    ],
)
def test_errors_speak_of_images(tmp_path, images, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.md").write_text("nothing")
    put(tmp_path / "x.png")
    (tmp_path / "twice.csv").write_text("image_id\nx\nx\n")
    (tmp_path / "binary.bin").write_bytes(bytes(100))
    (tmp_path / "gone.txt").write_text("gone.png\n")
    with pytest.raises(UserError) as error:
        find_images(images.format(tmp=tmp_path))
    assert message.format(tmp=tmp_path) in str(error.value)
    assert "data.root" not in str(error.value)


def test_a_plain_argument_is_a_checkpoint_or_an_image(tmp_path, generators, checkpoint):
    assert are_images(str(put(tmp_path / "a.jpg", 0, "JPEG")))
    assert are_images(str(generators))
    assert are_images("gone.png")
    for other in (checkpoint, str(Path(checkpoint).parent), str(Path(checkpoint).parents[1]), "gone.ckpt", "gone"):
        assert not are_images(other)


def test_predict_answers_with_names(generators, checkpoint, tmp_path, capsys):
    (generators / "broken.png").write_bytes(b"no")
    put(generators / ".hidden.png")
    more = put(tmp_path / "more.jpg", 7, "JPEG")
    arguments = [checkpoint, str(more), f"output={tmp_path / 'p'}"]
    assert COMMANDS["predict"]([*arguments, f"images=[{generators},{generators / 'ADM' / '0000.png'}]"]) == 1
    out, err = capsys.readouterr()
    table = rows(tmp_path / "p" / "probabilities.csv")
    assert list(table[0]) == ["image_id", "label", "p_ai", "p_nature", "class"]
    assert all(row["class"] == ("ai", "nature")[int(row["label"])] for row in table)
    names = ["images/ADM/0000", "images/ADM/0001", "images/BigGAN/0000", "images/BigGAN/deep/er/0002", "more"]
    assert [row["image_id"] for row in table] == names
    assert list(rows(tmp_path / "p" / "submission.csv")[0]) == ["image_id", "label"]
    counts = np.bincount([int(row["label"]) for row in table], minlength=2)
    assert all(f"{name} {n}" in out for name, n in zip(("ai", "nature"), counts, strict=True) if n)
    left = {row["file"]: row["reason"] for row in rows(tmp_path / "p" / "unreadable.csv")}
    assert left.keys() == {"images/broken.png", ".hidden.png"}
    assert "1 image could not be read and is NOT in the submission: images/broken" in err
    assert "1 file was left out and is NOT in the submission: .hidden.png (a hidden file)" in err
    assert COMMANDS["predict"](arguments) == 0


@pytest.mark.parametrize("name", ["007", "2024_01", "[1] x", "true", "a=b", "my folder (1)"])
def test_a_path_is_taken_as_it_was_typed(name, checkpoint, tmp_path, monkeypatch):
    put(tmp_path / name / "a.png")
    monkeypatch.chdir(tmp_path)
    assert COMMANDS["predict"]([checkpoint, f"images={name}", "output=p"]) == 0
    assert [row["image_id"] for row in rows(tmp_path / "p" / "submission.csv")] == ["a"]
    assert COMMANDS["predict"]([checkpoint, name, "output=p"]) == 0


def test_a_name_that_is_no_text_is_answered_for(checkpoint, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a\udcff.png").write_bytes(encode(noise(0)))
    assert COMMANDS["predict"]([checkpoint, f"images={folder}", f"output={tmp_path / 'p'}"]) == 0
    assert rows(tmp_path / "p" / "submission.csv")[0]["image_id"] == "a\\xff"


def test_a_text_that_is_no_list_is_refused(tmp_path):
    (tmp_path / "essay").write_text("word " * 2000 + "\n~nobody/x.png\n")
    with pytest.raises(UserError, match="neither an image nor a list of images; none of its lines is a path"):
        find_images(str(tmp_path / "essay"))


def test_a_missing_file_has_no_answer_of_another_folders(tmp_path):
    for name in ("a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode(noise(1)))
    (tmp_path / "list.csv").write_text("path\na/2.png\nb/1.png\nb/2.png\n")
    assert [file is None for file in find_images(str(tmp_path / "list.csv")).files] == [False, False, True]


def test_a_list_deep_in_a_folder_hides_no_images_above_it(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("0.png", "1.png", "sub/2.png"):
        (tmp_path / name).write_bytes(encode(noise(1)))
    (tmp_path / "sub" / "test.csv").write_text("image_id\n2\n")
    assert len(find_images(str(tmp_path)).files) == 3


def test_images_beside_a_list_that_it_does_not_name_are_named(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "b.png")
    (tmp_path / "test.csv").write_text("image_id\na\n")
    found = find_images(str(tmp_path))
    assert (found.ids, found.skipped) == (["a"], [("", "b.png", "no row of test.csv names it")])


def test_an_id_of_two_files_says_which_one_is_taken(tmp_path):
    for name in ("x.png", "x.jpg", "y.png"):
        put(tmp_path / name)
    (tmp_path / "list.csv").write_text("image_id\nx\ny\nx.png\n")
    found = find_images(str(tmp_path / "list.csv"))
    assert [file.partition("/")[2] for file in found.files] == ["x.jpg", "y.png", "x.png"]
    assert found.skipped == [("x", "x.png", "x.jpg is taken for this id")]
