"""The commands. Only what a command needs is imported, so that `--help` is quick."""

import contextlib
import inspect
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deepfake_lit.settings.compose import compose

USAGE = """\
usage: deepfake-lit COMMAND [SETTING=VALUE ...]

  demo        made-up images: from audit to the page of runs, minutes on a CPU
  audit       what is in a data set, and what is wrong with it     audit data.root=PATH
  train       one run, or with -m a sweep                          train experiment=residual_cnn data.root=PATH
  reproduce   all the tables of a report: runs what is missing     reproduce report_b scale=cpu data.root=PATH
  report      a page of every run, sweep and report                report output_dir=outputs
  status      runs and sweeps: done, running, interrupted, failed  status watch=2
  evaluate    checkpoints on a labelled split                      evaluate CHECKPOINT... data.root=PATH
  predict     checkpoints on new images; several = an ensemble     predict CHECKPOINT... images=FOLDER
  export      a checkpoint as one ONNX file                        export CHECKPOINT output=model.onnx
  bench       speed against the plain way, as ratios               bench loader step data.root=PATH
  samples     write a made-up data set                             samples FOLDER

Settings are Hydra's overrides: train --cfg job prints them all, train --help the choices.
Those of another command: COMMAND --help.
"""


HELP = {"-h", "--help"}


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
    if arguments[0] != "train" and HELP & set(arguments[1:]):
        print(next(line for line in USAGE.splitlines() if line.split()[:1] == arguments[:1]))
    sys.exit(_with_messages(command, arguments[1:]))


