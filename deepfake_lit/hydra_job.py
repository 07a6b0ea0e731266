"""The command `train`: Hydra composes, one run is trained, or a sweep's trials one after the other."""

import contextlib
import sys
from pathlib import Path
from typing import Any, NoReturn

import hydra
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import open_dict

from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.compose import config_dir, load, register
from deepfake_lit.settings.identity import digest
from deepfake_lit.settings.schema import NOT_IDENTITY


class BeforeSweep(Callback):
    """Says where a sweep lies, and gives Optuna's sweeper what makes the same command go on.

    With a fixed seed Optuna asks for the same trials again, and those that are finished answer at once. So nothing of
    an unfinished study is needed: it is made anew, in `study.db` in the sweep's folder, and ends with as many trials
    as were asked for. Hydra turns a callback's errors into warnings, hence no more than this here.
    """

    folder: Path | None = None
    study_lock: FileLock | None = None

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        BeforeSweep.folder = folder = Path(config.hydra.sweep.dir)
        _one_trial_a_core(config)
        sweeper = config.hydra.sweeper
        if "OptunaSweeper" not in sweeper._target_:
            return
        if sweeper.storage is not None:
            _exit(f"hydra.sweeper.storage: a sweep keeps its study in {folder}/study.db; leave this setting out")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with open_dict(sweeper):
            sweeper.direction = "maximize"  # accuracy
            sweeper.max_failure_rate = 1.0  # a failed trial is listed and does not end the sweep
            if sweeper.sampler.get("seed", 0) is None:
                sweeper.sampler.seed = 0
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".study.lock", timeout=0)
            with contextlib.suppress(Timeout):  # in another terminal that has the file the study stays in memory
                lock.acquire()
                BeforeSweep.study_lock = lock  # held until the sweep ends, or this process
                (folder / "study.db").unlink(missing_ok=True)
                sweeper.storage, sweeper.study_name = f"sqlite:///{folder.absolute()}/study.db", folder.name


def _one_trial_a_core(config: Any) -> None:
    """On a CPU the joblib launcher runs as many trials side by side as there are cores, unless it is told otherwise:
    the fastest way to share them out (`bench sweep`). Its own default is ten."""
    given = any(override.startswith("hydra.launcher.n_jobs=") for override in config.hydra.overrides.hydra)
    if "JoblibLauncher" not in config.hydra.launcher._target_ or given:
        return
    import torch

    from deepfake_lit.core.system import cores

    if not torch.cuda.is_available():
        with open_dict(config.hydra.launcher):
            config.hydra.launcher.n_jobs = cores()


def _exit(message: str) -> NoReturn:
    print(f"deepfake-lit: {message}", file=sys.stderr)
    sys.exit(2)


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
            from deepfake_lit.core.processes import is_main_process
            from deepfake_lit.training.run import run

            results = run(cfg)
        except UserError as error:
            mistakes.append(error)
            return None
        if is_main_process():
            show.results(results)
        return results[-1]["best"]["accuracy"]

    sys.argv = ["deepfake-lit train", *_arranged(arguments)]  # what Hydra parses
    try:
        job()
    except ValueError:
        if not BeforeSweep.study_lock or _any_done(BeforeSweep.folder):
            raise  # else it is Optuna that finds no best trial where all have failed: the table says so
    if mistakes:
        raise mistakes[0]
    if BeforeSweep.study_lock:
        BeforeSweep.study_lock.release()
    folder, BeforeSweep.folder, BeforeSweep.study_lock = BeforeSweep.folder, None, None
    if folder is None:
        return 0  # it was one run
    from deepfake_lit.sweep import finish

    return finish(folder)


def _any_done(folder: Path) -> bool:
    from deepfake_lit.sweep import table

    return any(row["state"] == "done" for row in table(folder))


def _arranged(arguments: list[str]) -> list[str]:
    """Settings first, then flags: Hydra refuses settings on both sides of one. A sweep gets its folder."""
    settings = [a for a in arguments if a.startswith("~") or ("=" in a and not a.startswith("-"))]
    flags = [a for a in arguments if a not in settings]
    if settings and not any(a.startswith("hydra.sweep.dir=") for a in settings):
        settings.append("hydra.sweep.dir=${output_dir}/sweeps/" + sweep_name(arguments, config_dir()))
    return [*settings, *flags]


def sweep_name(arguments: list[str], conf: Path) -> str:
    """A folder's name that the same sweep gets again: its choice in conf/sweep, that file, and what else was set."""
    ignored = NOT_IDENTITY - {"init_from", "model.members"} | {"hydra/launcher"}
    settings = [a for a in sorted(arguments) if "=" in a and a.lstrip("+~").partition("=")[0] not in ignored]
    settings = [a for a in settings if not a.startswith(("-", "hydra.launcher."))]
    chosen = [a.partition("=")[2] for a in settings if a.startswith("+sweep=")]
    files = [conf / "sweep" / f"{name}.yaml" for name in chosen]
    texts = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    return f"{'-'.join(chosen) or 'multirun'}-{digest(settings, texts)[:8]}"
