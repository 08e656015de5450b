"""Data in a page: as JSON that no text in it can end, and tables column by column to keep them small."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from sys2ft.tables import SCHEMAS

# Within <script> a text could end the element or begin a comment; U+2028 and U+2029 end lines in old JavaScript.
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
WORDS = 0.5
"""Texts are stored once each where fewer than this share of them differ."""


@dataclass(frozen=True)
class Shown:
    """A table in the page.

    Attributes:
        name: of the table.
        about: what a row is.
        rows: all of them, in order.
        file: where all of it stands.
    """

    name: str
    about: str
    rows: Sequence[Mapping[str, Any]]
    file: str | None = None


def embed(value: Any) -> Markup:
    """A value as JSON for a <script type="application/json">: whatever texts it holds, none is markup there."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return Markup(text.translate(ESCAPES))


def pack(shown: Shown, limit: int) -> dict[str, Any]:
    """A table column by column, without columns that hold nothing.

    Args:
        limit: the first rows; `total` says how many there are.
    """
    rows = shown.rows[:limit]
    names = [name for name in (rows[0] if rows else {}) if any(row[name] is not None for row in rows)]
    columns = [_column(shown.name, name, [row[name] for row in rows]) for name in names]
    return {"name": shown.name, "about": shown.about, "file": shown.file, "total": len(shown.rows), "columns": columns}


def _column(table: str, name: str, values: Sequence[Any]) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "about": _about(table, name)}
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        return column | {"numbers": [_short(value) for value in values]}
    texts = [as_text(value) for value in values]
    words = list(dict.fromkeys(texts))
    if len(words) > WORDS * len(texts):
        return column | {"texts": texts}
    place = {word: number for number, word in enumerate(words)}
    return column | {"words": words, "codes": [place[text] for text in texts]}


def _about(table: str, name: str) -> str:
    """The sentence of a column, from its schema; none in tables that are not files."""
    schema: pa.Schema | None = SCHEMAS.get(table)
    if schema is None or name not in schema.names:
        return ""
    return schema.field(name).metadata[b"description"].decode()


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def as_text(value: Any) -> str | None:
    """A value as text; lists and structs, which tables have few of, without their brackets."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(str(as_text(entry)) for entry in value)
    if isinstance(value, dict):
        return " ".join(str(_short(entry)) for entry in value.values() if entry is not None)
    return str(value)
