"""One worked example in full, as lines of text: from a piece of news to the scores of its questions."""

from collections.abc import Iterator, Sequence
from typing import Any

from sys2ft.evaluation.questions import LETTERS
from sys2ft.examples import Answered, CellReader, Row, Studied, loss_runs
from sys2ft.grid import Cell
from sys2ft.models import load_tokenizer

OPEN, CLOSE = "⟦", "⟧"


def show_example(results: str, cell: Cell, item: str | None, question: str | None) -> Iterator[str]:
    """The lines of a worked example.

    Args:
        item: its id; None for the first of the split.
        question: its id, or 'all'; None for the item's first.

    Raises:
        InputError: the cell has no results, or there is no such item or question.
    """
    reader = CellReader(results, cell)
    news = reader.news(item)
    yield f"CELL {cell.path}"
    yield from _heading(f"NEWS {news['item']}: {news['title']} ({news['date']})")
    yield news["text"]
    sequences = reader.sequences(news["item"])
    for studied in reader.study(news["item"]):
        yield from _show_study(studied)
    yield from _show_sequence(load_tokenizer(reader.path("model")), sequences)
    log = reader.log(news["item"])
    yield from _heading(f"TRAINING: {len(log)} steps; loss by step")
    yield " ".join(f"{row['loss']:.3f}" for row in log)
    for answered in reader.answered(news["item"], question):
        yield from _show_answered(answered)


def _heading(text: str) -> Iterator[str]:
    yield from ("", f"--- {text}")


def _show_study(studied: Studied) -> Iterator[str]:
    for first in studied.completions:
        yield from _heading(f"TEACHER PROMPT ({first['call']}, {first['engine']}, seed {first['request_seed']})")
        yield from (f"[{message['role']}] {message['content']}" for message in first["messages"])
        yield from _heading(f"COMPLETION ({first['completion_tokens']} tokens, ended by {first['finish']})")
        yield first["completion"]
    rows = studied.rows
    yield from _heading(f"STUDY ROWS ({studied.kind}): {sum(r['status'] == 'kept' for r in rows)} of {len(rows)} kept")
    for row in rows:
        asked = f"Q: {row['question']} A: " if row["question"] else ""
        yield f"{row['row']:>3} {row['status']:>14}  {asked}{row['text']}"


def _show_sequence(tokenizer: Any, sequences: Sequence[Row]) -> Iterator[str]:
    first = sequences[0]
    yield from _heading(
        f"TRAINING SEQUENCE 0 of {len(sequences)}: {first['n_tokens']} tokens, loss on the {first['n_loss_tokens']} "
        f"between {OPEN} and {CLOSE}"
    )
    yield mark_loss(tokenizer, first["token_ids"], first["loss_mask"])


def mark_loss(tokenizer: Any, token_ids: Sequence[int], loss_mask: Sequence[bool]) -> str:
    """The sequence as text, with its trained runs of tokens between two brackets."""
    runs = loss_runs(tokenizer, token_ids, loss_mask)
    return "".join(f"{OPEN}{text}{CLOSE}" if trained else text for text, trained in runs)


def _show_answered(answered: Answered) -> Iterator[str]:
    asking = answered.asking
    options = asking.question["options"]
    control = "" if asking.control == "none" else f", control {asking.control}"
    yield from _heading(
        f"QUESTION {asking.question['question_id']} ({asking.question['kind']}): {asking.condition}{control}, "
        f"mode {asking.mode}" + (f", order 1 of {answered.orders}" if answered.orders > 1 else "")
    )
    for message in answered.prompt:
        yield f"[{message.role}] {message.content}"
    for name, row in (("base", answered.base), ("tuned", answered.tuned)):
        if row is None:
            continue
        if row["scores"] is None:
            read = f"unread ({row['unread']})" if row["choice"] is None else f"correct {row['correct']:g}"
            yield f"{name:>5}: {row['completion']}  -> {read}"
            continue
        scores = "  ".join(
            f"{'*' if option == row['gold'] else ' '}{LETTERS[option]} {options[option]}: {score:.3f}"
            for option, score in enumerate(row["scores"])
        )
        yield f"{name:>5}: {scores}  -> correct {row['correct']:g}"
