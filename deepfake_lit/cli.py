"""The commands. Only what a command needs is imported, so that `--help` is quick."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

USAGE = """\
usage: deepfake-lit COMMAND [SETTING=VALUE ...]

  demo        made-up images: audit, train, evaluate, predict, in minutes on a CPU
  audit       what is in a data set, and what is wrong with it     audit data.root=PATH
  train       one run, or with -m a sweep                          train experiment=residual_cnn data.root=PATH
  evaluate    checkpoints on a labelled split                      evaluate CHECKPOINT... data.root=PATH
  predict     checkpoints on new images; several = an ensemble     predict CHECKPOINT... images=FOLDER
  samples     write a made-up data set                             samples FOLDER

Settings are Hydra's overrides: train --cfg job prints them all, train --help the choices.
"""


def config_dir() -> Path:
    """`conf/` beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def main(argv: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return
    if arguments[0] == "--version":
        from deepfake_lit import __version__

        print(__version__)
        return
    command = COMMANDS.get(arguments[0])
    if command is None:
        print(f"deepfake-lit: there is no command {arguments[0]!r}\n\n{USAGE}", file=sys.stderr, end="")
        sys.exit(2)
    sys.exit(_with_messages(command, arguments[1:]))


def _with_messages(command: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """Run a command; what the user can mend becomes a message and exit status 2, not a traceback."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from deepfake_lit.config import explain
    from deepfake_lit.errors import UserError

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing and exiting by itself
    try:
        return command(arguments) or 0
    except UserError as error:
        message = str(error)
    except OmegaConfBaseException as error:
        message = explain(error)
    except HydraException as error:
        cause = error.__cause__
        message = explain(cause) if isinstance(cause, OmegaConfBaseException) else str(error).strip()
    print(f"deepfake-lit: {message}", file=sys.stderr)
    return 2


def compose(overrides: list[str]):
    """The checked configuration of a list of overrides, as `train` would see it."""
    import hydra

    from deepfake_lit.config import load, register

    register()
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        return load(hydra.compose("train", overrides))


def train(arguments: list[str]) -> None:
    import hydra

    from deepfake_lit.config import load, register

    register()

    @hydra.main(config_path=str(config_dir()), config_name="train", version_base="1.3")
    def job(composed):
        cfg = load(composed)
        from deepfake_lit.train import run  # after the check: a typing error costs no import of torch

        result = run(cfg)
        _print_result(result)
        return result["best"]["accuracy"]

    sys.argv = ["deepfake-lit train", *arguments]
    job()


def _print_result(result: dict) -> None:
    print(result["folder"])
    for which in ("best", "best_tta", "last", "last_tta"):
        figures = result[which]
        low, high = figures["interval"]
        print(f"  {which:9} validation accuracy {figures['accuracy']:.4f} (95 % over images {low:.4f} to {high:.4f})")


COMMANDS = {"train": train}


if __name__ == "__main__":
    main()
