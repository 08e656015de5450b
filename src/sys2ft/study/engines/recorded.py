"""The engine `recorded`: study data that people or another system wrote, from a YAML file.

    study:
      <item>:
        paraphrase: ["...", ...]
        implication: ["...", ...]
        self_qa: [{question: "...?", answer: "..."}, ...]

It answers requests as a model would, so that recorded and generated study data take the same way.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from sys2ft.errors import InputError
from sys2ft.settings.base import Frozen, Name, Text
from sys2ft.study.reading import parse_questions
from sys2ft.study.requests import Request, Sample
from sys2ft.yaml_files import load_yaml


class RecordedPair(Frozen):
    """A question and its answer."""

    question: Text
    answer: Text


class RecordedStudy(Frozen):
    """The file: for each item and kind the study rows, in the order in which they are asked for."""

    study: dict[Name, dict[Name, tuple[Text | RecordedPair, ...]]]


def load_recorded(path: str | Path) -> RecordedStudy:
    """Read a file of recorded study data.

    Raises:
        InputError: it is missing, is not YAML, or has another shape; names the field.
    """
    return load_yaml(path, RecordedStudy)


def recorded_texts(recorded: RecordedStudy) -> list[str]:
    """All texts of a file: rows, questions and answers."""
    rows = [row for kinds in recorded.study.values() for some in kinds.values() for row in some]
    return [text for row in rows for text in ((row.question, row.answer) if isinstance(row, RecordedPair) else (row,))]


def check_rows(recorded: RecordedStudy, path: str | Path, item: str, kind: str, needed: int) -> None:
    """Refuse recorded study data that are fewer than a study asks for.

    Raises:
        InputError: names the file, the item and the counts.
    """
    rows = len(recorded.study.get(item, {}).get(kind, ()))
    if rows < needed:
        have = f"has {rows} rows of '{kind}', and {needed} are asked for"
        raise InputError(path, f"study.{item}", have, "write more, or lower budget.study_rows")


def check_questions(recorded: RecordedStudy, path: str | Path, item: str, kind: str, per_call: int) -> None:
    """Refuse questions that would not be read as they stand: those after them would get the answers of others.

    Args:
        per_call: how many stand in a list.

    Raises:
        InputError: names the file, the item, the kind and the question.
    """
    asked = [row.question if isinstance(row, RecordedPair) else row for row in recorded.study[item][kind]]
    for start in range(0, len(asked), per_call):
        some = asked[start : start + per_call]
        found = parse_questions("\n".join(some), len(some))
        if found != some:
            odd = next(question for question, read in zip_longest(some, found) if question != read)
            mend = "write it once, on one line, without a number before it and with a question mark at its end"
            raise InputError(path, f"study.{item}.{kind}", f"{odd!r} would not be read as one question", mend)


class RecordedEngine:
    """Answers from the rows of one kind, as a model would."""

    def __init__(self, path: str | Path, kind: str):
        self.path, self.kind = path, kind
        self.recorded = load_recorded(path)

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """All at once.

        Raises:
            InputError: an item has fewer rows than are asked for.
        """
        yield [Sample(request, self._text(request), "stop", None, None) for request in requests]

    def _text(self, request: Request) -> str:
        if request.call == "check":
            return "Yes."
        needed = request.rows.stop if request.call == "write" else 1
        check_rows(self.recorded, self.path, request.item, self.kind, needed)
        chosen = self.recorded.study[request.item][self.kind][request.rows.start : request.rows.stop]
        pairs = [row if isinstance(row, RecordedPair) else RecordedPair(question=row, answer=row) for row in chosen]
        return "\n".join(pair.answer if request.call == "write" else pair.question for pair in pairs)
