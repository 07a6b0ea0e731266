"""The help of every command: what it does, its settings with meanings and defaults, examples, exit statuses."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

NAME = "deepfake-lit"
GROUPS = ("experiment", "model", "augment", "loss", "optimizer", "scheduler", "baseline", "class_weights", "+sweep")


@dataclass(frozen=True)
class Help:
    """What the help of a command says.

    Attributes:
        what: one line, for the list of commands.
        usage: what is typed after the command's name.
        settings: the dataclass of its settings in `settings.commands`, or `DataConfig` or `Config`; empty: none.
        examples: what is typed after the program's name.
        ends: exit statuses besides 0 (done) and 2 (a mistake in the command or the data).
        more: lines between the first line and the settings.
    """

    what: str
    usage: str
    settings: str
    examples: tuple[str, ...]
    ends: dict[int, str]
    more: str = ""


OUTPUT_DIR = "folder of the cache of decoded images and of the audit"
TRAIN_ENDS = {1: "a trial of a sweep failed", 75: "interrupted: the same command continues"}
HELP = {
    "demo": Help(
        "try everything on made-up images, from audit to the page of all runs: minutes on a CPU",
        "[SETTING=VALUE ...]",
        "DemoConfig",
        ("demo", "demo train=300 max_epochs=2 output_dir=/tmp/demo"),
        {},
    ),
    "audit": Help(
        "show what is in a data set, and what is wrong with it",
        "data.root=PATH [SETTING=VALUE ...]",
        "DataConfig",
        ("audit data.root=PATH", "audit data.root=PATH 'data.tolerate=[same_pixels]'"),
        {2: "a mistake in the command, or a problem in the data that data.tolerate does not name"},
        "It counts images, sizes and modes, lists problems, and draws a contact sheet and the spectra of the classes.",
    ),
    "train": Help(
        "train one run, or a sweep with -m",
        "[-m] data.root=PATH [experiment=NAME] [SETTING=VALUE ...]",
        "Config",
        (
            "train experiment=speedrun data.root=PATH",
            "train -m experiment=speedrun data.root=PATH optimizer.lr=3e-3,6e-3 seed=0,1,2",
            "train +sweep=dropout experiment=residual_cnn data.root=PATH",
        ),
        TRAIN_ENDS,
        "If you repeat a command, a finished run gives its result at once, and an interrupted run continues. "
        "PATH is a folder or archive of labelled images, such as a folder with one folder for each class.\nWith "
        "-m, commas separate values, and each combination is trained. --cfg job only prints the configuration.",
    ),
    "search": Help(
        "search for the best settings: poor trials pause early, the winner is trained again",
        "data.root=PATH SETTING=VALUE,VALUE... [SETTING=VALUE ...]",
        "SearchConfig",
        (
            "search experiment=whitening_half data.root=PATH optimizer.lr=2e-3,4e-3,8e-3 augment.cutmix_p=0,0.5",
            "search experiment=residual_cnn data.root=PATH 'optimizer.lr=tag(log,interval(1e-5,1e-2))' trials=20",
        ),
        {1: "a trial failed", 75: "interrupted: the same command continues"},
        "Settings of train are passed on; those with several values are searched. Start the same command in several\n"
        "terminals, and they share the trials. With more trials= it goes on. The winner is chosen on a fold of the\n"
        "training images, and then measured on the validation images.",
    ),
    "reproduce": Help(
        "train and measure everything in a report's tables that is not done yet, and make the page",
        "REPORT... data.root=PATH [SETTING=VALUE ...]",
        "ReproduceConfig",
        (
            "reproduce report_b scale=cpu data.root=PATH",
            "reproduce my_report.yaml data.root=PATH until=settled budget=2h",
        ),
        TRAIN_ENDS,
        "PATH is the folder or archive of the competition's images. Settings of train, such as data.root, "
        "output_dir and trainer.threads, are passed on to every run. open_set and record are not reports: they "
        "are about this project's own networks.",
    ),
    "judge": Help(
        "judge anybody's report: reported numbers, claims, and predictions of any program",
        "REPORT.yaml... [SETTING=VALUE ...]",
        "JudgeConfig",
        ("judge claims.yaml", "judge claims.yaml output=/tmp/judged"),
        {},
        "docs/judge.md says what the file has, with a complete example.",
    ),
    "report": Help(
        "make a page of all runs, sweeps and reports, or publish some of them",
        "[REPORT or SWEEP ...] [SETTING=VALUE ...]",
        "ReportConfig",
        ("report", "report report_b-cpu output=outputs/published/report_b"),
        {},
        "Without names, it makes the page. With the names of reports or sweeps, as status lists them, it copies "
        "their results and predictions into the folder output, without images and weights, and makes a page "
        "there.",
    ),
    "status": Help(
        "list runs and sweeps: done, running, interrupted, failed",
        "[SETTING=VALUE ...]",
        "StatusConfig",
        ("status", "status watch=2"),
        {},
    ),
    "evaluate": Help(
        "measure a checkpoint on labelled images; several checkpoints make one ensemble",
        "CHECKPOINT... data.root=PATH [SETTING=VALUE ...]",
        "EvaluateConfig",
        ("evaluate RUN/best.ckpt data.root=PATH", "evaluate RUN/best.ckpt data.root=PATH 'classes={nature: real}'"),
        {},
    ),
    "robustness": Help(
        "measure how much accuracy is left after JPEG compression, a resize or a little noise",
        "CHECKPOINT... data.root=PATH [SETTING=VALUE ...]",
        "RobustnessConfig",
        ("robustness RUN/last.ckpt data.root=PATH", "robustness A/last.ckpt B/last.ckpt data.root=PATH 'kinds=[jpeg]'"),
        {},
    ),
    "calibrate": Help(
        "calibrate a checkpoint: its probabilities, its prediction sets, and when it answers none_of_these",
        "CHECKPOINT... data.root=PATH [SETTING=VALUE ...]",
        "CalibrateConfig",
        ("calibrate RUN/last.ckpt data.root=PATH", "calibrate RUN/last.ckpt data.root=PATH score=knn rejected=0.01"),
        {},
        "PATH has labelled images that the checkpoint was not trained on. The command writes calibrated.ckpt "
        "beside each checkpoint. All commands that take a checkpoint also take this file.",
    ),
    "open_set": Help(
        "measure how well networks recognise images of classes that their training left out",
        "CHECKPOINT... data.root=PATH [SETTING=VALUE ...]",
        "OpenSetConfig",
        ("open_set outputs/runs/speedrun_95/*/last.ckpt data.root=PATH",),
        {},
        "Networks that were trained without the same classes count as one hold-out. reproduce open_set trains "
        "such networks and measures them.",
    ),
    "predict": Help(
        "predict the classes of new images; several checkpoints make one ensemble",
        "CHECKPOINT... images=PATH [SETTING=VALUE ...]",
        "PredictConfig",
        ("predict RUN/best.ckpt images=FOLDER", "predict A/best.ckpt B/best.ckpt a.jpg b.png output=answers"),
        {1: "some images could not be read"},
    ),
    "explain": Help(
        "explain the answer for one image in an HTML file",
        "IMAGE [CHECKPOINT] [SETTING=VALUE ...]",
        "ExplainConfig",
        ("explain photo.jpg", "explain photo.jpg RUN/best.ckpt data.root=PATH output=photo.html"),
        {},
        "The page has the answer, how the file was processed before, how accurate the network was on such "
        "images, and where the network looks. It shows the noise residual of the image beside the mean residuals "
        "of the classes. These means are in the checkpoint, or data.root names labelled images to compute them "
        "from. If you name no checkpoint, the command uses weights of the package.",
    ),
    "app": Help(
        "open a page on this machine on which you drop images and see the answers",
        "[CHECKPOINT] [SETTING=VALUE ...]",
        "AppConfig",
        ("app", "app RUN/best.ckpt data.root=PATH", "app robust port=8000 browser=true"),
        {},
        "It shows the content of explain for up to a hundred images, and offers the answers as a CSV file. "
        "Nothing leaves this machine. data.root is as in explain. If you name no checkpoint, the command uses "
        "weights of the package. It needs the extra app of the package: pip install 'deepfake-lit[app]'.",
    ),
    "export": Help(
        "write a network for others: as an ONNX file, as a folder for Hugging Face, or as weights with a card",
        "CHECKPOINT [SETTING=VALUE ...]",
        "ExportConfig",
        (
            "export RUN/best.ckpt output=model.onnx",
            "export robust output=FOLDER",
            "export RUN/last.ckpt output=mine.ckpt data.root=PATH robustness=outputs/robustness/robustness.json",
        ),
        {},
        "Each contains the card of the network: what it was trained on, its accuracy and its limits. If "
        "data.root names labelled images, a .ckpt also gets the mean noise residual and spectrum of each class, "
        "for explain and app.",
    ),
    "weights": Help(
        "list the weights that come with the package; each name stands for a checkpoint",
        "",
        "",
        ("weights", "predict robust images=FOLDER"),
        {},
    ),
    "bench": Help(
        "measure speed and memory, compared with the plain way of doing the same",
        "[BENCH ...] data.root=PATH [SETTING=VALUE ...]",
        "BenchConfig",
        ("bench loader step data.root=PATH", "bench predict data.root=PATH threads=1"),
        {1: "the two ways gave different answers"},
    ),
    "samples": Help(
        "write a made-up data set",
        "FOLDER [SETTING=VALUE ...]",
        "SamplesConfig",
        ("samples /tmp/images train=1500",),
        {},
    ),
    "completion": Help(
        "print the script with which a shell completes commands and settings",
        "bash|zsh",
        "",
        ("completion bash",),
        {},
        'Add this line to ~/.bashrc, or with zsh to ~/.zshrc:  eval "$(deepfake-lit completion bash)"',
    ),
}


def usage() -> str:
    """Return the list of commands."""
    width = max(map(len, HELP)) + 2
    commands = "\n".join(f"  {name:<{width}}{text.what}" for name, text in HELP.items())
    return (
        f"usage: {NAME} COMMAND [SETTING=VALUE ...]\n\n{commands}\n\n"
        f"Begin with {NAME} demo. Then use your own images with audit and train experiment=speedrun.\n"
        f"{NAME} COMMAND --help lists the settings of a command, with examples.\n"
    )


def show(command: str, groups: tuple[str, ...] = ()) -> None:
    """Print the help of a command.

    Args:
        groups: of which settings are shown, such as `trainer`; empty: all.
    """
    text = HELP[command]
    out = Console(highlight=False)
    out.print(f"usage: {NAME} {command} {text.usage}\n", markup=False, soft_wrap=True)
    out.print(f"{text.what[0].upper()}{text.what[1:]}.", markup=False)
    if text.more:
        out.print(text.more, markup=False)
    for title, rows in _tables(command):
        shown = [row for row in rows if not groups or row[0].startswith(tuple(f"{group}." for group in groups))]
        if not shown:
            continue
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(overflow="fold", max_width=36)
        table.add_column(overflow="fold")
        for name, meaning in shown:
            table.add_row(Text(name), Text(meaning))
        out.print(f"\n{title}", style="italic")
        out.print(table)
    out.print("\nexamples", style="italic")
    for example in text.examples:
        out.print(f"  {NAME} {example}", markup=False, soft_wrap=True)
    ends = {0: "done", 2: "a mistake in the command or the data"} | text.ends
    out.print("\nexit status", style="italic")
    for status, meaning in sorted(ends.items()):
        out.print(f"  {status}  {meaning}", markup=False)


def schema_of(command: str) -> tuple[type, str] | None:
    """Return the dataclass of a command's settings and what stands before their names; None: it has none."""
    from deepfake_lit.settings import commands
    from deepfake_lit.settings.schema import Config, DataConfig

    name = HELP[command].settings if command in HELP else ""
    known = {"": None, "Config": (Config, ""), "DataConfig": (DataConfig, "data.")}
    return known[name] if name in known else (getattr(commands, name), "")


