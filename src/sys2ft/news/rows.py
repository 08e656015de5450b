"""News from a table, Parquet or JSON lines: one row a question, the item's fields repeated in each of its rows.

Columns: `item`, `title`, `date` (a date, or text such as 2027-05-03), `text`; `question_id`, `kind`, `question`,
`options` (a list), `answer`, `why`; and, where wanted, `short_answer`, `accepted_answers`, `statement`,
`false_statement`. Rows of an item need not stand together.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sys2ft.errors import InputError

SUFFIXES = (".parquet", ".jsonl")
ITEM_COLUMNS = ("title", "date", "text")
QUESTION_COLUMNS = {
    "question_id": "id", "kind": "kind", "question": "question", "options": "options", "answer": "answer", "why": "why",
}  # fmt: skip
OPTIONAL_COLUMNS = ("short_answer", "accepted_answers", "statement", "false_statement")


def read_news_rows(path: str | Path, split: str) -> dict[str, Any]:
    """The content of a table in the shape of a YAML file of news.

    Raises:
        InputError: the file cannot be read, a column is missing or unknown, or an item's rows disagree.
    """
    return shape_rows(path, _read_rows(Path(path)), split)


def shape_rows(path: str | Path, rows: Sequence[Mapping[str, Any]], split: str) -> dict[str, Any]:
    """The same for rows at hand; `path` is what messages call them."""
    if not rows:
        raise InputError(path, "", "has no rows", "write one row for each question")
    items: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        _check_columns(path, number, row)
        fields = {column: row[column] for column in ITEM_COLUMNS}
        item = items.setdefault(row["item"], {"id": row["item"], **fields, "questions": []})
        if odd := [column for column in ITEM_COLUMNS if item[column] != row[column]]:
            problem = f"item '{row['item']}' has another {odd[0]} than in its first row"
            raise InputError(path, f"row {number}.{odd[0]}", problem, "give all rows of an item the same item fields")
        question = {name: row[column] for column, name in QUESTION_COLUMNS.items()}
        question |= {column: row[column] for column in OPTIONAL_COLUMNS if row.get(column) is not None}
        item["questions"].append(question)
    return {"split": split, "items": list(items.values())}


def _check_columns(path: str | Path, number: int, row: Mapping[str, Any]) -> None:
    needed = ("item", *ITEM_COLUMNS, *QUESTION_COLUMNS)
    if missing := [column for column in needed if row.get(column) is None]:
        raise InputError(path, f"row {number}.{missing[0]}", "missing", f"add the column '{missing[0]}'")
    known = {*needed, *OPTIONAL_COLUMNS, "split"}
    if odd := [column for column in row if column not in known]:
        raise InputError(path, f"row {number}.{odd[0]}", "unknown column", "remove it")


def _read_rows(path: Path) -> Sequence[Mapping[str, Any]]:
    if not path.is_file():
        raise InputError(path, "", "no such file", "create it, or correct the path in the configuration")
    if path.suffix == ".jsonl":
        return _read_lines(path)
    import pyarrow
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read().to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise InputError(path, "", f"is not Parquet ({error})", "write it with a Parquet library") from None


def _read_lines(path: Path) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(path, f"line {number}", f"is not JSON ({error.msg})", "correct it there") from None
        if not isinstance(row, dict):
            raise InputError(path, f"line {number}", "is no object", "write {...} with one question")
        rows.append(row)
    return rows
