"""What Hydra is told about a sweep before its first trial."""

import math
import os
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import OmegaConf, open_dict

from deepfake_lit.settings.identity import NOT_IDENTITY, digest, of_role, setting_of


class BeforeSweep(Callback):
    """A Hydra callback that keeps a sweep's folder. Hydra turns a callback's errors into warnings, so this class does
    no more than that."""

    folder: Path | None = None

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        BeforeSweep.folder = Path(config.hydra.sweep.dir)
        _side_by_side(config)
        _tell_trials(config)

    @classmethod
    def over(cls) -> Path | None:
        """Return the folder of the sweep that has ended; None if it was a single run."""
        folder, cls.folder = cls.folder, None
        return folder


SWEPT = "DEEPFAKE_LIT_SWEPT"  # in a trial's environment: the number of trials, and what they differ in


def _tell_trials(config: Any) -> None:
    """Tell every trial, in whatever process, how many there are and which settings they differ in."""
    sweeper = config.hydra.sweeper
    params = [f"{name}={value}" for name, value in (sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create().parse_overrides([*params, *config.hydra.overrides.task])
    swept = [each for each in parsed if each.is_sweep_override()]
    counts = [sum(1 for _ in each.sweep_iterator()) for each in swept if _listed(each)]
    total = sweeper.get("n_trials") or math.prod(counts)
    os.environ[SWEPT] = " ".join([str(total), *(each.key_or_group for each in swept)])


def _listed(override: Override) -> bool:
    """Tell whether a setting's values can be counted; an interval's cannot."""
    return override.is_choice_sweep() or override.is_range_sweep() or override.is_discrete_sweep()


def what_differs(number: int, overrides: list[str]) -> str:
    """Return how far a sweep is and what makes this trial, such as `3/6, model.dropout=0.3 seed=1`."""
    total, *names = os.environ.get(SWEPT, "").split() or ["?"]
    values = (each.lstrip("+") for each in overrides if setting_of(each) in names)
    return ", ".join(filter(None, (f"{number + 1}/{total}", " ".join(values))))


def _side_by_side(config: Any) -> None:
    """Let the joblib launcher run one trial per core on a CPU, on a GPU as many as a measured step says, unless the
    user says otherwise.

    One per core is the fastest way to share out the cores (`bench sweep`). The launcher's own default is ten trials.
    """
    given = any(override.startswith("hydra.launcher.n_jobs=") for override in config.hydra.overrides.hydra)
    if "JoblibLauncher" not in config.hydra.launcher._target_ or given:
        return
    with open_dict(config.hydra.launcher):
        config.hydra.launcher.n_jobs = _trials_at_once(config)


def _trials_at_once(config: Any) -> int:
    from deepfake_lit.core import console, hardware
    from deepfake_lit.core.system import cores
    from deepfake_lit.settings.compose import load

    try:
        if hardware.resolve(config.trainer.accelerator).device != "cuda":
            return cores()
        cfg = load(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))  # without what is swept
        if cfg.model.kind in ("none", "ensemble"):
            return 1
        from deepfake_lit.studies.one_card import trials_at_once

        found = trials_at_once(cfg)
    except Exception as error:  # what is wrong with the settings, the trials say themselves
        console.note(f"one trial at a time ({error}); hydra.launcher.n_jobs=K runs K side by side")
        return 1
    console.note(f"{found} at once, by a measured step and the GPU's free memory; hydra.launcher.n_jobs=K chooses")
    return found


def sweep_name(arguments: list[str], conf: Path) -> str:
    """Return a folder name that the same sweep gets again: its choice in conf/sweep, and a digest of that file and of
    the other settings."""
    ignored = NOT_IDENTITY - of_role("weights") | {"hydra/launcher"}
    settings = [a for a in sorted(arguments) if "=" in a and setting_of(a) not in ignored]
    settings = [a for a in settings if not a.startswith(("-", "hydra.launcher."))]
    chosen = [a.partition("=")[2] for a in settings if a.startswith("+sweep=")]
    files = [conf / "sweep" / f"{name}.yaml" for name in chosen]
    texts = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    return f"{'-'.join(chosen) or 'multirun'}-{digest(settings, texts)[:8]}"
