"""Messages: labels of trials, and lines in a file."""

import subprocess
import sys

from deepfake_lit.core import console


def test_every_message_of_a_trial_has_its_label(capsys):
    with console.labelled("trial 3"):
        console.note("a note")
        console.warn("a warning")
    console.note("after it")
    assert capsys.readouterr().err == "trial 3: a note\ntrial 3: warning: a warning\nafter it\n"


def test_a_table_in_a_file_is_not_folded():
    code = """
from rich.table import Table
from deepfake_lit.core.console import out
table = Table("a", "b")
table.add_row("x" * 90, "y" * 90)
out.print(table)
"""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "x" * 90 in done.stdout, done.stderr
    assert "…" not in done.stdout
