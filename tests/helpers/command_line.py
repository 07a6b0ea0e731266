"""The program's commands in this process: to import torch anew takes seconds, which a test needs only where it is about
a process of its own."""

import pytest

from deepfake_lit.cli.main import main


def exit_status(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code
