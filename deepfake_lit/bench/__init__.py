"""Speed against the plain way of doing the same: ratios, and a check that both give the same answer."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from deepfake_lit.bench import baselines, commands, endtoend, growth, loader, memory, training, utilisation
from deepfake_lit.bench.timing import BenchConfig, Comparison
from deepfake_lit.core import console, hardware
from deepfake_lit.core.errors import one_of
from deepfake_lit.core.files import check_writable, write_json
from deepfake_lit.core.system import cores
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


def bench(names: list[str], cfg: BenchConfig) -> list[Comparison]:
    """Run the named comparisons, or all if none is named, and write `bench.json` to `cfg.output` after each.

    Raises:
        UserError: a name is unknown, or the data cannot be used.
    """
    for name in names:
        one_of("bench", name, BENCHES)
    check_writable(Path(cfg.output))
    rows: list[Comparison] = []
    for name in names or BENCHES:
        with console.working(name):
            for row in BENCHES[name](cfg):
                rows.append(row)
                _write(Path(cfg.output) / "bench.json", rows, cfg)
    return rows


def _write(path: Path, rows: list[Comparison], cfg: BenchConfig) -> None:
    machine = hardware.resolve().to_dict() | {"threads": cfg.threads or cores()}
    tree = {"hardware": machine, "code": code_version(), "versions": versions(), "rows": [asdict(row) for row in rows]}
    write_json(path, tree)
