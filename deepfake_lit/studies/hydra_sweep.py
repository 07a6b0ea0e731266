"""What Hydra is told of a sweep before its first trial."""

import contextlib
import sys
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import open_dict

from deepfake_lit.settings.identity import NOT_IDENTITY, digest, of_role, setting_of


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

    @classmethod
    def over(cls) -> Path | None:
        """The folder of the sweep that has ended; None: it was one run."""
        if cls.study_lock:
            cls.study_lock.release()
        folder, cls.folder, cls.study_lock = cls.folder, None, None
        return folder


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


def sweep_name(arguments: list[str], conf: Path) -> str:
    """A folder's name that the same sweep gets again: its choice in conf/sweep, that file, and what else was set."""
    ignored = NOT_IDENTITY - of_role("weights") | {"hydra/launcher"}
    settings = [a for a in sorted(arguments) if "=" in a and setting_of(a) not in ignored]
    settings = [a for a in settings if not a.startswith(("-", "hydra.launcher."))]
    chosen = [a.partition("=")[2] for a in settings if a.startswith("+sweep=")]
    files = [conf / "sweep" / f"{name}.yaml" for name in chosen]
    texts = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    return f"{'-'.join(chosen) or 'multirun'}-{digest(settings, texts)[:8]}"
