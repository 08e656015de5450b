"""`generate_study`: every item is studied by a teacher that has it in context.

Kinds with the parser `text` need one call a study row. `questions` (Self-QA, New News section 3) needs two: questions
are written with the news in context, then each is answered with the news in context.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sys2ft.chat import user, with_news
from sys2ft.grid import derive_seed
from sys2ft.settings.stages import GenerateStudyStage
from sys2ft.study.parsing import parse_questions, parse_text
from sys2ft.study.requests import Engine, Request, Sample


class TooLittleKept(ValueError):
    """The teacher's completions could not be read often enough."""


@dataclass
class Studied:
    """Rows of the tables `completions` and `study`, without the keys that all of them share."""

    completions: list[dict[str, Any]]
    rows: list[dict[str, Any]]


def study_items(
    items: Sequence[Mapping[str, Any]], stage: GenerateStudyStage, engine: Engine, seed_parts: Sequence[object]
) -> Studied:
    """Have all items studied.

    Args:
        items: rows of the table `items`.
        seed_parts: what, beside item and call, the seed of a request is derived from: teacher, kind, split, seed.

    Raises:
        TooLittleKept: fewer than `min_kept` of an item's rows could be read; names the item and the counts.
    """
    study = Studied([], [])
    by_item = {item["item"]: item for item in items}
    calls = -(-stage.rows // stage.kind.per_call)
    prompt = stage.kind.instruction
    requests = [
        _request(stage, item, "write", number, prompt, stage.kind.max_new_tokens, seed_parts)
        for item in items
        for number in range(calls)
    ]
    samples = engine(requests)
    study.completions += [_completion_row(sample) for sample in samples]
    if stage.kind.parser == "text":
        study.rows = _text_rows(samples)
    else:
        study.rows = _question_rows(samples)
        _answer(study, by_item, stage, engine, seed_parts)
    check_kept(study, list(by_item), stage)
    return study


def _request(
    stage: GenerateStudyStage, item: Mapping[str, Any], call: str, number: int, prompt: str, limit: int,
    seed_parts: Sequence[object], **fields: str,
) -> Request:  # fmt: skip
    text = prompt.format(title=item["title"], number=stage.kind.per_call, **fields)
    content = with_news(stage.context, item["title"], item["text"], text)
    seed = derive_seed(*seed_parts, item["item"], call, number)
    # The last call may bring more than is left to ask for; its prompt stays, so that a larger budget repeats it.
    per_call = stage.kind.per_call if call == "write" else 1
    first = number * per_call
    rows = range(first, min(first + per_call, stage.rows))
    return Request(item["item"], call, number, rows, (user(content),), limit, seed)


def _completion_row(sample: Sample) -> dict[str, Any]:
    request = sample.request
    return {
        "item": request.item,
        "request": request.id,
        "call": request.call,
        "messages": [message.as_dict() for message in request.messages],
        "max_new_tokens": request.max_new_tokens,
        "request_seed": request.seed,
        "completion": sample.text,
        "finish": sample.finish,
        "prompt_tokens": sample.prompt_tokens,
        "completion_tokens": sample.completion_tokens,
    }


def _text_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    rows = []
    for sample in samples:
        text, status = parse_text(sample.text, sample.finish)
        rows += [_row(sample, number, None, text, status) for number in sample.request.rows]
    return rows


def _question_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The questions asked for; each that could not be read is a row with the status 'unparsed'."""
    rows = []
    for sample in samples:
        wanted = sample.request.rows
        questions: list[str | None] = [*parse_questions(sample.text, len(wanted))]
        questions += [None] * (len(wanted) - len(questions))
        for number, question in zip(wanted, questions, strict=True):
            rows.append(_row(sample, number, question, "", "kept" if question else "unparsed"))
    return rows


def _row(sample: Sample, number: int, question: str | None, text: str, status: str) -> dict[str, Any]:
    request = sample.request
    keys = {"item": request.item, "row": number, "request": request.id}
    return keys | {"question": question, "text": text, "status": status}


def _answer(
    study: Studied, items: Mapping[str, Any], stage: GenerateStudyStage, engine: Engine, seed_parts: Sequence[object]
) -> None:
    asked = [row for row in study.rows if row["status"] == "kept"]
    prompt, limit = stage.kind.answer_instruction or "", stage.kind.answer_max_new_tokens
    requests = [
        _request(stage, items[row["item"]], "answer", row["row"], prompt, limit, seed_parts, question=row["question"])
        for row in asked
    ]
    samples = engine(requests)
    study.completions += [_completion_row(sample) for sample in samples]
    for row, sample in zip(asked, samples, strict=True):
        row["text"], row["status"] = parse_text(sample.text, sample.finish)
        row["request"] = sample.request.id


def check_kept(study: Studied, items: Sequence[str], stage: GenerateStudyStage) -> None:
    """Fail rather than train on next to nothing.

    Raises:
        TooLittleKept: names the item, how many rows were read and why the others were not, with an example.
    """
    completions = {row["request"]: row["completion"] for row in study.completions}
    for item in items:
        rows = [row for row in study.rows if row["item"] == item]
        lost = [row for row in rows if row["status"] != "kept"]
        kept = len(rows) - len(lost)
        if kept == 0 or kept < stage.kind.min_kept * len(rows):
            counts = dict(Counter(row["status"] for row in lost))
            raise TooLittleKept(
                f"item '{item}': {kept} of {len(rows)} study rows could be read ({counts}), and at least "
                f"{stage.kind.min_kept:.0%} are asked for. One that could not: "
                f"{completions[lost[0]['request']][:300]!r}. Mend the kind's instruction, take a stronger teacher, or "
                "lower the kind's min_kept"
            )
