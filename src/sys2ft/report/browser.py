"""The cells that can be looked at in the page: what is shown of each."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sys2ft.examples import Answered, CellReader, Row, Studied, loss_runs
from sys2ft.grid import AXES, Cell

STUDY_ROWS = 12
"""Study rows that are shown of a kind; how many there are is said."""
LOSSES = 64
"""Steps whose loss is shown, evenly spaced."""


def describe_cells(
    results: str, cells: Sequence[Cell], items: int, answers: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """What is shown of cells: of each the first items.

    Args:
        answers: for each split the kinds of its answers (`answers`, `written`).
    """
    from sys2ft.models import load_tokenizer

    tokenizers = cache(load_tokenizer)
    for cell in cells:
        reader = CellReader(results, cell)
        for news in reader.rows("items")[:items]:
            yield describe(reader, news, tokenizers(reader.path("model")), answers[cell.split])


def describe(reader: CellReader, news: Row, tokenizer: Any, answers: Sequence[str]) -> dict[str, Any]:
    """What is shown of one item of a cell: news, study rows, a training sequence, losses, answers."""
    item = news["item"]
    sequences = reader.sequences(item)
    first = sequences[0]
    losses = [row["loss"] for row in reader.log(item)]
    questions: dict[str, dict[str, Any]] = {}
    for answered in reader.answered(item, "all", answers):
        asked = answered.asking.question
        told = {"id": asked["question_id"], "kind": asked["kind"], "question": asked["question"], "asked": []}
        questions.setdefault(asked["question_id"], told)["asked"].append(_answers(answered))
    return {
        "cell": reader.cell.path,
        "axes": {axis: getattr(reader.cell, axis) for axis in AXES},
        "news": {name: str(news[name]) for name in ("item", "title", "date", "text")},
        "study": [_study(studied) for studied in reader.study(item)],
        "sequence": {
            "runs": loss_runs(tokenizer, first["token_ids"], first["loss_mask"]),
            "tokens": first["n_tokens"],
            "trained": first["n_loss_tokens"],
            "of": len(sequences),
        },
        "losses": [float(f"{loss:.4g}") for loss in losses[:: max(1, -(-len(losses) // LOSSES))]],
        "steps": len(losses),
        "questions": list(questions.values()),
    }


def _study(studied: Studied) -> dict[str, Any]:
    return {
        "kind": studied.kind,
        "rows": len(studied.rows),
        "statuses": dict(Counter(row["status"] for row in studied.rows)),
        "shown": [[row["status"], row["question"], row["text"]] for row in studied.rows[:STUDY_ROWS]],
    }


def _answers(answered: Answered) -> dict[str, Any]:
    asking = answered.asking
    return {
        "condition": asking.condition,
        "control": asking.control,
        "mode": asking.mode,
        "options": asking.question["options"],
        "gold": asking.question["gold"],
        "base": _answer(answered.base),
        "tuned": _answer(answered.tuned),
    }


def _answer(row: Row | None) -> dict[str, Any] | None:
    """Null: not asked. A text where the model wrote, else the scores of the options."""
    if row is None:
        return None
    told = {"choice": row["choice"], "correct": row["correct"]}
    if row["scores"] is None:
        return told | {"completion": row["completion"], "unread": row["unread"]}
    return told | {"scores": [float(f"{score:.4g}") for score in row["scores"]]}
