"""Images that somebody dropped: their answers, a table and a CSV of these. Nothing of it is written to the disk."""

import base64
import csv
import io
from dataclasses import dataclass, field

from deepfake_lit.core.errors import UserError
from deepfake_lit.explain.explainer import Explainer, Seen
from deepfake_lit.explain.html import render
from deepfake_lit.explain.limits import MOST
from deepfake_lit.prediction.answers import Answers


@dataclass
class Session:
    """The images of one visitor.

    Attributes:
        problems: files without an answer: (name, reason).
    """

    images: list[Seen] = field(default_factory=list)
    answers: Answers | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, explainer: Explainer, files: list[tuple[str, bytes]]) -> "Session":
        """Decode the files, (name, content), and ask the network. What is no image is a problem; the others go on."""
        session = cls()
        for number, (name, content) in enumerate(files):
            if number == MOST:
                session.problems.append((f"{len(files) - MOST} more files", f"at most {MOST} images are taken at once"))
                break
            try:
                session.images.append(explainer.see(name, content))
            except UserError as error:
                session.problems.append((name, str(error).removeprefix(f"{name}: ")))
        if session.images:
            session.answers = explainer.answers(session.images)
        return session

    @property
    def titles(self) -> list[str]:
        """Return what the images can be chosen by: a number and a name."""
        return [f"{number}. {image.name}" for number, image in enumerate(self.images, 1)]


def table(explainer: Explainer, session: Session) -> str:
    """Return problems, and of several images a table of the answers with a CSV, as HTML."""
    rows = list(zip(session.titles, _answers(explainer, session), session.images, strict=True))
    link = base64.b64encode(answers_csv(explainer, session).encode()).decode()
    return render("table.html.j2", rows=rows, problems=session.problems, csv=link)


def answers_csv(explainer: Explainer, session: Session) -> str:
    """Return a row for each file: its answer, probabilities and past, or why it has none."""
    text, names = io.StringIO(), explainer.predictor.class_names
    writer = csv.writer(text, lineterminator="\n")
    calibrated = ["prediction_set"] if explainer.predictor.calibration else []
    head = ["file", "answer", "probability", *calibrated, *(f"p_{name}" for name in names)]
    writer.writerow([*head, "format", "jpeg_quality", "width", "height", "problem"])
    for row, (answer, p) in enumerate(_answers(explainer, session)):
        image = session.images[row]
        among = ["|".join(session.answers.set_of(row, names))] if calibrated else []
        facts = (image.facts.format, image.facts.quality, image.facts.width, image.facts.height, "")
        every = [f"{each:.6f}" for each in session.answers.probabilities[row]]
        writer.writerow([_harmless(image.name), answer, f"{p:.6f}", *among, *every, *facts])
    for name, reason in session.problems:
        writer.writerow([_harmless(name), *[""] * (len(head) + 3), reason])
    return text.getvalue()


def _answers(explainer: Explainer, session: Session) -> list[tuple[str, float]]:
    if session.answers is None:
        return []
    names = session.answers.names(explainer.predictor.class_names)
    return list(zip(names, session.answers.probabilities.max(1).tolist(), strict=True))


def _harmless(name: str) -> str:
    """Return a file's name as a spreadsheet takes it for text and not for a formula."""
    return f"'{name}" if name[:1] in tuple("=+-@\t\r") else name
