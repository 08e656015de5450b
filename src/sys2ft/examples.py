"""What a cell did with one item, read from its results: news, study data, a training sequence, losses, answers.

Prompts are built again by the functions that built them for the models, from the settings that stand in the tables'
metadata. `sys2ft show` prints it, the report's browser of cells shows it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sys2ft.chat import Message
from sys2ft.errors import InputError, suggest_name
from sys2ft.evaluation.questions import Asking, ask_all, option_orders, prompt_messages
from sys2ft.evaluation.writing import written_prompt
from sys2ft.grid import JOINT, Cell
from sys2ft.paths import cell_path, study_path
from sys2ft.settings.stages import ComposeTrainingStage, ScoreStage, WriteStage
from sys2ft.tables import COMPLETIONS, SCHEMAS, STUDY, read_rows

ANSWERS = ("answers", "base_answers", "written", "base_written")
CALLS = ("list", "write", "check")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Studied:
    """What a teacher wrote of an item in one kind: the first completion of each call, and all study rows."""

    kind: str
    completions: Sequence[Row]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Answered:
    """One way a question was put, and what base and tuned model answered (None: not asked that way).

    Attributes:
        asking: the question as it was put.
        prompt: the chat; in `letter` mode in the first of the orders.
        orders: of the options that were averaged over; 1 but in `letter`.
        base, tuned: rows of the table `answers`.
    """

    asking: Asking
    prompt: tuple[Message, ...]
    orders: int
    base: Row | None
    tuned: Row | None


class CellReader:
    """The results of one cell.

    Args:
        results: the results folder.
        cell: the cell.

    Raises:
        InputError: the cell has no results, or there is no such item or question.
    """

    def __init__(self, results: str, cell: Cell):
        self.results, self.cell = results, cell
        self._read: dict[str, list[dict[str, Any]]] = {}

    def path(self, artefact: str) -> str:
        """Where an artefact of the cell is."""
        return cell_path(self.results, artefact, self.cell)

    def rows(self, artefact: str) -> list[dict[str, Any]]:
        """The rows of one of its tables, read once."""
        if artefact not in self._read:
            path = self.path(artefact)
            if not Path(path).exists():
                raise InputError(path, "", "no such table", "run the cell first, or correct the cell")
            self._read[artefact] = read_rows(SCHEMAS["answers" if artefact in ANSWERS else artefact], path)
        return self._read[artefact]

    def news(self, item: str | None = None) -> dict[str, Any]:
        """The row of an item; of the split's first where none is named."""
        items = {row["item"]: row for row in self.rows("items")}
        if item is not None and item not in items:
            mend = suggest_name(item, list(items))
            raise InputError(self.path("items"), "item", f"there is no item '{item}'", mend)
        return items[item or next(iter(items))]

    def study(self, item: str) -> Iterator[Studied]:
        """What was studied of an item, kind by kind; nothing where the protocol trains the news itself."""
        stage = ComposeTrainingStage.model_validate(settings_of(self.path("sequences")))
        for kind in dict.fromkeys(part.protocol.study for part in stage.parts if part.protocol.study):
            path = study_path(self.results, "study", self.cell, kind)
            shards = settings_of(path)["shards"]
            paths = [study_path(self.results, "completions", self.cell, kind, shard=n) for n in range(shards)]
            completions = [row for row in read_rows(COMPLETIONS, *paths) if row["item"] == item]
            firsts = [next((row for row in completions if row["call"] == call), None) for call in CALLS]
            rows = [row for row in read_rows(STUDY, path) if row["item"] == item]
            yield Studied(kind, [row for row in firsts if row is not None], rows)

    def sequences(self, item: str) -> list[dict[str, Any]]:
        """The training sequences of an item, in order."""
        return [row for row in self.rows("sequences") if row["item"] == item]

    def log(self, item: str) -> list[dict[str, Any]]:
        """The training steps of who learned the item."""
        return [row for row in self.rows("train_log") if row["item"] in (item, JOINT)]

    def answered(
        self, item: str, question: str | None = None, artefacts: Sequence[str] = ("answers", "written")
    ) -> Iterator[Answered]:
        """Every way that questions of an item were put to the tuned model at the end of its training.

        Args:
            question: an id, or 'all'; None for the item's first.
            artefacts: what is read, of what is there.
        """
        chosen = self._questions(item, question)
        items = self.rows("items")
        names = {row["item"]: row["item"] for row in items}
        there = [name for name in artefacts if Path(self.path(name)).exists()]
        for artefact in there or ["answers"]:
            tuned = {_key(row): row for row in self.rows(artefact) if not row["milestone"]}
            base = {_key(row): row for row in self.rows(f"base_{artefact}")}
            kind: type[ScoreStage] | type[WriteStage] = ScoreStage if artefact == "answers" else WriteStage
            stage = kind.model_validate(settings_of(self.path(artefact)))
            for asking in ask_all(items, chosen, stage.scoring, names):
                key = (asking.question["question_id"], asking.condition, asking.control, asking.mode)
                if key in tuned:  # no other adapter, where one has learned all items
                    yield _answered(asking, stage, base.get(key), tuned[key])

    def _questions(self, item: str, question: str | None) -> list[dict[str, Any]]:
        questions = [row for row in self.rows("questions") if row["item"] == item]
        ids = [row["question_id"] for row in questions]
        wanted = question or ids[0]
        if wanted not in (*ids, "all"):
            problem = f"there is no question '{wanted}'"
            raise InputError(self.path("questions"), "question", problem, suggest_name(wanted, ids))
        return [row for row in questions if wanted in (row["question_id"], "all")]


def settings_of(path: str) -> dict[str, Any]:
    """The settings that made a table."""
    return json.loads(pq.read_schema(path).metadata[b"sys2ft"])


def loss_runs(tokenizer: Any, token_ids: Sequence[int], loss_mask: Sequence[bool]) -> list[tuple[str, bool]]:
    """A sequence as runs of text, each with whether it is trained."""
    runs, start = [], 0
    for end in range(1, len(token_ids) + 1):
        if end == len(token_ids) or loss_mask[end] != loss_mask[start]:
            text = tokenizer.decode(token_ids[start:end], skip_special_tokens=False)
            runs.append((text, bool(loss_mask[start])))
            start = end
    return runs


def _key(row: Row) -> tuple:
    return row["question_id"], row["condition"], row["control"], row["mode"]


def _answered(asking: Asking, stage: ScoreStage | WriteStage, base: Row | None, tuned: Row) -> Answered:
    if isinstance(stage, WriteStage):
        return Answered(asking, tuple(written_prompt(asking, stage)), 1, base, tuned)
    orders = option_orders(len(asking.question["options"])) if asking.mode == "letter" else []
    prompt = prompt_messages(asking, stage.scoring, stage.context, orders[0] if orders else None)
    return Answered(asking, prompt, len(orders) or 1, base, tuned)
