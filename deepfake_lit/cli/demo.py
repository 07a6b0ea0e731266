"""The whole path on made-up images: the commands that a user would type, one after the other."""

import shlex
import time
from pathlib import Path

from deepfake_lit.core.console import out
from deepfake_lit.settings.commands import DemoConfig


def demo(cfg: DemoConfig) -> None:
    """Run every step from made-up images to predictions and the page, and say where its results lie."""
    from deepfake_lit.cli.commands import COMMANDS
    from deepfake_lit.settings.compose import compose
    from deepfake_lit.training.run import open_run_data, run_folder

    start = time.monotonic()
    output = Path(cfg.output_dir)
    images = output / "images"

    def command(name: str, *arguments: str) -> None:
        out.print(f"\n$ deepfake-lit {name} {' '.join(arguments)}", style="bold", markup=False)
        COMMANDS[name](list(arguments))

    sizes = [f"{key}={getattr(cfg, key)}" for key in ("train", "validation", "test", "image_size", "seed")]
    settings = [
        "experiment=demo",
        f"data.root={images}",
        f"output_dir={output}",
        f"seed={cfg.seed}",
        f"trainer.max_epochs={cfg.max_epochs}",
    ]
    command("samples", str(images), *sizes)
    command("audit", f"data.root={images}", f"output_dir={output}")
    command("train", *settings)

    run = compose(settings)
    learning_rates = f"optimizer.lr={run.optimizer.lr / 5:g},{run.optimizer.lr:g}"
    sweep = [*(s for s in settings if not s.startswith("seed=")), learning_rates, f"seed={cfg.seed},{cfg.seed + 1}"]
    command("train", "-m", *sweep)
    command("train", "model=none", "baseline=[knn,svm]", f"data.root={images}", f"output_dir={output}")

    data = open_run_data(run)
    folder = run_folder(run, data)
    best = str(folder / "best.ckpt")
    command("evaluate", best, f"data.root={images}", f"output={output / 'evaluation'}")
    command("predict", best, f"images={images}", f"output={output / 'predictions'}")
    command("report", f"output_dir={output}")

    out.print(f"\nDone in {time.monotonic() - start:.0f} s. What there is now:", style="bold")
    for path, what in (
        (images, "the made-up data set"),
        (output / "audit" / data.hash, "audit: contact sheet, spectra of the classes"),
        (folder, "the run: result.json, predictions.npz, history.csv, best.ckpt, last.ckpt"),
        (output / "evaluation", "evaluation: figures with and without TTA, confusion.png"),
        (output / "report" / "index.html", "the page of all runs: tables, intervals, verdicts, curves, confusions"),
        (output / "predictions", "predictions of the test images: submission.csv, probabilities.csv"),
    ):
        out.print(f"  {path}  {what}", markup=False)
    out.print("\nDrop an image on a page, and see what the network says, and why:", style="bold")
    page = shlex.join(["deepfake-lit", "app", best, f"data.root={images}"])
    out.print(f"  {page}", markup=False, soft_wrap=True)
