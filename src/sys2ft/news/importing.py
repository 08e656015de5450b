"""A data set of others, such as the original New News (`cfpark00/new_news`), as a table of news.

Its columns are named on the command line, since every data set has its own; what comes out is checked as any news is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sys2ft.errors import InputError
from sys2ft.news.items import NewsFile, validate_news
from sys2ft.news.rows import ITEM_COLUMNS, OPTIONAL_COLUMNS, QUESTION_COLUMNS, shape_rows
from sys2ft.tables import atomic_path

COLUMNS = ("item", *ITEM_COLUMNS, *QUESTION_COLUMNS, *OPTIONAL_COLUMNS)
DEFAULTS = {"date": "2027-01-01", "kind": "inference", "why": "Not given by the data set."}
LETTER = re.compile(r"\(?([A-Ha-h])[).:]*")
Answer = Literal["text", "index", "letter"]


def parse_columns(pairs: Sequence[str]) -> dict[str, list[str]]:
    """`ours=theirs` pairs; several of theirs, separated by commas, make the list of options.

    Raises:
        InputError: a pair is none, or names a column that news do not have.
    """
    mapping: dict[str, list[str]] = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not equals or ours not in COLUMNS or not theirs:
            mend = f"write ours=theirs with ours one of: {', '.join(COLUMNS)}"
            raise InputError("sys2ft import", "--column", f"'{pair}' names no column of news", mend)
        mapping[ours] = theirs.split(",")
    return mapping


def convert_rows(
    rows: Sequence[Mapping[str, Any]], mapping: Mapping[str, Sequence[str]], answer: Answer, source: str
) -> list[dict[str, Any]]:
    """Rows with our columns; a missing `question_id` is the item with a number.

    Args:
        answer: what the column of the answer holds: the option's text, its index from 0, or its letter.

    Raises:
        InputError: a column is not in the data set, or an answer points at no option.
    """
    converted = []
    for number, row in enumerate(rows):
        taken = {ours: _take(row, theirs, source) for ours, theirs in mapping.items()}
        taken = DEFAULTS | {name: row[name] for name in COLUMNS if name in row} | taken
        taken["item"] = str(taken.get("item", f"item-{number}"))
        taken.setdefault("title", taken["item"])
        taken.setdefault("question_id", f"{taken['item']}-{number}")
        if answer != "text":
            taken["answer"] = _pick(taken, answer, f"{source}, row {number + 1}")
        converted.append(taken)
    return converted


def _take(row: Mapping[str, Any], theirs: Sequence[str], source: str) -> Any:
    if missing := [name for name in theirs if name not in row]:
        mend = f"use one of: {', '.join(sorted(row))}"
        raise InputError(source, missing[0], "there is no such column", mend)
    return row[theirs[0]] if len(theirs) == 1 else [row[name] for name in theirs]


def _pick(row: Mapping[str, Any], answer: Answer, where: str) -> str:
    value, options = row.get("answer"), row.get("options") or ()
    told = str(value).strip()
    if answer == "letter":
        read = LETTER.fullmatch(told)
        index = ord(read[1].upper()) - ord("A") if read else -1
    else:
        index = int(told) if told.isdecimal() else -1
    if not 0 <= index < len(options):
        mend = "say what the answer is with --answer text, index or letter, and its column with --column answer=..."
        raise InputError(where, "answer", f"{value!r} points at none of {len(options)} options", mend)
    return options[index]


def import_news(
    source: str, name: str | None, part: str, revision: str | None, mapping: Mapping[str, Sequence[str]],
    answer: Answer, output: Path,
) -> NewsFile:  # fmt: skip
    """Fetch a data set, write it as JSON lines and check it.

    Args:
        source: a repository of the hub, or a folder with data files.
        name: the data set's configuration, where it has several.
        part: its split, such as `test`.
        revision: the commit of a repository.
        output: ends in `.jsonl`; its stem is the split's name.

    Raises:
        InputError: the columns do not fit, or what comes out is no sound news; then nothing is written.
    """
    import datasets

    rows = datasets.load_dataset(source, name, split=part, revision=revision).to_list()
    converted = convert_rows(rows, mapping, answer, source)
    news = validate_news(output, shape_rows(output, converted, output.stem))
    with atomic_path(output) as temporary:
        temporary.write_text("".join(json.dumps(row, default=str) + "\n" for row in converted), encoding="utf-8")
    return news
