"""The entry point: it finds the command that is meant, and turns errors into messages."""

import difflib
import os
import sys
from collections.abc import Callable

from deepfake_lit.cli import commands, help
from deepfake_lit.cli.arguments import settings, with_home
from deepfake_lit.settings.commands import DemoConfig

ASKED = {"-h", "--help", "help"}


def demo(arguments: list[str]) -> None:
    cfg = settings(arguments, DemoConfig)[1]
    from deepfake_lit.cli.demo import demo

    demo(cfg)


COMMANDS = {"demo": demo, **commands.COMMANDS}


def main(argv: list[str] | None = None) -> None:
    """Run the command that the arguments name (None: those of the process) and exit with its status."""
    try:
        _main(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # as by `| head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _main(argv: list[str] | None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ASKED:
        print(help.usage(), end="")
        return
    if arguments[0] == "--version":
        from deepfake_lit import __version__

        print(__version__)
        return
    command = COMMANDS.get(arguments[0])
    if command is None:
        near = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        print(f"deepfake-lit: there is no command {arguments[0]!r}; {hint}", file=sys.stderr)
        sys.exit(2)
    if ASKED & {*arguments[1:]}:
        help.show(arguments[0], tuple(a.rstrip(".") for a in arguments[1:] if a not in ASKED))
        return
    sys.exit(_with_messages(command, with_home(arguments[1:])))


def _unwritable(error: OSError, command: str, arguments: list[str]) -> str | None:
    """Return a line on a path that cannot be written, with the remedy; None if the user cannot mend the error."""
    from deepfake_lit.core.files import UNWRITABLE

    if "No usable temporary directory" in str(error):  # which torch wants as soon as it is imported
        return f"{error.strerror}; make room, or set TMPDIR to a folder that can be written"
    if isinstance(error, FileNotFoundError) and error.filename:  # as of a folder that cannot be made in /proc
        return f"{error.filename}: {error.strerror}; give another path"
    taken = isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError)
    remedy = "it is in the way: move it" if taken else UNWRITABLE.get(error.errno)
    if remedy is None:
        return None
    setting = {"samples": "another FOLDER"}.get(command, "output=ANOTHER")
    if command in ("audit", "train", "search", "reproduce", "status", "demo"):
        setting = "output_dir=ANOTHER"
    given = [a.partition("=")[2] for a in arguments if a.startswith(("output=", "output_dir="))]
    place = error.filename or (given or ["outputs"])[-1]  # some libraries' errors name no file
    return f"{place}: {error.strerror}; {remedy}, or write elsewhere with {setting}"


def _with_messages(command: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """Run a command; an error that the user can mend becomes a message and its exit status, not a traceback."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.messages import explain, explain_hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing them and exiting
    status = 2
    try:
        return command(arguments) or 0
    except UserError as error:
        message, status = str(error), error.status
    except OmegaConfBaseException as error:
        message = explain(error)
    except HydraException as error:
        message = explain_hydra(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        message = _unwritable(error, command.__name__, arguments)
        if message is None:
            raise
    from deepfake_lit.core.console import err

    err.print(f"deepfake-lit: {message}", style="red", markup=False)
    return status
