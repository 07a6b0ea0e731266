"""Help: every command tells what it does, and what it tells is so."""

import dataclasses
import subprocess
import sys

import pytest

from deepfake_lit.bench import BENCHES as COMPARISONS
from deepfake_lit.cli.help import HELP
from deepfake_lit.cli.main import COMMANDS, main
from deepfake_lit.settings import commands
from deepfake_lit.settings.choices import BENCHES
from deepfake_lit.settings.kinds import KINDS
from deepfake_lit.settings.meanings import meanings, typed
from deepfake_lit.settings.schema import Config


def said(capsys, *arguments: str) -> str:
    main([*arguments])
    return capsys.readouterr().out


def test_every_command_has_help_and_is_in_the_list(capsys):
    assert set(HELP) == set(COMMANDS)
    listed = said(capsys, "--help")
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert set(BENCHES) == set(COMPARISONS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_has_usage_settings_examples_and_statuses(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = said(capsys, command, "--help")
    assert text.startswith(f"usage: deepfake-lit {command} ")
    assert all(part in text for part in ("examples", "exit status", "0  done"))
    assert ("settings, with their defaults" in text) == bool(HELP[command].settings)
    examples = [line for line in text.splitlines() if line.startswith("  deepfake-lit ")]
    assert len(examples) == len(HELP[command].examples)
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines() if line not in examples and "usage:" not in line)


def test_help_needs_nothing_that_takes_long():
    code = "import sys; from deepfake_lit.cli.main import main\n"
    code += (
        "".join(f"main([{name!r}, '--help']); " for name in COMMANDS)
        + "assert not {'torch', 'omegaconf', 'numpy'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


OWN = [value for value in vars(commands).values() if isinstance(value, type) and value.__module__ == commands.__name__]


@pytest.mark.parametrize("schema", [Config, *OWN, *(kind for kinds in KINDS.values() for kind in kinds)])
def test_every_setting_has_a_meaning(schema):
    groups = {*KINDS, *(f.name for f in dataclasses.fields(schema) if dataclasses.is_dataclass(f.type))}
    without = [each.name for each in meanings(schema) if not each.text and each.name not in groups]
    # What a kind of network, optimizer or schedule is called, and what papers call these, need none.
    assert set(without) <= {
        "kind",
        "width",
        "dropout",
        "lr",
        "momentum",
        "nesterov",
        "weight_decay",
        "betas",
        "div_factor",
    }


def test_defaults_are_as_they_are_typed():
    cases = {None: "null", True: "true", 1e-3: "0.001", 0: "0", "auto": "auto", (): "()"}
    assert [typed(value) for value in cases] == list(cases.values())
    assert typed([1, "a", None]) == "[1,a,null]"
    assert typed({"a": 2.7}) == "{a:2.7}"
    shown = {each.name: each.default for each in meanings(Config)}
    assert (shown["data.root"], shown["data.mean"], shown["trainer.max_epochs"]) == ("", "[0.5]", "10")


def test_an_unknown_command_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "deepfake-lit: there is no command 'trian'; did you mean train?\n"
