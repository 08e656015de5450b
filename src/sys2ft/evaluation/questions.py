"""Every way a question is put to a model: conditions, controls, modes, option orders.

Conditions and controls are those of the project's terms: `closed_book`, `in_context`, `other_news`; `blank_question`
(the same options, the question replaced by a neutral sentence) and `other_adapter` (another item's adapter answers).
Controls show how much of a score is the model's liking for strings it has seen.

In `statement` mode nothing is asked: the two options are a true and a false sentence. What stands in a question's place
there is what the two have in common; under `blank_question` they are cut down to where they differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sys2ft.chat import Message, user, with_news
from sys2ft.grid import JOINT, NONE
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import ScoringSettings

LETTERS = "ABCDEFGH"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asking:
    """One question under one condition, control and mode."""

    item: str
    question: Row
    """As it is put in this mode: `options` and `gold` are those that are scored."""
    condition: str
    control: str
    mode: str
    news: Row | None
    """The item in the prompt."""
    reader: str
    """Who answers: the name of an adapter or a trained model; 'none' for the base."""

    def columns(self) -> dict[str, Any]:
        """What of it stands in the table `answers`."""
        told = {name: getattr(self, name) for name in ("item", "condition", "control", "mode")}
        return told | {name: self.question[name] for name in ("question_id", "kind", "gold")}


def choose_readers(items: Sequence[str], method: MethodSettings) -> dict[str, str]:
    """For each item the name of who learned it."""
    return {item: JOINT if method.per == "split" else item for item in items}


def ask_all(
    items: Sequence[Row], questions: Sequence[Row], scoring: ScoringSettings, readers: Mapping[str, str] | None
) -> Iterator[Asking]:
    """All ways every question of a split is put to a model.

    The other item of `other_news` and `other_adapter` is the next one of the split, the first after the last. Where a
    question has no statements it is not asked in the mode `statement`.

    Args:
        items: rows of the table `items`.
        questions: rows of the table `questions`.
        readers: for each item who learned it; None for the base. Where one learned them all, as for the base, there
            is no `other_adapter`.
    """
    by_name = {item["item"]: item for item in items}
    names = list(by_name)
    following = dict(zip(names, names[1:] + names[:1], strict=True))
    for question in questions:
        own = question["item"]
        reader, other = (NONE, NONE) if readers is None else (readers[own], readers[following[own]])
        for mode in scoring.modes:
            whole, blank = question, question
            if mode == "statement" and question["statement"] is None:
                continue
            if mode == "statement":
                whole, blank = as_statements(question), as_statements(question, blank=True)
            for condition in scoring.conditions:
                news = {"closed_book": None, "in_context": by_name[own], "other_news": by_name[following[own]]}[
                    condition
                ]
                yield Asking(own, whole, condition, NONE, mode, news, reader)
                if "blank_question" in scoring.controls and condition != "other_news":
                    yield Asking(own, blank, condition, "blank_question", mode, news, reader)
            if other != reader and "other_adapter" in scoring.controls:
                yield Asking(own, whole, "closed_book", "other_adapter", mode, None, other)


def check_others_exist(split: str, items: int, scoring: ScoringSettings) -> str | None:
    """What is wrong, in words, where a split of one item is to be asked with another item; else None."""
    needing = [name for name in (*scoring.conditions, *scoring.controls) if name in ("other_news", "other_adapter")]
    if items > 1 or not needing:
        return None
    return f"the split '{split}' has one item, and {' and '.join(needing)} need another"


def as_statements(question: Row, blank: bool = False) -> dict[str, Any]:
    """A question whose options are its true and its false statement, in the order of the alphabet.

    Args:
        blank: cut the two down to the words in which they differ, at least one of each.
    """
    pair = [question["statement"], question["false_statement"]]
    if blank:
        pair = _differing(*pair)
    options = sorted(pair)
    return {**question, "options": options, "gold": options.index(pair[0])}


def _differing(*texts: str) -> list[str]:
    """Two texts without the words that both begin or end with, but with one word each."""
    words = [text.split() for text in texts]
    for _ in range(2):  # from the front, then from the back
        while min(map(len, words)) > 1 and words[0][0] == words[1][0]:
            words = [some[1:] for some in words]
        words = [some[::-1] for some in words]
    return [" ".join(some) for some in words]


def option_orders(options: int) -> list[list[int]]:
    """The cyclic orders: every option stands in every place once, so that liking a letter cannot help.

    Returns:
        For each order the option that stands in each place.
    """
    return [[(place + shift) % options for place in range(options)] for shift in range(options)]


def prompt_messages(
    asking: Asking,
    scoring: ScoringSettings,
    context: str,
    order: Sequence[int] | None = None,
    instruction: str | None = None,
) -> tuple[Message, ...]:
    """The chat that is put to the model: news, question and, in `letter` mode, the options in `order`.

    Args:
        instruction: how an answer is to be written, in the modes where the model writes.
    """
    question = scoring.neutral_question if asking.control == "blank_question" else asking.question["question"]
    if asking.mode == "statement":
        question = scoring.statement_instruction
    if instruction is not None:
        question = f"{instruction}\n{question}"
    if order is not None:
        lines = [f"{LETTERS[place]}. {asking.question['options'][option]}" for place, option in enumerate(order)]
        # The instruction comes first: what all orders have in common is computed once.
        question = "\n".join([scoring.letter_instruction, question, *lines])
    if asking.news is not None:
        question = with_news(context, asking.news["title"], asking.news["text"], question)
    return (user(question),)
