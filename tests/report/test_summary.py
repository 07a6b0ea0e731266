"""The sentences at the top of the page."""

from pathlib import Path

import pytest

from deepfake_lit.report.claims import claims
from deepfake_lit.report.measure import measure
from deepfake_lit.report.sections import sections
from deepfake_lit.report.summary import in_short, other_images

PUBLISHED = Path(__file__).parents[2] / "outputs" / "published"


def summaries(folder: str) -> dict[str, list[str]]:
    found = {}
    for section in sections(PUBLISHED / folder):
        measured = measure(section.tables, section.scale)
        found[section.key] = in_short(section, measured, claims(section, measured))
    return found


def test_claims_are_counted_by_their_verdicts():
    (sentences,) = summaries("report_b").values()
    assert sentences[0].startswith("The best row is without CutMix: ")
    assert sentences[1] == (
        "Of 11 claimed differences 4 are reproduced, 2 are real, 1 is smaller than the margin, 2 are not settled and 2 "
        "are not seen at this scale."
    )


def test_the_best_row_has_the_name_that_the_table_of_models_has_for_it():
    (sentences,) = summaries("report_a").values()
    assert sentences[0].startswith("The best row is Ensemble of DeepFakeNet2 (jitter and erasing) and VGG16: ")


def test_rows_on_different_images_have_no_best_one():
    assert summaries("open_set") == {"open_set-full": []}


@pytest.mark.slow
def test_rows_of_a_sweep_that_really_differ_are_named():
    sentences = summaries("record")["ideas-efff90e1"]
    assert sentences[1].startswith("Worse than idea=reference: idea=adamw (-2.2), ")
    assert sentences[-1] == "22 rows do not differ from idea=reference by what can be seen here."


def test_a_report_on_other_images_is_said_to_be_one():
    (section,) = sections(PUBLISHED / "report_b")
    measured = measure(section.tables, section.scale)
    rows = [m for table in measured.values() for m in table]
    assert other_images(section, rows) is None
    section.reported["data_hash"] = "0" * 24
    assert other_images(section, rows).startswith("These are other images (a164efbe) than the report's (00000000)")
