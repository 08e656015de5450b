"""`generate_study`: a teacher, with the news in context, writes about every item.

A kind of study data has a step `write`, one call a study row. Before it, it may have a step `list`: questions that are
answered one by one (Self-QA, New News section 3), ways of studying that are applied in turn (Active Reading), entities
whose pairs are related (EntiGraph). After it, a step `check` may ask the teacher whether the news supports a row.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

from sys2ft.chat import user, with_news
from sys2ft.cost import generation_flops
from sys2ft.grid import derive_seed
from sys2ft.settings.stages import GenerateStudyStage
from sys2ft.study.reading import parse_list, read_study
from sys2ft.study.requests import Engine, Request, Sample, complete

Row = Mapping[str, Any]
Entry = tuple[str, ...]
"""What a study row goes on from: one entry of a list, or a pair."""
VERDICT_TOKENS = 8
"""Enough for yes or no."""


def write_completions(
    items: Sequence[Row],
    chosen: Sequence[str],
    stage: GenerateStudyStage,
    engine: Engine,
    seed_parts: Sequence[object],
    parameters: int | None = None,
) -> list[dict[str, Any]]:
    """Have items studied.

    Args:
        items: rows of the table `items`, the whole split.
        chosen: the items that are studied.
        seed_parts: what, beside item, call and number, the seed of a request is derived from.
        parameters: of the teacher, to count FLOPs; None: unknown.

    Returns:
        Rows of the table `completions`, without the keys that all of them share.

    Raises:
        ValueError: a request cannot be served; names it.
    """
    asking = _Asking(items, stage, seed_parts)
    samples: list[Sample] = []
    entries: dict[str, dict[int, Entry]] = {item: dict.fromkeys(range(stage.rows), ()) for item in chosen}
    if stage.prompts.entries is not None:
        samples = complete(engine, [request for item in chosen for request in asking.lists(item)])
        entries = {item: asking.entries([s for s in samples if s.request.item == item], item) for item in chosen}
    requests = [asking.write(item, row, entry) for item in chosen for row, entry in entries[item].items()]
    samples += complete(engine, requests)
    if stage.prompts.check is not None:
        rows = read_study(
            chosen, [_completion_row(s, None) for s in samples], stage.prompts, stage.rows, stage.per_call
        )
        samples += complete(engine, [asking.check(row) for row in rows if row["status"] == "kept"])
    return [_completion_row(sample, parameters) for sample in samples]


class _Asking:
    """The requests of a split."""

    def __init__(self, items: Sequence[Row], stage: GenerateStudyStage, seed_parts: Sequence[object]):
        self.items = {item["item"]: item for item in items}
        self.stage, self.seed_parts = stage, seed_parts
        self.split_text = "\n\n".join(f"{item['title']}\n{item['text']}" for item in items)

    def lists(self, item: str) -> list[Request]:
        """The calls of the first step.

        The last of a budget may bring more entries than rows are left; it stays as it is, so that a larger budget
        repeats it.
        """
        stage, entries = self.stage, self.stage.prompts.entries
        assert entries is not None
        calls = -(-stage.rows // stage.per_call) if entries.use == "each" else stage.list_calls
        return [
            self._request(
                item, "list", call, range(start, start + stage.per_call), stage.list_max_new_tokens,
                entries.prompt, {"number": stage.per_call},
            )
            for call, start in enumerate(range(0, calls * stage.per_call, stage.per_call))
        ]  # fmt: skip

    def entries(self, samples: Sequence[Sample], item: str) -> dict[int, Entry]:
        """For each study row what it goes on from; rows whose entry could not be read are missing."""
        prompts = self.stage.prompts.entries
        assert prompts is not None
        lists = [parse_list(s.text, s.finish, prompts.read, len(s.request.rows)) for s in samples]
        if prompts.use == "each":
            pairs = [zip(s.request.rows, found, strict=False) for s, found in zip(samples, lists, strict=True)]
            return {row: (entry,) for some in pairs for row, entry in some if row < self.stage.rows}
        pool: list[Entry] = [(entry,) for entry in dict.fromkeys(itertools.chain(*lists))]
        if prompts.use == "pairs":
            pool = [(first[0], second[0]) for first, second in itertools.combinations(pool, 2)]
            random.Random(derive_seed(*self.seed_parts, item, "pairs")).shuffle(pool)
        return {row: pool[row % len(pool)] for row in range(self.stage.rows)} if pool else {}

    def write(self, item: str, row: int, entry: Entry) -> Request:
        """The call that writes a study row."""
        names = ("first", "second") if len(entry) == 2 else ("entry",)
        fields = dict(zip(names, entry, strict=False))
        prompt, limit = self.stage.prompts.write, self.stage.max_new_tokens
        return self._request(item, "write", row, range(row, row + 1), limit, prompt, fields, " + ".join(entry))

    def check(self, row: Row) -> Request:
        """The call that asks whether the news supports a study row."""
        fields = {"text": row["text"], "question": row["question"]}
        rows = range(row["row"], row["row"] + 1)
        return self._request(
            row["item"], "check", row["row"], rows, VERDICT_TOKENS, self.stage.prompts.check or "", fields
        )

    def _request(
        self, name: str, call: str, number: int, rows: range, limit: int, prompt: str, fields: Mapping[str, Any],
        entry: str = "",
    ) -> Request:  # fmt: skip
        item = self.items[name]
        text = prompt.format(title=item["title"], **fields)
        news = item["text"] if self.stage.prompts.context == "item" else self.split_text
        content = with_news(self.stage.context, item["title"], news, text)
        seed = derive_seed(*self.seed_parts, name, call, number)
        return Request(name, call, number, rows, (user(content),), limit, seed, entry or None)


def _completion_row(sample: Sample, parameters: int | None) -> dict[str, Any]:
    request, flops = sample.request, None
    if None not in (parameters, sample.prompt_tokens, sample.completion_tokens):
        flops = generation_flops(parameters, sample.prompt_tokens, sample.completion_tokens)  # type: ignore[arg-type]
    return {
        "item": request.item,
        "request": request.id,
        "call": request.call,
        "number": request.number,
        "entry": request.entry,
        "messages": [message.as_dict() for message in request.messages],
        "max_new_tokens": request.max_new_tokens,
        "request_seed": request.seed,
        "completion": sample.text,
        "finish": sample.finish,
        "prompt_tokens": sample.prompt_tokens,
        "completion_tokens": sample.completion_tokens,
        "flops": flops,
    }
