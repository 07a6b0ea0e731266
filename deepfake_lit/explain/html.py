"""An explanation as HTML: a part for a page that has its own style, and a page that needs no other file."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfake_lit.core.files import atomic
from deepfake_lit.explain.explainer import Explainer, Explanation


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("deepfake_lit.explain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> str:
    """Return the CSS of a part, which takes its colours from what is around it."""
    return _environment().get_template("part.css").render()


def part(explainer: Explainer, explanation: Explanation) -> str:
    """Return an explanation as a part of a page."""
    return _environment().get_template("part.html.j2").render(net=explainer, it=explanation)


def write_page(path: Path, explainer: Explainer, explanation: Explanation) -> None:
    """Write a page with an explanation."""
    page = _environment().get_template("page.html.j2")
    with atomic(path) as file:
        file.write(page.render(it=explanation, style=style(), part=part(explainer, explanation)))
