"""Completion in the shells that a user types in."""

import os
import shutil
import subprocess
import sys

import pytest

from deepfake_lit.cli.completion import script, words
from deepfake_lit.cli.main import main

CASES = {
    "deepfake-lit tr": ["train"],
    "deepfake-lit train exp": ["experiment="],
    "deepfake-lit train experiment=speed": ["experiment=speedrun", "experiment=speedrun_95"],
    "deepfake-lit train trainer.max": ["trainer.max_epochs="],
    "deepfake-lit train +sweep=dr": ["+sweep=dropout"],
    "deepfake-lit evaluate x.ckpt split=t": ["split=train", "split=test"],
    "deepfake-lit audit data.ro": ["data.root="],
    "deepfake-lit predict x.ckpt images=": [],  # the shell offers files
    "deepfake-lit nothing x": [],
}


@pytest.mark.parametrize("line", CASES)
def test_words(line):
    assert words(line) == CASES[line]


def test_all_commands_are_offered():
    assert {"train", "predict", "status"} <= set(words("deepfake-lit "))


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "fish"])
    assert "name bash or zsh" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    program = tmp_path / "deepfake-lit"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deepfake_lit "$@"\n')
    program.chmod(0o755)
    line = "deepfake-lit train experiment=speed"
    # In bash the part before = stays; zsh's bashcompinit knows no such breaks.
    ask = f'COMP_LINE="{line}" COMP_POINT={len(line)} COMP_WORDBREAKS="= "; _deepfake_lit; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        [shell, "-c", f"{script(shell)}\n{ask}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.stdout.split() == ["speedrun", "speedrun_95"], done.stderr
