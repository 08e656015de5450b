"""Protocols: how items and study data become training sequences.

A protocol chooses what is asked and answered (the news itself, study data of one kind, general text) and what stands
before it. A shadowed protocol puts the item before the same sequence, in the words in which evaluation puts it in
context (New News, contextual shadowing), or, to tell what that does, another item or filler of the same length; the
prefix carries loss or not. A distilled protocol trains what the base says of the same sequence with the item before
it. A mix takes turns between protocols.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sys2ft.chat import Message, cut_tokens, render_training, trained_assistant, user, with_news
from sys2ft.cost import total, training_flops
from sys2ft.grid import derive_seed
from sys2ft.settings.catalogue import ProtocolSettings
from sys2ft.settings.stages import ComposeTrainingStage, Part

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Material:
    """What sequences are made of.

    Attributes:
        items: rows of the table `items`, the whole split.
        study: rows of the table `study`, of all kinds that the protocol trains.
        replay: rows of general text by the name of their set.
        filler: prose that can stand in place of news.
        teacher_flops: what writing an item's study data cost; None where that is unknown.
    """

    items: Sequence[Row]
    study: Sequence[Row] = ()
    replay: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    filler: str = ""
    teacher_flops: Mapping[str, float | None] = field(default_factory=dict)


def gather_material(
    stage: ComposeTrainingStage,
    items: Sequence[Row],
    study: Sequence[Row],
    counts: Sequence[Row],
    replay: Sequence[Sequence[Row]],
    filler: str,
) -> Material:
    """Put together what `compose_sequences` needs.

    Args:
        counts: rows of `study_counts`, of all kinds.
        replay: the sets of general text, in the order in which the stage's parts name them.
    """
    names = dict.fromkeys(part.protocol.replay for part in stage.parts if part.protocol.replay)
    costs = {
        item["item"]: total([row["teacher_flops"] for row in counts if row["item"] == item["item"]]) for item in items
    }
    return Material(items, study, dict(zip(names, replay, strict=True)), filler, costs)


def compose_sequences(
    material: Material, stage: ComposeTrainingStage, tokenizer: Any, parameters: int, seed_parts: Sequence[object]
) -> list[dict[str, Any]]:
    """The training sequences of every item, in training order, up to the budget.

    Protocols are matched: each item gets sequences until it has the stage's amount of samples, of trained tokens or of
    FLOPs (to the nearest sequence). What is used up is gone through again in a new order.

    Args:
        tokenizer: the learner's.
        parameters: of the learner.
        seed_parts: what, beside item and part, the order is derived from.

    Returns:
        Rows of the table `sequences`, without the cell's keys.

    Raises:
        ValueError: an item has nothing to train on, its teacher alone costs more than the budget, or a chat cannot be
            rendered with this tokenizer's template; names the item.
    """
    rows = []
    for item in material.items:
        sequences = _mixed(item, material, stage, tokenizer, seed_parts)
        rows += _fill_budget(item["item"], sequences, material, stage, parameters)
    return rows


# -------------------------------------------------------------------------------------------------------------- budget
def _fill_budget(
    item: str, sequences: Iterator[dict[str, Any]], material: Material, stage: ComposeTrainingStage, parameters: int
) -> list[dict[str, Any]]:
    spent = _teacher_cost(item, material) if stage.count_teacher else 0.0
    if spent >= stage.amount:
        raise ValueError(
            f"item '{item}': writing its study data took {spent:.3g} FLOPs of a budget of {stage.amount:.3g}, and "
            "nothing is left to train with: raise budget.flops, lower budget.study_rows, or set budget.count_teacher: "
            "false"
        )
    price: dict[str, Callable[[Row], float]] = {
        "samples": lambda _: 1.0,
        "tokens": lambda row: row["n_loss_tokens"],
        "flops": lambda row: training_flops(parameters, row["n_tokens"], len(row["context_ids"] or ())),
    }
    rows: list[dict[str, Any]] = []
    for row in sequences:
        cost = price[stage.match](row)
        if rows and abs(spent + cost - stage.amount) >= abs(spent - stage.amount):
            return rows
        rows.append({"item": item, "position": len(rows), **row})
        spent += cost
    raise AssertionError("sequences never end")


def _teacher_cost(item: str, material: Material) -> float:
    flops = material.teacher_flops.get(item, 0.0)
    if flops is None:
        raise ValueError(
            f"item '{item}': what its teacher cost is unknown (recorded study data, or a served model without "
            "`parameters`): set budget.count_teacher: false"
        )
    return flops


# ----------------------------------------------------------------------------------------------------------- sequences
def _mixed(
    item: Row, material: Material, stage: ComposeTrainingStage, tokenizer: Any, seed_parts: Sequence[object]
) -> Iterator[dict[str, Any]]:
    """Sequences without end; at every moment each part has its share of them, to within one sequence.

    Of the parts that are due the one whose time runs out first is next (Tijdeman 1980, chairman assignment).
    """
    streams = [_repeat(item, part, material, stage.context, tokenizer, seed_parts) for part in stage.parts]
    whole = sum(Fraction(part.weight) for part in stage.parts)
    shares = [Fraction(part.weight) / whole for part in stage.parts]
    slack = Fraction(1, max(1, 2 * len(shares) - 2))
    taken = [0] * len(streams)
    while True:
        due = [i for i, share in enumerate(shares) if share * (sum(taken) + 1) - taken[i] >= slack]
        chosen = min(due, key=lambda i: (taken[i] + 1 - slack) / shares[i]) if len(shares) > 1 else 0
        taken[chosen] += 1
        yield next(streams[chosen])


def _repeat(
    item: Row, part: Part, material: Material, context: str, tokenizer: Any, seed_parts: Sequence[object]
) -> Iterator[dict[str, Any]]:
    """The sequences of one part, again and again, each time in a new order."""
    sources = _sources(item, part.protocol, material)
    if not sources:
        what = f"study row of kind '{part.protocol.study}'" if part.protocol.study else "general text"
        raise ValueError(f"item '{item['item']}' has no {what} to train on")
    prefix = _prefix(item, part.protocol, material, tokenizer)
    order = random.Random(derive_seed(*seed_parts, item["item"], part.name, "order"))
    rendered: dict[int, dict[str, Any]] = {}
    while True:
        for place in order.sample(range(len(sources)), len(sources)):
            if place not in rendered:
                row, question, text = sources[place]
                messages = build_messages(item["title"], prefix, part.protocol, context, text, question)
                where = f"item '{item['item']}', protocol '{part.name}', row {row}"
                rendered[place] = {"part": part.name, "row": row} | render_sequence(tokenizer, messages, where)
                if part.protocol.objective == "distill":
                    news = item["title"], item["text"]
                    messages = build_messages(item["title"], news, part.protocol, context, text, question)
                    rendered[place] |= render_context(tokenizer, messages, where)
            yield rendered[place]


def _sources(item: Row, protocol: ProtocolSettings, material: Material) -> list[tuple[int | None, str | None, str]]:
    """What is trained: (row, question, text)."""
    if protocol.replay is not None:
        return [(row["row"], row["question"], row["text"]) for row in material.replay[protocol.replay]]
    if protocol.study is None:
        return [(None, None, item["text"])]
    return [
        (row["row"], row["question"], row["text"])
        for row in material.study
        if (row["item"], row["kind"], row["status"]) == (item["item"], protocol.study, "kept")
    ]


def _prefix(item: Row, protocol: ProtocolSettings, material: Material, tokenizer: Any) -> tuple[str, str] | None:
    """Title and text that stand before the sequence."""
    if protocol.prefix == "own_news":
        return item["title"], item["text"]
    if protocol.prefix == "other_news":
        names = [other["item"] for other in material.items]
        other = material.items[(names.index(item["item"]) + 1) % len(names)]
        return other["title"], other["text"]
    if protocol.prefix == "filler":
        return "", cut_tokens(tokenizer, material.filler, item["text"])
    return None


def build_messages(
    title: str,
    prefix: tuple[str, str] | None,
    protocol: ProtocolSettings,
    context: str,
    text: str,
    question: str | None,
) -> list[Message]:
    """One training chat: what is asked, and `text` as the trained answer.

    Args:
        title: of the item.
        prefix: title and text of what stands before it.
    """
    ask = protocol.ask.format(title=title, question=question)
    trained: tuple[tuple[int, int], ...] = ()
    if prefix is not None:
        head = context.partition("{news}")[0].format(title=prefix[0])
        ask = with_news(context, *prefix, ask)
        start = len(head) - (len(ask) - len(ask.lstrip()))
        trained = ((start, start + len(prefix[1])),) if protocol.prefix_loss else ()
    return [user(ask, trained), trained_assistant(text)]


def render_sequence(tokenizer: Any, messages: Sequence[Message], where: str) -> dict[str, Any]:
    """A chat as the learner reads it: columns of the table `sequences`.

    Raises:
        ValueError: it cannot be rendered with this tokenizer's template; says where.
    """
    try:
        token_ids, loss_mask = render_training(tokenizer, messages)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return {
        "messages": [message.as_dict() for message in messages],
        "token_ids": token_ids,
        "loss_mask": loss_mask,
        "context_ids": None,
        "context_mask": None,
        "n_tokens": len(token_ids),
        "n_loss_tokens": sum(loss_mask),
    }


def render_context(tokenizer: Any, messages: Sequence[Message], where: str) -> dict[str, Any]:
    """The same chat with the news in it, as the base reads it to be imitated: columns of the table `sequences`."""
    read = render_sequence(tokenizer, messages, where)
    return {"context_ids": read["token_ids"], "context_mask": read["loss_mask"]}
