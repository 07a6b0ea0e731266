"""The command `train`: Hydra composes, one run is trained, or a sweep's trials one after the other."""

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode

from deepfake_lit.cli import config_dir
from deepfake_lit.config import digest, load, register
from deepfake_lit.errors import UserError
from deepfake_lit.schema import NOT_IDENTITY


class RememberFolder(Callback):
    """Says where a sweep lies once it has begun. Hydra turns a callback's errors into warnings, so nothing else is done
    in one."""

    folder: Path | None = None

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        RememberFolder.folder = Path(config.hydra.sweep.dir)


def train(arguments: list[str]) -> int:
    register()
    program = sys.argv[0]
    mistakes: list[UserError] = []

    @hydra.main(config_path=str(config_dir()), config_name="train", version_base="1.3")
    def job(composed):
        hydra_config = HydraConfig.get()
        # Lightning starts the other processes of a run on several devices with this very command line, unless it
        # sees Hydra at work: then it looks for files of Hydra's that are not written here.
        sys.argv = [program, "train", *(o for o in hydra_config.overrides.task if not o.startswith("+sweep="))]
        HydraConfig.instance().cfg = None
        if hydra_config.mode == RunMode.MULTIRUN:
            from deepfake_lit.sweep import run_trial

            return run_trial(composed, hydra_config)
        try:
            cfg = load(composed)
            from deepfake_lit import show  # after the check: a typing error costs no import of torch
            from deepfake_lit.train import is_main_process, run

            results = run(cfg)
        except UserError as error:
            mistakes.append(error)
            return None
        if is_main_process():
            show.results(results)
        return results[-1]["best"]["accuracy"]

    sys.argv = ["deepfake-lit train", *_with_sweep_folder(arguments)]  # what Hydra parses
    job()
    if mistakes:
        raise mistakes[0]
    folder, RememberFolder.folder = RememberFolder.folder, None
    if folder is None:
        return 0  # it was one run
    from deepfake_lit.sweep import finish

    return finish(folder)


def _with_sweep_folder(arguments: list[str]) -> list[str]:
    settings = [i for i, a in enumerate(arguments) if "=" in a and not a.startswith("-")]
    if not settings or any(a.startswith("hydra.sweep.dir=") for a in arguments):
        return arguments
    folder = "hydra.sweep.dir=${output_dir}/sweeps/" + sweep_name(arguments, config_dir())
    after = settings[-1] + 1  # flags of Hydra's may follow
    return [*arguments[:after], folder, *arguments[after:]]


def sweep_name(arguments: list[str], conf: Path) -> str:
    """A folder's name that the same sweep gets again: its choice in conf/sweep, that file, and what else was set."""
    ignored = NOT_IDENTITY | {"hydra/launcher"}
    settings = [a for a in sorted(arguments) if "=" in a and a.lstrip("+~").partition("=")[0] not in ignored]
    settings = [a for a in settings if not a.startswith(("-", "hydra.launcher."))]
    chosen = [a.partition("=")[2] for a in settings if a.startswith("+sweep=")]
    files = [conf / "sweep" / f"{name}.yaml" for name in chosen]
    texts = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    return f"{'-'.join(chosen) or 'multirun'}-{digest(settings, texts)[:8]}"
