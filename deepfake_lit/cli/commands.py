"""The commands: each takes what was typed after its name and returns an exit status, None for 0.

Each imports what it needs by itself, so that `--help` is quick."""

import contextlib
import time
from pathlib import Path

from deepfake_lit.cli.arguments import NETWORKS_OWN, refuse_flags, refuse_unused, settings
from deepfake_lit.cli.help import HELP, NAME


def _as_in(command: str) -> str:
    return f", as in: {NAME} {HELP[command].examples[0]}"


def train(arguments: list[str]) -> int:
    from deepfake_lit.cli.train import train

    return train(arguments)


def search(arguments: list[str]) -> int:
    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.commands import SearchConfig

    refuse_flags(arguments)
    own = [a for a in arguments if "=" not in a or a.partition("=")[0] in vars(SearchConfig())]
    cfg = settings(own, SearchConfig)[1]
    overrides = [a for a in arguments if a not in own]
    if any(a.startswith(("+sweep=", "hydra")) for a in overrides):
        raise UserError("+sweep= and hydra settings are for train -m; name each setting and its values")
    try:
        from deepfake_lit.studies.search import search
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError("search needs Optuna: pip install 'deepfake-lit[search]'") from None
    record, folder = search(cfg, overrides)
    report([f"output_dir={folder.parents[1]}"])
    from deepfake_lit.cli import verdicts

    verdicts.of_search(record, folder)
    return 1 if any(trial["state"] == "failed" for trial in record["trials"]) else 0


def reproduce(arguments: list[str]) -> int:
    from deepfake_lit.core.errors import UserError, one_of
    from deepfake_lit.settings.commands import ReproduceConfig
    from deepfake_lit.settings.report_file import is_file
    from deepfake_lit.studies.plan import plans

    own = [a for a in arguments if "=" not in a or a.partition("=")[0] in vars(ReproduceConfig())]
    reports, cfg = settings(own, ReproduceConfig, "reports")
    if not reports:
        raise UserError(f"name a report: {', '.join(plans())}, all, or a .yaml file of your own")
    further = [a for a in arguments if a not in own]
    for name in reports:
        if not is_file(name):
            one_of("report", name, (*plans(), "all"))
    if reports == ["all"]:
        reports = plans(cfg.scale)
    from deepfake_lit.studies.reproduce import reproduce

    if cfg.budget is not None and cfg.until is None:
        raise UserError("budget is for until=settled, which can stop after any run")
    if cfg.until:
        from deepfake_lit.report.until import until_settled as reproduce
    done = [reproduce(name, cfg, further) for name in reports]
    report([f"output_dir={done[0].output_dir}"])
    from deepfake_lit.cli import verdicts

    verdicts.of_report(Path(done[0].output_dir), [plan.name for plan in done])
    return 1 if any(trial.reason for plan in done for trial in plan.trials) else 0


