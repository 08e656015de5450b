"""Protocols: how items and study data become training sequences.

A protocol chooses what is asked and answered (the news itself, or study data of one kind) and what stands before it.
A shadowed protocol puts the item before the same sequence, in the words in which evaluation puts it in context (New
News, contextual shadowing); the prefix carries loss or not.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from sys2ft.chat import Message, render_training, trained_assistant, user, with_news
from sys2ft.grid import derive_seed
from sys2ft.settings.catalogue import ProtocolSettings
from sys2ft.settings.stages import ComposeTrainingStage

Row = Mapping[str, Any]


def compose_sequences(
    items: Sequence[Row], study: Sequence[Row], stage: ComposeTrainingStage, seed_parts: Sequence[object]
) -> list[dict[str, Any]]:
    """The training sequences of every item, in training order.

    Each item gets exactly `stage.samples` sequences, so that protocols are matched: one with fewer different
    sequences goes through them again in a new order, one with more is cut.

    Args:
        items: rows of the table `items`.
        study: rows of the table `study` of the protocol's kind; empty for a protocol without study data.
        seed_parts: what, beside the item, the order is derived from.

    Returns:
        Dicts with `item`, `position`, `row` (of the study table, or None) and `messages` (of `chat.Message`).

    Raises:
        ValueError: an item has no study row that was kept.
    """
    sequences = []
    for item in items:
        choices = _different_sequences(item, study, stage)
        order = random.Random(derive_seed(*seed_parts, item["item"], "order"))
        places: list[int] = []
        while len(places) < stage.samples:
            places += order.sample(range(len(choices)), len(choices))
        for position, place in enumerate(places[: stage.samples]):
            row, messages = choices[place]
            sequences.append({"item": item["item"], "position": position, "row": row, "messages": messages})
    return sequences


def _different_sequences(
    item: Row, study: Sequence[Row], stage: ComposeTrainingStage
) -> list[tuple[int | None, list[Message]]]:
    protocol = stage.protocol
    if protocol.study is None:
        return [(None, build_messages(item, protocol, stage.context, item["text"], None))]
    kept = [row for row in study if row["item"] == item["item"] and row["status"] == "kept"]
    if not kept:
        raise ValueError(f"item '{item['item']}' has no study row of kind '{protocol.study}' to train on")
    return [(row["row"], build_messages(item, protocol, stage.context, row["text"], row["question"])) for row in kept]


def build_messages(
    item: Row, protocol: ProtocolSettings, context: str, text: str, question: str | None
) -> list[Message]:
    """One training chat: what is asked, and `text` as the trained answer."""
    ask = protocol.ask.format(title=item["title"], question=question)
    trained: tuple[tuple[int, int], ...] = ()
    if protocol.prefix == "own_news":
        ask = with_news(context, item["title"], item["text"], ask).strip()
        if protocol.prefix_loss:
            start = ask.index(item["text"])
            trained = ((start, start + len(item["text"])),)
    return [user(ask, trained), trained_assistant(text)]


def render_sequences(tokenizer: Any, chats: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of the table `sequences`, without the cell's keys, from what `compose_sequences` returns.

    Raises:
        ValueError: a chat cannot be rendered with this tokenizer's template; names the item.
    """
    rows = []
    for chat in chats:
        try:
            token_ids, loss_mask = render_training(tokenizer, chat["messages"])
        except ValueError as error:
            raise ValueError(f"item '{chat['item']}', sequence {chat['position']}: {error}") from None
        rows.append(
            {
                **chat,
                "messages": [message.as_dict() for message in chat["messages"]],
                "token_ids": token_ids,
                "loss_mask": loss_mask,
                "n_tokens": len(token_ids),
                "n_loss_tokens": sum(loss_mask),
            }
        )
    return rows