def _with_messages(command: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """Run a command; what the user can mend becomes a message and exit status 2, not a traceback."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.compose import explain

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing and exiting by itself
    status = 2
    try:
        return command(arguments) or 0
    except UserError as error:
        message, status = str(error), error.status
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        message = f"{error.filename}: {error.strerror}"
    except OmegaConfBaseException as error:
        message = explain(error)
    except HydraException as error:
        cause = error.__cause__
        message = explain(cause) if isinstance(cause, OmegaConfBaseException) else str(error).strip()
    print(f"deepfake-lit: {message}", file=sys.stderr)
    return status


def settings(arguments: list[str], schema: type):
    """(plain arguments, settings): what has no `=`, or is an existing path, is a plain argument.

    Where help is asked for, print the settings with their meaning and defaults, and leave.

    Raises:
        UserError: an unknown setting, a wrong type, or one that must be given and is not.
    """
    if HELP & set(arguments):
        print(inspect.getsource(schema).partition(":\n")[2], end="")
        raise SystemExit(0)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.compose import explain

    plain = [a for a in arguments if "=" not in a or Path(a).exists()]
    try:
        given = OmegaConf.from_dotlist([a for a in arguments if a not in plain])
        return plain, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), given))
    except OmegaConfBaseException as error:
        raise UserError(explain(error, schema)) from None


def train(arguments: list[str]) -> int:
    from deepfake_lit.hydra_job import train

    return train(arguments)


def reproduce(arguments: list[str]) -> int:
    from deepfake_lit.core.errors import UserError
    from deepfake_lit.studies.plan import ReproduceConfig, plans
    from deepfake_lit.studies.reproduce import reproduce

    own = [a for a in arguments if "=" not in a or a.partition("=")[0] in vars(ReproduceConfig())]
    reports, cfg = settings(own, ReproduceConfig)
    if not reports:
        raise UserError(f"name a report: {', '.join(plans())}, or all")
    further = [a for a in arguments if a not in own]
    if reports == ["all"]:
        reports = plans(cfg.scale)
    done = [reproduce(name, cfg, further) for name in reports]
    report([f"output_dir={done[0].output_dir}"])
    return 1 if any(trial.reason for plan in done for trial in plan.trials) else 0


def report(arguments: list[str]) -> None:
    from deepfake_lit.report.page import ReportConfig, report

    records, cfg = settings(arguments, ReportConfig)
    if records:
        from deepfake_lit.core.errors import UserError
        from deepfake_lit.report.publish import publish

        if cfg.output is None:
            raise UserError(
                "name the folder to publish to, as in: report report_b-cpu output=outputs/published/report_b"
            )
        page = publish(cfg, records)
    else:
        page = report(cfg)
    print(f"{page}; beside it report.md and tables/*.csv")


def audit(arguments: list[str]) -> int:
    if HELP & set(arguments):
        from deepfake_lit.settings.schema import DataConfig

        settings(arguments, DataConfig)
    cfg = compose(arguments)
    from deepfake_lit import show
    from deepfake_lit.data.audit import audit as examine
    from deepfake_lit.data.dataset import cache_dir

    found = examine(cfg.data, cache_dir(cfg.data, cfg.output_dir), Path(cfg.output_dir) / "audit")
    show.audit(found, cfg.data.tolerate)
    return 2 if set(found.findings["problems"]) - set(cfg.data.tolerate) else 0


def evaluate(arguments: list[str]) -> None:
    from deepfake_lit.prediction.evaluate import EvaluateConfig, evaluate

    checkpoints, cfg = settings(arguments, EvaluateConfig)
    from deepfake_lit import show

    show.evaluation(evaluate(checkpoints, cfg), Path(cfg.output))


def predict(arguments: list[str]) -> int:
    from deepfake_lit.prediction.predict import PredictConfig, predict

    checkpoints, cfg = settings(arguments, PredictConfig)
    from deepfake_lit import show

    return show.predictions(predict(checkpoints, cfg), Path(cfg.output))


def export(arguments: list[str]) -> None:
    from deepfake_lit.core.errors import UserError
    from deepfake_lit.prediction.export import ExportConfig, export

    checkpoints, cfg = settings(arguments, ExportConfig)
    if len(checkpoints) != 1:
        raise UserError("name one checkpoint to export")
    difference = export(Path(checkpoints[0]), Path(cfg.output))
    print(f"{cfg.output}: run with ONNX Runtime, its probabilities differ from torch's by at most {difference:.1e}")


def bench(arguments: list[str]) -> int:
    from deepfake_lit.bench import bench
    from deepfake_lit.bench.timing import BenchConfig

    names, cfg = settings(arguments, BenchConfig)
    from deepfake_lit import show

    rows = bench(names, cfg)
    show.bench(rows, Path(cfg.output))
    return 0 if all(row.same for row in rows) else 1


def status(arguments: list[str]) -> None:
    from deepfake_lit.studies.status import StatusConfig, differing, look

    cfg = settings(arguments, StatusConfig)[1]
    from rich.live import Live

    from deepfake_lit import show
    from deepfake_lit.core.console import out

    def picture():
        runs, sweeps = look(cfg)
        return show.status(runs, sweeps, differing(runs))

    if cfg.watch is None:
        out.print(picture())
        return
    with contextlib.suppress(KeyboardInterrupt), Live(picture(), console=out) as live:
        while True:
            time.sleep(cfg.watch)
            live.update(picture(), refresh=True)


def samples(arguments: list[str]) -> None:
    from deepfake_lit.data.samples import SamplesConfig, write_samples

    folders, cfg = settings(arguments, SamplesConfig)
    if len(folders) != 1:
        from deepfake_lit.core.errors import UserError

        raise UserError("name one folder to write the made-up images to, as in: samples /tmp/images train=1500")
    write_samples(Path(folders[0]), **vars(cfg))
    print(f"made-up images: {folders[0]}")


def demo(arguments: list[str]) -> None:
    from deepfake_lit.demo import DemoConfig, demo

    demo(settings(arguments, DemoConfig)[1])


COMMANDS = {
    "demo": demo,
    "audit": audit,
    "train": train,
    "reproduce": reproduce,
    "report": report,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "bench": bench,
    "status": status,
    "samples": samples,
}
