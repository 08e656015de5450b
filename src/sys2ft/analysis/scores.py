"""Answers as arrays: what every learner scored, by condition, seed and question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sys2ft.grid import NONE

LEARNER = ("model", "method", "protocol", "teacher")
COLUMNS = (*LEARNER, "split", "seed", "item", "question_id", "condition", "control", "mode", "correct")
"""What is read of the table `answers`."""
ASKED, UNREAD = 1, 2
Learner = tuple[str, str, str, str]
Term = tuple[str, str]  # condition, control


@dataclass(frozen=True)
class Scores:
    """All answers of one mode, or all values of one metric.

    Attributes:
        learners: base and tuned models, in the order of the table.
        terms: conditions with their controls.
        items: (split, item) of each item.
        item_of: (questions,) the item of each question; questions of an item stand together.
        values: (learners, terms, seeds, questions); 0 where nothing was asked or read. A base has the first seed only.
        states: likewise: 0, `ASKED`, or `UNREAD` (asked, and the answer names no option).
    """

    learners: Sequence[Learner]
    terms: Sequence[Term]
    items: Sequence[tuple[str, str]]
    item_of: np.ndarray
    values: np.ndarray
    states: np.ndarray

    @cached_property
    def splits(self) -> np.ndarray:
        """(questions,) the split of each question."""
        return np.array([split for split, _ in self.items])[self.item_of]

    @cached_property
    def asked(self) -> np.ndarray:
        """(learners, seeds, questions): whether a question was put at all."""
        return np.any(self.states > 0, axis=1)

    def complete(self, *learners: int, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The questions, among some, that several learners all were asked, and the seeds that were asked them all.

        A seed that lacks a split cannot be averaged in.

        Args:
            learners: places in `learners`.
            within: places of questions.

        Returns:
            Places of seeds and of questions.
        """
        asked = np.all(self.asked[list(learners)][:, :, within], axis=0)
        questions = asked.any(axis=0)
        seeds = asked[:, questions].all(axis=1) & questions.any()
        return np.flatnonzero(seeds), within[questions]


def read_scores(table: pa.Table) -> Iterator[tuple[str, Scores]]:
    """The scores of each mode, in the order of the table.

    Args:
        table: `COLUMNS` of the table `answers`.
    """
    codes, names = encode(table.select(COLUMNS))
    correct = table["correct"]
    read = ~correct.is_null().to_numpy()
    values = pc.fill_null(correct, 0.0).to_numpy()
    for number, mode in enumerate(names["mode"]):
        rows = np.flatnonzero(codes["mode"] == number)
        yield mode, arrange({name: code[rows] for name, code in codes.items()}, names, values[rows], read[rows])


def encode(table: pa.Table) -> tuple[dict[str, np.ndarray], dict[str, list]]:
    """Each column but `correct` as whole numbers, and what they stand for in the order of the table; -1 is null.

    Seeds are numbered in their own order, so that learners are paired by the seed and not by its place.
    """
    codes, names = {}, {}
    for name in table.column_names:
        if name == "correct":
            continue
        column = table[name].combine_chunks()
        column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        codes[name] = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
        names[name] = column.dictionary.to_pylist()
    order = np.argsort(names["seed"], kind="stable")
    ranks = np.append(np.argsort(order), -1)  # -1 stays
    codes["seed"], names["seed"] = ranks[codes["seed"]], sorted(names["seed"])
    return codes, names


def arrange(codes: dict[str, np.ndarray], names: dict[str, list], values: np.ndarray, read: np.ndarray) -> Scores:
    """The rows of one mode as arrays."""
    learners, learner_of = combine(codes, names, LEARNER)
    terms, term_of = combine(codes, names, ("condition", "control"))
    items, item_of = combine(codes, names, ("split", "item"))
    questions, question_of = combine(codes, names, ("split", "item", "question_id"))
    first = np.zeros(len(questions), dtype=int)
    first[question_of] = item_of
    order = np.argsort(first, kind="stable")
    place = np.argsort(order)[question_of]
    seed_of = np.maximum(codes["seed"], 0)
    shape = len(learners), len(terms), max(1, len(names["seed"])), len(questions)
    where = learner_of, term_of, seed_of, place
    scores, states = np.zeros(shape), np.zeros(shape, dtype=np.int8)
    scores[where] = values
    states[where] = np.where(read, ASKED, UNREAD)
    return Scores(learners, terms, items, first[order], scores, states)


def combine(
    codes: dict[str, np.ndarray], names: dict[str, list], columns: Sequence[str]
) -> tuple[list[tuple], np.ndarray]:
    """The combinations of several columns, in the order of the table, and each row's place among them."""
    mixed = np.zeros(len(codes[columns[0]]), dtype=np.int64)
    for column in columns:
        mixed = mixed * (len(names[column]) + 1) + codes[column]
    _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
    order = np.argsort(first)
    found = [tuple(names[column][codes[column][row]] for column in columns) for row in first[order]]
    return found, np.argsort(order)[inverse]


def read_changes(table: pa.Table) -> Iterator[tuple[str, bool | None, Scores]]:
    """What tuned models changed on general documents: their value less the base's.

    Args:
        table: the table `retention`.

    Returns:
        For each task, metric and (of several) filter its name, whether a larger value is better, and the changes. Their
        items are those whose adapters answered, their questions the documents, their one term ("general", "none").

    Raises:
        ValueError: a document was put to a tuned model and not to its base.
    """
    codes, names = encode(table.drop_columns(["value", "higher_is_better", "adapter"]))
    values, higher = table["value"].to_numpy(), table["higher_is_better"].to_pylist()
    modes, mode_of = combine(codes, names, ("task", "metric", "filter"))
    tuned = codes["protocol"] != (names["protocol"].index(NONE) if NONE in names["protocol"] else -1)
    names |= {"question_id": names["document"], "condition": ["general"], "control": [NONE]}
    for number, (task, metric, reading) in enumerate(modes):
        base = np.full((len(names["model"]), len(names["document"])), np.nan)
        rows = np.flatnonzero((mode_of == number) & ~tuned)
        base[codes["model"][rows], codes["document"][rows]] = values[rows]
        rows = np.flatnonzero((mode_of == number) & tuned)
        if not len(rows):
            continue
        changes = values[rows] - base[codes["model"][rows], codes["document"][rows]]
        mode = "/".join([task, metric, *([] if reading == NONE else [reading])])
        if np.isnan(changes).any():
            document = names["document"][codes["document"][rows[np.isnan(changes)][0]]]
            raise ValueError(f"document {document} of {mode} was put to a tuned model and not to its base")
        told = {name: code[rows] for name, code in codes.items()}
        told |= {"question_id": told["document"], **dict.fromkeys(("condition", "control"), np.zeros(len(rows), int))}
        yield mode, higher[rows[0]], arrange(told, names, changes, np.ones(len(rows), dtype=bool))
