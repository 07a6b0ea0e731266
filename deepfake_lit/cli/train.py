"""The command `train`: Hydra composes the configuration and starts one run, or the trials of a sweep."""

import contextlib
import sys
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from deepfake_lit.cli.arguments import NETWORKS_OWN, refuse_flags, refuse_unused
from deepfake_lit.core.errors import UNFINISHED, UserError
from deepfake_lit.core.files import read_json
from deepfake_lit.results.result import Results
from deepfake_lit.settings.compose import config_dir, from_dict, load, register
from deepfake_lit.settings.identity import NOT_IDENTITY, ROLE, setting_of
from deepfake_lit.settings.schema import Config
from deepfake_lit.studies.hydra_sweep import BeforeSweep, sweep_name

SWEEP, PRINT = ("-m", "--multirun"), ("-c", "--cfg", "-i", "--info")
FLAGS = (  # Hydra's
    *SWEEP,
    *PRINT,
    *("-h", "--help", "--hydra-help", "--version", "-r", "--run", "--resolve", "-p", "--package"),
    *("-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"),
    "--experimental-rerun",
)
# What a baseline uses of the groups that are about the training of a network.
BASELINES_OWN = {"trainer.accelerator", "trainer.precision", "trainer.channels_last"}
GROUPS = ("augment", "loss", "optimizer", "scheduler", "class_weights", "without", "idea")  # files in conf/


def train(arguments: list[str]) -> int:
    """Train one run or a sweep and print it. The status is 1 if a trial failed, `UNFINISHED` if one was interrupted."""
    refuse_flags(arguments, FLAGS)
    for flag, value in pairwise([*arguments, ""]):
        if flag in ("-c", "--cfg") and value not in ("job", "hydra", "all"):
            raise UserError(f"{flag} is followed by what is to be printed: job, hydra or all")
    flags = {a.partition("=")[0] for a in arguments if a.startswith("-")}
    if flags & {*SWEEP} and flags & {*PRINT}:
        raise UserError("-m trains several runs, and --cfg prints one: leave -m out, and give every setting one value")
    if cfg := _extending(arguments):
        return _run(cfg)
    register()
    program = sys.argv[0]
    mistakes: list[UserError | OSError] = []

    @hydra.main(config_path=str(config_dir()), config_name="train", version_base="1.3")
    def job(composed):
        hydra_config = HydraConfig.get()
        # On several devices Lightning starts the other processes with this very command line. If it saw Hydra at
        # work, it would look for files of Hydra's that are not written here.
        sys.argv = [program, "train", *(o for o in hydra_config.overrides.task if not o.startswith("+sweep="))]
        HydraConfig.instance().cfg = None
        try:
            if composed.model.kind == "none" and not any(_sweeps_networks(a) for a in arguments):
                refuse_unused(arguments, _networks_settings(), "model=none trains no network")
        except UserError as error:
            if hydra_config.runtime.choices["hydra/launcher"] != "basic":
                raise  # in another process, whose list this one does not see
            mistakes[:] = [error]
            return None
        if hydra_config.mode == RunMode.MULTIRUN:
            from deepfake_lit.studies.sweep import run_trial

            return run_trial(composed, hydra_config)
        try:
            cfg = load(composed)
            from deepfake_lit.cli import show  # after the check, so that a typo costs no import of torch
            from deepfake_lit.studies.finished import finished

            result, data = finished(cfg)
            if result:
                show.results(Results([], result))
                return result.best["accuracy"]
            from deepfake_lit.core.processes import is_main_process
            from deepfake_lit.training.run import run

            results = run(cfg, data)
        except (UserError, OSError) as error:
            mistakes.append(error)
            with contextlib.suppress(OSError):  # Hydra has made the folder, which stays where there is something in it
                Path(hydra_config.runtime.output_dir).rmdir()
            return None
        if is_main_process():
            show.results(results)
        return results.main.best["accuracy"]

    sys.argv = ["deepfake-lit train", *_arranged(arguments)]  # what Hydra parses
    try:
        job()
    finally:
        folder = BeforeSweep.over()
    if mistakes:
        raise mistakes[0]
    if folder is None:
        return 0  # a single run
    from deepfake_lit.cli import show, verdicts
    from deepfake_lit.studies.sweep import finish

    rows = finish(folder)
    show.sweep(rows, folder)
    verdicts.of_sweep(folder)
    states = {row["state"] for row in rows}
    return 1 if "failed" in states else UNFINISHED if "interrupted" in states else 0


def _run(cfg: Config) -> int:
    from deepfake_lit.cli import show
    from deepfake_lit.training.run import run

    show.results(run(cfg))
    return 0


def _extending(arguments: list[str]) -> Config | None:
    """Return the configuration of a run that goes on for more epochs, where nothing else about it is said.

    All else is then as it was in that run. None: the arguments say themselves what is trained.

    Raises:
        UserError: there is no such run.
    """
    given = dict(a.partition("=")[::2] for a in arguments)
    changes = {"extends", "trainer.max_epochs", *(name for name in NOT_IDENTITY if name not in ("name", "init_from"))}
    if "extends" not in given or not {setting_of(a) for a in arguments} <= changes:
        return None
    runs = Path(given.get("output_dir", "outputs")) / "runs"
    found = sorted(runs.glob(f"*/{given['extends']}/run.json")) if given["extends"].isalnum() else []
    if not found:
        raise UserError(f"extends={given['extends']}: there is no such run in {runs}; `deepfake-lit status` lists them")
    others = [a for a in arguments if not a.startswith("extends=")]  # its digits could be read as a number
    tree = OmegaConf.merge(read_json(found[0])["config"], OmegaConf.from_dotlist(others))
    return from_dict(OmegaConf.to_container(tree) | {"extends": given["extends"]})


def _sweeps_networks(argument: str) -> bool:
    """Return whether a sweep's setting chooses networks, so that another trial may use what this one does not."""
    name, _, value = argument.partition("=")
    return name.lstrip("+") in ("model", "experiment", "sweep") and ("," in value or "(" in value or "sweep" in name)


def _networks_settings() -> tuple[str, ...]:
    """Return the settings and choices that only a network uses, and that could change its result."""
    own = ("trainer.", "augment.", "loss.", "optimizer.", "scheduler.", "evaluate.", "monitor", "extends")
    named = [n for n in ROLE if n.startswith(own) and n not in NOT_IDENTITY | BASELINES_OWN]
    return (
        *named,
        *(name for name in NETWORKS_OWN if name not in NOT_IDENTITY | {"data.channels", "data.leave_out"}),
        *GROUPS,
    )


def _arranged(arguments: list[str]) -> list[str]:
    """Put settings before flags, since Hydra refuses settings on both sides of a flag, and name the sweep's folder."""
    settings = [a for a in arguments if a.startswith("~") or ("=" in a and not a.startswith("-"))]
    flags = [a for a in arguments if a not in settings]
    if settings and not any(a.startswith("hydra.sweep.dir=") for a in settings):
        settings.append("hydra.sweep.dir=${output_dir}/sweeps/" + sweep_name(arguments, config_dir()))
    return [*settings, *flags]
