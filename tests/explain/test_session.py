"""Images that somebody dropped: answers, problems, a table, a CSV."""

import csv
import io

import pytest
from helpers.tiny_data import encode, noise

from deepfake_lit.explain import session as module
from deepfake_lit.explain.session import Session, answers_csv, table

IMAGES = [(f"{i}.png", encode(noise(i))) for i in range(3)]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_what_is_no_image_is_a_problem_and_the_others_go_on(explainer):
    session = Session.of(explainer, [IMAGES[0], ("a.txt", b"text"), IMAGES[1], ("=1+1.png", b"")])
    assert session.titles == ["1. 0.png", "2. 1.png"]
    assert [name for name, _ in session.problems] == ["a.txt", "=1+1.png"]
    found = rows(answers_csv(explainer, session))
    assert [row["file"] for row in found] == ["0.png", "1.png", "a.txt", "'=1+1.png"]
    assert [bool(row["problem"]) for row in found] == [False, False, True, True]
    for row, p in zip(found, session.answers.probabilities, strict=False):
        assert [float(row[f"p_{k}"]) for k in range(3)] == pytest.approx(p.tolist(), abs=1e-6)
        assert row["answer"] == str(p.argmax())
        assert (row["format"], row["width"]) == ("PNG", "16")
    shown = table(explainer, session)
    assert "<strong>a.txt</strong>: none of PNG" in shown
    assert shown.count("<tr>") == 3


def test_one_image_has_no_table_and_none_has_no_csv(explainer):
    assert "<table>" not in table(explainer, Session.of(explainer, IMAGES[:1]))
    assert "Save as CSV" in table(explainer, Session.of(explainer, IMAGES[:1]))
    nothing = Session.of(explainer, [("a.txt", b"<script>")])
    assert nothing.answers is None
    assert "Save as CSV" not in table(explainer, nothing)


def test_a_name_is_no_markup(explainer):
    shown = table(explainer, Session.of(explainer, [("<img src=x>.png", b""), *IMAGES]))
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_too_many_images_are_told(explainer, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    session = Session.of(explainer, IMAGES)
    assert len(session.images) == 2
    assert session.problems == [("1 more files", "at most 2 images are taken at once")]


def test_images_with_and_without_alpha_are_answered_together(explainer):
    clear = noise(5, (16, 16, 4))
    together = Session.of(explainer, [IMAGES[0], ("clear.png", encode(clear))]).answers.probabilities
    for row, (name, content) in enumerate([IMAGES[0], ("clear.png", encode(clear))]):
        alone = Session.of(explainer, [(name, content)]).answers.probabilities
        assert alone[0].tolist() == pytest.approx(together[row].tolist(), abs=1e-5)
