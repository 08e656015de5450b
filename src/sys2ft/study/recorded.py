"""The engine `recorded`: study data that people or another system wrote, from a YAML file.

    study:
      <item>:
        paraphrase: ["...", ...]
        implication: ["...", ...]
        self_qa: [{question: "...?", answer: "..."}, ...]

It answers requests as a model would, so that recorded and generated study data take the same way.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sys2ft.errors import InputError, explain_validation
from sys2ft.news.items import Frozen, Id, Text, read_yaml
from sys2ft.study.requests import Engine, Request, Sample


class RecordedPair(Frozen):
    """A question and its answer."""

    question: Text
    answer: Text


class RecordedStudy(Frozen):
    """The file: for each item and kind the study rows, in the order in which they are asked for."""

    study: dict[Id, dict[Id, tuple[Text | RecordedPair, ...]]]


def load_recorded(path: str | Path) -> RecordedStudy:
    """Read a file of recorded study data.

    Raises:
        InputError: it is missing, is not YAML, or has another shape; names the field.
    """
    try:
        return RecordedStudy.model_validate(read_yaml(path))
    except ValidationError as error:
        raise explain_validation(path, error) from None


def open_recorded(path: str | Path, kind: str) -> Engine:
    """An engine that answers from the rows of one kind."""
    recorded = load_recorded(path)

    def generate(requests: Sequence[Request]) -> list[Sample]:
        return [Sample(request, _text(recorded, request), "stop", None, None) for request in requests]

    def _text(recorded: RecordedStudy, request: Request) -> str:
        rows: Sequence[Any] = recorded.study.get(request.item, {}).get(kind, ())
        chosen = rows[request.number * request.rows : (request.number + 1) * request.rows]
        if len(chosen) < request.rows:
            have = f"has {len(rows)} rows of '{kind}', and more are asked for"
            raise InputError(path, f"study.{request.item}", have, "write more, or lower budget.study_rows")
        pairs = [row if isinstance(row, RecordedPair) else RecordedPair(question=row, answer=row) for row in chosen]
        return "\n".join(pair.answer if request.call == "answer" else pair.question for pair in pairs)

    return generate
