"""The page's section on distorted images."""

import json
from pathlib import Path

import numpy as np
from helpers.made_up_runs import made_up

from deepfake_lit.core.files import write_json
from deepfake_lit.report.page import ReportConfig, report
from deepfake_lit.report.robustness import robustness_of
from deepfake_lit.results.robustness import Condition, condition_figures, holm, mean_interval, summary
from deepfake_lit.results.statistics import paired

LABELS = np.arange(60) % 3
CONDITIONS = [Condition("clean"), Condition("noise", 2), Condition("noise", 4)]


def answers(wrong: int) -> np.ndarray:
    p = np.full((60, 3), 0.1)
    p[np.arange(60), np.where(np.arange(60) < wrong, (LABELS + 1) % 3, LABELS)] = 0.8
    return p


def written(output: Path) -> Path:
    """A file as the command writes it, of two checkpoints; the plain one has 54, 30 and 12 of 60 right."""
    each = [[answers(wrong) for wrong in row] for row in ((6, 30, 48), (8, 9, 12))]
    right = [np.mean([p.argmax(1) == LABELS for p in row[1:]], 0) for row in each]
    results = [[condition_figures(p, row[0], LABELS) for p in row] for row in each]
    pairs = [vars(paired(*(p.argmax(1) == LABELS for p in (b, a)))) for a, b in zip(*each, strict=True)]
    corrected = holm([pair["p"] for pair in pairs])
    mean, interval = mean_interval(right[1] - right[0])
    tree = {
        "checkpoints": ["out/plain/x/last.ckpt", "out/robust/y/last.ckpt"],
        "data": {"images": 60, "split": "validation"},
        "conditions": [vars(c) | {"name": c.name} for c in CONDITIONS],
        "results": results,
        "summaries": [summary(CONDITIONS, f, r, LABELS) for f, r in zip(results, right, strict=True)],
        "compared": [
            {
                "mean": mean,
                "interval": interval,
                "conditions": [pair | {"p_holm": p} for pair, p in zip(pairs, corrected, strict=True)],
            }
        ],
    }
    write_json(output / "robustness" / "robustness.json", tree)
    return output / "robustness" / "robustness.json"


def test_the_page_shows_every_checkpoint_and_condition(tmp_path):
    made_up(tmp_path / "runs" / "net" / "x", 0.9, 0)
    written(tmp_path)
    page = report(ReportConfig(output_dir=str(tmp_path), images=False))
    html, text = (page.parent / name for name in ("index.html", "report.md"))
    assert "60 validation images" in html.read_text()
    lines = text.read_text().splitlines()
    assert "| noise 4 | 20.0 (11.8 to 31.8) | 80.0 (68.2 to 88.2) |" in lines
    [plain] = [line for line in lines if line.startswith("| plain/x |")]
    assert "| 90.0 | 35.0 (" in plain
    assert "20.0 (noise 4)" in plain
    assert plain.endswith("| noise 1.42 |")  # 1/3 + (0.9 - 1/3) / 2 lies between 0.9 at 0 and 0.5 at 2
    [other] = [line for line in lines if line.startswith("| robust/y |")]
    assert "+47.5 (" in other
    assert other.endswith("no strength of the grid |")


def test_a_damaged_file_is_left_out(tmp_path, capsys):
    path = written(tmp_path)
    tree = json.loads(path.read_text())
    del tree["summaries"]
    path.write_text(json.dumps(tree))
    assert robustness_of(tmp_path) == []
    assert "is left out: KeyError" in capsys.readouterr().err
