"""Speed against the plain way of doing the same: ratios, and a check that both give the same answer."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from deepfake_lit.bench import baselines, commands, endtoend, growth, loader, memory, training, utilisation
from deepfake_lit.bench.gpu import tests_of
from deepfake_lit.bench.timing import BenchConfig, Comparison, OutOfTime
from deepfake_lit.core import console, hardware
from deepfake_lit.core.errors import one_of
from deepfake_lit.core.files import atomic, check_writable, write_json
from deepfake_lit.core.system import cores, cpu_name
from deepfake_lit.results.provenance import code_version, versions

BENCHES: dict[str, Callable[[BenchConfig], Iterable[Comparison]]] = {
    "loader": loader.loader,
    "step": training.step,
    "utilisation": utilisation.utilisation,
    "fed": training.fed,
    "end_to_end": endtoend.end_to_end,
    "overhead": training.overhead,
    "cache": commands.cache,
    "start": commands.start,
    "predict": commands.predict,
    "sweep": commands.sweep,
    "growth": growth.growth,
    "memory": memory.memory,
    "knn": lambda cfg: baselines.compare("knn", cfg),
    "knn_standardised": lambda cfg: baselines.compare("knn_standardised", cfg),
    "svm": lambda cfg: baselines.compare("svm", cfg),
}


ON_DEVICE = {"step", "utilisation", "fed", "end_to_end", "sweep", "predict", "start"}  # the others compute on the CPU


def bench(names: list[str], cfg: BenchConfig) -> list[Comparison]:
    """Run the named comparisons, or all if none is named, and write them to `cfg.output` after each: `bench.json`, and
    the table `bench.md`. With pytest's `tests.xml` beside it, `bench.json` says what passed, too. What `cfg.seconds`
    were too few for is named.

    Raises:
        UserError: a name is unknown, or the data cannot be used.
    """
    for name in names:
        one_of("bench", name, BENCHES)
    check_writable(Path(cfg.output))
    rows: list[Comparison] = []
    unfinished: list[str] = []
    for name in names or BENCHES:
        machine = hardware.resolve().name if name in ON_DEVICE else cpu_name()
        try:
            with console.working(name):
                for row in BENCHES[name](cfg):
                    rows.append(replace(row, machine=machine))
                    _write(rows, unfinished, cfg)
        except OutOfTime:
            console.warn(f"{name} did not end in the time that was left; seconds= gives more")
            unfinished.append(name)
            _write(rows, unfinished, cfg)
    return rows


def _write(rows: list[Comparison], unfinished: list[str], cfg: BenchConfig) -> None:
    machine = hardware.resolve().to_dict() | {"threads": cfg.threads or cores()}
    tree = {"hardware": machine, "code": code_version(), "versions": versions(), "rows": [asdict(row) for row in rows]}
    tests = tests_of(Path(cfg.output) / "tests.xml")
    further = {"unfinished": unfinished} if unfinished else {}
    write_json(Path(cfg.output) / "bench.json", tree | further | ({"tests": tests} if tests else {}))
    with atomic(Path(cfg.output) / "bench.md") as file:
        file.write("| bench | seconds | beside it, seconds | ratio | | on |\n|---|---|---|---|---|---|\n")
        for row in rows:
            figures = f"{row.seconds:.4g} | {row.reference_seconds:.4g} | {row.ratio:.3g}"
            file.write(f"| {row.bench}: {row.case} | {figures} | {row.note} | {row.machine} |\n")
