"""One worked example in full: from a piece of news to the scores of its questions.

Everything shown is read from the results of one cell; prompts are built again by the functions that built them for the
models, from the settings that stand in the tables' metadata.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sys2ft.errors import InputError, suggest_name
from sys2ft.evaluation.questions import LETTERS, Asking, ask_all, option_orders, prompt_messages
from sys2ft.evaluation.writing import written_prompt
from sys2ft.grid import JOINT, Cell
from sys2ft.models import load_tokenizer
from sys2ft.paths import cell_path, study_path
from sys2ft.settings.stages import ComposeTrainingStage, ScoreStage, WriteStage
from sys2ft.tables import COMPLETIONS, SCHEMAS, STUDY, read_rows

ANSWERS = ("answers", "base_answers", "written", "base_written")

OPEN, CLOSE = "⟦", "⟧"
Row = Mapping[str, Any]


def show_example(results: str, cell: Cell, item: str | None, question: str | None) -> Iterator[str]:
    """The lines of a worked example.

    Args:
        item: its id; None for the first of the split.
        question: its id, or 'all'; None for the item's first.

    Raises:
        InputError: the cell has no results, or there is no such item or question.
    """
    news = _of_item(results, cell, item)
    yield f"CELL {cell.path}"
    yield from _heading(f"NEWS {news['item']}: {news['title']} ({news['date']})")
    yield news["text"]
    sequences = [row for row in _rows(results, "sequences", cell) if row["item"] == news["item"]]
    stage = ComposeTrainingStage.model_validate(_settings(cell_path(results, "sequences", cell)))
    for kind in dict.fromkeys(part.protocol.study for part in stage.parts if part.protocol.study):
        yield from _show_study(results, cell, kind, news["item"])
    yield from _show_sequence(load_tokenizer(cell_path(results, "model", cell)), sequences)
    yield from _show_log(results, cell, news["item"])
    yield from _show_questions(results, cell, news["item"], question)


def _heading(text: str) -> Iterator[str]:
    yield from ("", f"--- {text}")


def _rows(results: str, artefact: str, cell: Cell) -> list[dict[str, Any]]:
    table = "answers" if artefact in ANSWERS else artefact
    path = cell_path(results, artefact, cell)
    if not Path(path).exists():
        raise InputError(path, "", "no such table", "run the cell first, or correct the cell")
    return read_rows(SCHEMAS[table], path)


def _settings(path: str) -> dict[str, Any]:
    return json.loads(pq.read_schema(path).metadata[b"sys2ft"])


def _of_item(results: str, cell: Cell, item: str | None) -> dict[str, Any]:
    items = {row["item"]: row for row in _rows(results, "items", cell)}
    if item is not None and item not in items:
        raise InputError(
            cell_path(results, "items", cell), "item", f"there is no item '{item}'", suggest_name(item, list(items))
        )
    return items[item or next(iter(items))]


def _show_study(results: str, cell: Cell, kind: str, item: str) -> Iterator[str]:
    path = study_path(results, "study", cell, kind)
    shards = _settings(path)["shards"]
    paths = [study_path(results, "completions", cell, kind, shard=shard) for shard in range(shards)]
    completions = [row for row in read_rows(COMPLETIONS, *paths) if row["item"] == item]
    rows = [row for row in read_rows(STUDY, path) if row["item"] == item]
    for call in ("list", "write", "check"):
        first = next((row for row in completions if row["call"] == call), None)
        if first is None:
            continue
        yield from _heading(f"TEACHER PROMPT ({call}, {first['engine']}, seed {first['request_seed']})")
        yield from (f"[{message['role']}] {message['content']}" for message in first["messages"])
        yield from _heading(f"COMPLETION ({first['completion_tokens']} tokens, ended by {first['finish']})")
        yield first["completion"]
    yield from _heading(f"STUDY ROWS ({kind}): {sum(r['status'] == 'kept' for r in rows)} of {len(rows)} kept")
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
    text, start = "", 0
    for end in range(1, len(token_ids) + 1):
        if end == len(token_ids) or loss_mask[end] != loss_mask[start]:
            run = tokenizer.decode(token_ids[start:end], skip_special_tokens=False)
            text += f"{OPEN}{run}{CLOSE}" if loss_mask[start] else run
            start = end
    return text


def _show_log(results: str, cell: Cell, item: str) -> Iterator[str]:
    log = [row for row in _rows(results, "train_log", cell) if row["item"] in (item, JOINT)]
    yield from _heading(f"TRAINING: {len(log)} steps; loss by step")
    yield " ".join(f"{row['loss']:.3f}" for row in log)


def _show_questions(results: str, cell: Cell, item: str, question: str | None) -> Iterator[str]:
    items = _rows(results, "items", cell)
    questions = [row for row in _rows(results, "questions", cell) if row["item"] == item]
    ids = [row["question_id"] for row in questions]
    wanted = question or ids[0]
    if wanted not in (*ids, "all"):
        path = cell_path(results, "questions", cell)
        raise InputError(path, "question", f"there is no question '{wanted}'", suggest_name(wanted, ids))
    chosen = [row for row in questions if wanted in (row["question_id"], "all")]
    names = {row["item"]: row["item"] for row in items}
    there = [name for name in ("answers", "written") if Path(cell_path(results, name, cell)).exists()]
    for artefact in there or ["answers"]:
        tuned = {_key(row): row for row in _rows(results, artefact, cell) if not row["milestone"]}
        base = {_key(row): row for row in _rows(results, f"base_{artefact}", cell)}
        kind: type[ScoreStage] | type[WriteStage] = ScoreStage if artefact == "answers" else WriteStage
        stage = kind.model_validate(_settings(cell_path(results, artefact, cell)))
        for asking in ask_all(items, chosen, stage.scoring, names):
            yield from _show_asking(asking, stage, tuned, base)


def _key(row: Row) -> tuple:
    return row["question_id"], row["condition"], row["control"], row["mode"]


def _show_asking(asking: Asking, stage: ScoreStage | WriteStage, tuned: Mapping, base: Mapping) -> Iterator[str]:
    options = asking.question["options"]
    order = option_orders(len(options))[0] if asking.mode == "letter" else None
    key = (asking.question["question_id"], asking.condition, asking.control, asking.mode)
    if key not in tuned:  # no other adapter, where one has learned all items
        return
    control = "" if asking.control == "none" else f", control {asking.control}"
    yield from _heading(
        f"QUESTION {asking.question['question_id']} ({asking.question['kind']}): {asking.condition}{control}, "
        f"mode {asking.mode}" + (f", order 1 of {len(options)}" if order else "")
    )
    if isinstance(stage, WriteStage):
        prompt = written_prompt(asking, stage)
    else:
        prompt = prompt_messages(asking, stage.scoring, stage.context, order)
    for message in prompt:
        yield f"[{message.role}] {message.content}"
    for name, answers in (("base", base), ("tuned", tuned)):
        if key in answers:
            row = answers[key]
            if row["scores"] is None:
                read = f"unread ({row['unread']})" if row["choice"] is None else f"correct {row['correct']:g}"
                yield f"{name:>5}: {row['completion']}  -> {read}"
                continue
            scores = "  ".join(
                f"{'*' if option == row['gold'] else ' '}{LETTERS[option]} {options[option]}: {score:.3f}"
                for option, score in enumerate(row["scores"])
            )
            yield f"{name:>5}: {scores}  -> correct {row['correct']:g}"
