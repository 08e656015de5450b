"""The page: one HTML file that needs no network, with everything in it.

What is shown stands in the page as JSON and is put there as text, never as markup. The policy of the page's head lets
it run its own two scripts and nothing else, and load nothing.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sys2ft.report.embedding import Shown, embed, pack
from sys2ft.report.sentences import Section

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """What the page holds.

    Attributes:
        title: of the study.
        about: sentences on what was run, and chance.
        sections: verdicts.
        figures: by name their Vega-Lite.
        tables: to sort and filter.
        rows: of a table at most.
        examples: of the browser of cells.
        examples_note: which they are, and what shows the others.
        common: columns of `cells` in which all cells agree.
        settings: of each stage, as JSON.
    """

    title: str
    about: Sequence[str]
    sections: Sequence[Section]
    figures: Mapping[str, Mapping[str, Any]]
    tables: Sequence[Shown]
    rows: int
    examples: Sequence[Mapping[str, Any]]
    examples_note: str
    common: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)


def render(page: Page, vega: str) -> str:
    """The page as HTML.

    Args:
        vega: Vega, Vega-Lite and Vega-Embed as one script.

    Raises:
        ValueError: the script would end its element.
    """
    scripts = {"vega": vega, "page": (FOLDER / "page.js").read_text(encoding="utf-8")}
    for name, text in scripts.items():
        if "</script" in text.lower() or "<!--" in text:
            raise ValueError(f"the script '{name}' cannot stand in a page: it holds </script or <!--")
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        page=page,
        policy=_policy(scripts.values()),
        css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        scripts={name: Markup(text) for name, text in scripts.items()},
        drawn={name: _without_title(spec) for name, spec in page.figures.items() if spec["usermeta"]["drawn"]},
        tables=[pack(shown, page.rows) for shown in page.tables if shown.rows],
        embed=embed,
    )


def _policy(scripts: Any) -> str:
    """A content security policy: these scripts alone run, as they stand; nothing is loaded or sent.

    Vega is run by its interpreter, so that nothing is evaluated. Styles are allowed inline, as Vega sets them on marks.
    """
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    parts = ("default-src 'none'", f"script-src {hashes}", "style-src 'unsafe-inline'", "img-src data:")
    return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


def _without_title(specification: Mapping[str, Any]) -> dict[str, Any]:
    """A figure without the title and caption that are in its files: the page tells them as text."""
    return {name: value for name, value in specification.items() if name not in ("title", "usermeta")}
