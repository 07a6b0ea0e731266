"""Every command in README.md and docs/ is one that the program takes; the first ones are run."""

import re
import shlex
from pathlib import Path

import pytest
from helpers.command_line import exit_status

from deepfake_lit.cli.arguments import settings
from deepfake_lit.cli.help import HELP
from deepfake_lit.settings import commands
from deepfake_lit.settings.choices import BENCHES
from deepfake_lit.settings.compose import compose
from deepfake_lit.settings.conf import choices

TOP = Path(__file__).parents[1]
DOCUMENTS = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
FINGERPRINT = "0123456789abcdef"


def lines(document: Path) -> list[str]:
    """The commands in a document's blocks and between its backticks, without what SLURM's script puts before them."""
    text = document.read_text(encoding="utf-8")
    blocks = [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"(?<!`)`(deepfake-lit [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [line.removeprefix("srun ") for line in blocks if line.startswith(("deepfake-lit ", "srun deepfake-lit "))]
    return found + inline


COMMANDS = [(document.name, line) for document in DOCUMENTS for line in lines(document)]


@pytest.mark.parametrize(("document", "line"), COMMANDS)
def test_a_command_is_one_that_the_program_takes(document, line):
    _, command, *words = shlex.split(line, comments=True)
    if command == "COMMAND" or not words or "..." in words:
        assert command in (*HELP, "COMMAND")
        return
    words = [word.replace("FINGERPRINT", FINGERPRINT) for word in words if word != "--help"]
    if command == "completion":
        assert words in (["bash"], ["zsh"])
    elif command in ("train", "search"):
        own = vars(commands.SearchConfig()) if command == "search" else ()
        settings([word for word in words if word.partition("=")[0] in own], commands.SearchConfig)
        words = [word for word in words if word.partition("=")[0] not in own]
        for word in words:
            if word.startswith("+sweep="):
                assert word.removeprefix("+sweep=") in choices("sweep")
        single = [first_value(w) for w in words if not w.startswith(("-", "+sweep=", "hydra"))]
        compose([*single, *(() if any(w.startswith("data.root=") for w in single) else ["data.root=x"])])
    else:
        own = [w for w in words if command != "reproduce" or "=" not in w or not w.startswith(("data.", "trainer."))]
        own += ["data.root=x"] if words == ["gpu"] else []  # which finds its images itself
        schema = commands.ReportConfig if command == "audit" else getattr(commands, HELP[command].settings)
        plain, _ = settings([] if command == "audit" else own, schema, "arguments")
        if command == "bench":
            assert set(plain) <= {*BENCHES, "gpu"}
        if command == "reproduce":
            assert {word for word in plain if not word.endswith(".yaml")} <= {*choices("reproduce"), "all"}


def first_value(override: str) -> str:
    """A sweep's override with its first value alone."""
    name, _, value = override.partition("=")
    if value.startswith(("tag(", "interval(")):
        return f"{name}=1e-4"
    value = value.removeprefix("choice(").removesuffix(")")
    return override if value[:1] in "[{" else f"{name}={value.partition(',')[0]}"


def test_there_are_commands_in_every_document():
    assert {name for name, _ in COMMANDS} >= {document.name for document in DOCUMENTS}


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert "://" in link or (document.parent / link).exists(), f"{document.name}: {link}"


@pytest.mark.slow
def test_the_first_commands_of_the_readme_run(samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (TOP / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## With your own images.*?```\n(.*?)```", text, re.DOTALL)[1]
    small = ["trainer.max_epochs=1", "model.width=0.125", "trainer.accelerator=cpu"]
    for line in block.splitlines():
        _, command, *words = shlex.split(line, comments=True)
        run = next(iter(Path("outputs").glob("runs/speedrun/*/best.ckpt")), Path("none"))
        own = [re.sub("outputs/runs/speedrun/FINGERPRINT/best.ckpt", str(run), word) for word in words]
        own = [re.sub(r"=(PATH|OTHER)$", f"={samples}", word).replace("=FOLDER", f"={samples}") for word in own]
        assert exit_status([command, *own, *(small if command == "train" else [])]) == 0, line