def _tables(command: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the title and the rows of each table: a name or a setting with its default, and the meaning."""
    from deepfake_lit.cli.arguments import NETWORKS_OWN
    from deepfake_lit.settings.choices import BENCHES
    from deepfake_lit.settings.conf import choices
    from deepfake_lit.settings.kinds import KINDS
    from deepfake_lit.settings.meanings import meanings

    def rows(own: type, prefix: str) -> list[tuple[str, str]]:
        found = [each for each in meanings(own, prefix) if each.name not in KINDS and not each.name.endswith(".kind")]
        if command != "train":
            found = [each for each in found if each.name not in NETWORKS_OWN]
        found.sort(key=lambda each: command != "train" and each.name.startswith("data.") and each.name != "data.root")
        return [(f"{name}={default or 'VALUE'}", text) for name, default, text in found]

    if command == "reproduce":
        yield "reports", [(name, "") for name in [*choices("reproduce"), "all"]]
    if command == "bench":
        yield (
            "benches",
            [*BENCHES.items(), ("gpu", "step, fed, utilisation, end_to_end: on a GPU, within three minutes")],
        )
    if command == "train":
        yield "choices, as in experiment=speedrun", [(name, " ".join(choices(name))) for name in GROUPS]
    if schema := schema_of(command):
        further = [("output_dir=outputs", OUTPUT_DIR)] if command == "audit" else []
        yield "settings, with their defaults", [*rows(*schema), *further]
    if command == "train":
        for group, kinds in KINDS.items():
            for kind in kinds:
                if found := rows(kind, f"{group}."):
                    yield f"settings of {group}={kind().kind}", found
