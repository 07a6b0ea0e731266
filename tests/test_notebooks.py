"""Every notebook runs from top to bottom on made-up images."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

SMALLER = {  # what a notebook makes up where no data are named
    "explore_data": {"train=500, validation=100": "train=100, validation=20"},
    "read_results": {
        "train=300, validation=100": "train=50, validation=50",
        '"model.width=0.25", "trainer.max_epochs=3"': '"model.width=0.125", "trainer.max_epochs=1"',
    },
}
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == {"explore_data", "read_results"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(path, monkeypatch, tmp_path):
    for name in ("DEEPFAKE_DATA", "DEEPFAKE_OUTPUTS"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # committed without outputs
    for old, new in SMALLER[path.stem].items():
        (cell,) = [cell for cell in notebook.cells if old in cell.source]
        cell.source = cell.source.replace(old, new)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [o for o in outputs if o.get("name") == "stderr" and "Error" in o["text"]]