def judge(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import JudgeConfig
    from deepfake_lit.settings.report_file import name_of

    files, cfg = settings(arguments, JudgeConfig, "files of reports", f"name a file{_as_in('judge')}")
    from deepfake_lit.report.judge import judge

    outputs = [Path(cfg.output) / name_of(file) for file in files]
    keys = [judge(file, output) for file, output in zip(files, outputs, strict=True)]
    from deepfake_lit.cli import verdicts

    for key, output in zip(keys, outputs, strict=True):
        report([f"output_dir={output}", "images=false"])
        verdicts.of_report(output, [key])


def report(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import ReportConfig

    records, cfg = settings(arguments, ReportConfig, "reports and sweeps")
    from deepfake_lit.report.page import report

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
    print(f"{page}; beside it report.md, tables/*.csv and figures/*.svg")


def audit(arguments: list[str]) -> int:
    from deepfake_lit.settings.compose import compose
    from deepfake_lit.settings.identity import of_group

    refuse_flags(arguments)
    others = tuple(name for name in of_group() if name not in ("data", "output_dir"))
    refuse_unused(arguments, (*others, *NETWORKS_OWN), "audit looks at the files alone")
    cfg = compose(arguments)
    from deepfake_lit.cli import show
    from deepfake_lit.data.audit import audit as examine
    from deepfake_lit.data.images import cache_dir

    found = examine(cfg.data, cache_dir(cfg.data, cfg.output_dir), Path(cfg.output_dir) / "audit")
    show.audit(found, cfg.data.tolerate)
    return 2 if set(found.findings["problems"]) - set(cfg.data.tolerate) else 0


def evaluate(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import EvaluateConfig

    checkpoints, cfg = settings(arguments, EvaluateConfig, "checkpoints", f"name a checkpoint{_as_in('evaluate')}")
    refuse_unused(arguments, NETWORKS_OWN, "the checkpoint has its own")
    from deepfake_lit.cli import show_answers
    from deepfake_lit.prediction.evaluate import evaluate

    show_answers.evaluation(evaluate(checkpoints, cfg), Path(cfg.output))


def robustness(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import RobustnessConfig

    checkpoints, cfg = settings(arguments, RobustnessConfig, "checkpoints", f"name a checkpoint{_as_in('robustness')}")
    refuse_unused(arguments, NETWORKS_OWN, "the checkpoint has its own")
    from deepfake_lit.cli import show_answers
    from deepfake_lit.prediction.robustness import robustness

    show_answers.robustness(robustness(checkpoints, cfg), Path(cfg.output))


def calibrate(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import CalibrateConfig

    checkpoints, cfg = settings(arguments, CalibrateConfig, "checkpoints", f"name a checkpoint{_as_in('calibrate')}")
    refuse_unused(arguments, NETWORKS_OWN, "the checkpoint has its own")
    from deepfake_lit.cli import show_answers
    from deepfake_lit.prediction.calibrate import calibrate

    show_answers.calibrations(calibrate(checkpoints, cfg))


def open_set(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import OpenSetConfig

    checkpoints, cfg = settings(arguments, OpenSetConfig, "checkpoints", f"name a checkpoint{_as_in('open_set')}")
    refuse_unused(arguments, NETWORKS_OWN, "the checkpoint has its own")
    from deepfake_lit.cli import show_answers
    from deepfake_lit.prediction.open_set import open_set

    show_answers.open_set(open_set(checkpoints, cfg), Path(cfg.output))


def predict(arguments: list[str]) -> int:
    from deepfake_lit.settings.commands import PredictConfig

    # A path is taken as it was typed: as a setting's value a folder 007 would be a number, and "[1] x" a broken list.
    typed = [a for a in arguments if a.startswith("images=") and a[7:] and Path(a[7:]).expanduser().exists()]
    plain, cfg = settings([a for a in arguments if a not in typed], PredictConfig, "checkpoints and images")
    from deepfake_lit.cli import show_answers
    from deepfake_lit.prediction.inputs import are_images
    from deepfake_lit.prediction.predict import predict

    named = typed or cfg.images  # then a folder among the plain arguments is that of a checkpoint
    pictures = [a for a in plain if are_images(a) and not (named and Path(a).is_dir())]
    given = cfg.images if isinstance(cfg.images, list) else filter(None, [cfg.images])
    cfg.images = [*(a.removeprefix("images=") for a in typed), *given, *pictures]
    checkpoints = [a for a in plain if a not in pictures]
    if not checkpoints and not cfg.images:
        from deepfake_lit.core.errors import UserError

        raise UserError(f"name a checkpoint and images{_as_in('predict')}")
    found = predict(checkpoints, cfg)
    show_answers.predictions(found, Path(cfg.output))
    return 1 if found.unreadable else 0


def explain(arguments: list[str]) -> None:
    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.commands import ExplainConfig

    plain, cfg = settings(arguments, ExplainConfig, "an image and a checkpoint")
    from deepfake_lit.explain.explainer import Explainer, read_image
    from deepfake_lit.explain.html import write_page
    from deepfake_lit.prediction.inputs import are_images
    from deepfake_lit.prediction.published import chosen

    images = [a for a in plain if are_images(a)]
    if len(images) != 1 or len(plain) > 2:
        raise UserError(f"name one image, and a checkpoint or the name of weights{_as_in('explain')}")
    data = read_image(images[0])
    explainer = Explainer(chosen([a for a in plain if a not in images]), cfg)
    image = explainer.see(Path(images[0]).name, data)
    explanation = explainer.explain(image, explainer.answers([image]))
    write_page(Path(cfg.output), explainer, explanation)
    from deepfake_lit.cli import show_answers

    show_answers.explanation(explanation, Path(cfg.output))


def app(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import AppConfig

    checkpoints, cfg = settings(arguments, AppConfig, "a checkpoint")
    if len(checkpoints) > 1:
        from deepfake_lit.core.errors import UserError

        raise UserError(f"name one checkpoint{_as_in('app')}")
    from deepfake_lit.explain.app import serve
    from deepfake_lit.prediction.published import chosen

    serve(chosen(checkpoints), cfg)


def export(arguments: list[str]) -> None:
    from deepfake_lit.core.errors import UserError
    from deepfake_lit.settings.commands import ExportConfig

    checkpoints, cfg = settings(arguments, ExportConfig, "a checkpoint")
    if len(checkpoints) != 1:
        raise UserError(f"name one checkpoint{_as_in('export')}")
    from deepfake_lit.prediction.export import export

    difference = export(checkpoints[0], cfg)
    print(f"{cfg.output}: read back, its probabilities differ from the checkpoint's by at most {difference:.1e}")


def weights(arguments: list[str]) -> None:
    if arguments:
        from deepfake_lit.core.errors import UserError

        raise UserError(f"{arguments[0]!r} is nothing that this command takes")
    from deepfake_lit.cli import show_answers

    show_answers.weights()


def bench(arguments: list[str]) -> int:
    from deepfake_lit.settings.commands import BenchConfig

    if "gpu" in arguments:
        from deepfake_lit.bench.gpu import arranged

        arguments = arranged(arguments)
    names, cfg = settings(arguments, BenchConfig, "benches")
    refuse_unused(arguments, NETWORKS_OWN, "the experiments that are timed have their own")
    from deepfake_lit.bench import bench
    from deepfake_lit.cli import show

    rows = bench(names, cfg)
    show.bench(rows, Path(cfg.output))
    return 0 if all(row.same for row in rows) else 1


def status(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import StatusConfig

    cfg = settings(arguments, StatusConfig)[1]
    if cfg.watch is not None and not cfg.watch > 0:
        from deepfake_lit.core.errors import UserError

        raise UserError("watch is a number of seconds above 0")
    from rich.live import Live

    from deepfake_lit.cli import show
    from deepfake_lit.core.console import out
    from deepfake_lit.studies.status import differing, look

    def picture():
        runs, sweeps = look(cfg)
        return show.status(runs, sweeps, differing(runs), None if cfg.watch is None else out.height)

    if cfg.watch is None:
        out.print(picture())
        return
    with contextlib.suppress(KeyboardInterrupt), Live(picture(), console=out) as live:
        while True:
            time.sleep(cfg.watch)
            live.update(picture(), refresh=True)


def samples(arguments: list[str]) -> None:
    from deepfake_lit.settings.commands import SamplesConfig

    folders, cfg = settings(arguments, SamplesConfig, "a folder")
    if len(folders) != 1:
        from deepfake_lit.core.errors import UserError

        raise UserError(f"name one folder{_as_in('samples')}")
    from deepfake_lit.data.samples import write_samples

    write_samples(Path(folders[0]), **vars(cfg))
    print(f"made-up images: {folders[0]}")


def completion(arguments: list[str]) -> None:
    from deepfake_lit.cli.completion import script, words
    from deepfake_lit.core.errors import UserError

    if arguments[:1] == ["words"]:
        print("\n".join(words(" ".join(arguments[1:]))))
    elif len(arguments) == 1 and arguments[0] in ("bash", "zsh"):
        print(script(arguments[0]), end="")
    else:
        raise UserError('name bash or zsh, as in: eval "$(deepfake-lit completion bash)"')


_ALL = (
    audit,
    train,
    search,
    reproduce,
    judge,
    report,
    evaluate,
    robustness,
    calibrate,
    open_set,
    predict,
    explain,
    app,
    export,
    weights,
    bench,
    status,
    samples,
    completion,
)
COMMANDS = {command.__name__: command for command in _ALL}
