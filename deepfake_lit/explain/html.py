"""An explanation as HTML: a part for a page that has its own style, and a page that needs no other file."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfake_lit.core.files import atomic


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("deepfake_lit.explain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **content: Any) -> str:
    """Return a template with its content, which is escaped."""
    return _environment().get_template(template).render(content)


def style() -> str:
    """Return the CSS of a part, which takes its colours from what is around it."""
    return render("part.css")


def part(explainer: Any, explanation: Any) -> str:
    """Return an `Explanation` of an `Explainer` as a part of a page."""
    return render("part.html.j2", net=explainer, it=explanation)


def write_page(path: Path, explainer: Any, explanation: Any) -> None:
    """Write a page with an explanation."""
    with atomic(path) as file:
        file.write(render("page.html.j2", it=explanation, style=style(), part=part(explainer, explanation)))
