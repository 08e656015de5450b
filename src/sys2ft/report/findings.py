"""What figures and sentences are made of: the rows of the tables, and the order in which names stand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from sys2ft.grid import NONE, resolve_teacher
from sys2ft.settings.base import WRITTEN
from sys2ft.settings.choices import GridSettings

Row = Mapping[str, Any]
ALL = "all"
EFFECT = ("model", "method", "protocol", "teacher", "split", "mode", "measure", "versus")
"""What tells one estimate from another; each stands beside one or more controls."""
CONTROL_NAMES = {"blank_question": "question blanked", "other_adapter": "other adapter", "other_news": "other news"}


@dataclass(frozen=True)
class Findings:
    """The tables of a study.

    Attributes:
        grid: what was run, in the order in which it is shown.
        level: of the intervals.
        effects, questions, dynamics, scaling, bill: rows of the tables.
        parameters: for each model.
    """

    grid: GridSettings
    level: float
    effects: Sequence[Row]
    questions: Sequence[Row]
    parameters: Mapping[str, int]
    dynamics: Sequence[Row] = ()
    scaling: Sequence[Row] = ()
    bill: Sequence[Row] = ()

    @cached_property
    def models(self) -> list[str]:
        """The learners, the smallest first."""
        return sorted(self.grid.model, key=lambda name: self.parameters.get(name, 0))

    @cached_property
    def whole(self) -> str:
        """The split that stands for all of the grid; of one that excludes all others, the one that is left."""
        told = {split for split, _ in self.asked}
        several = ALL if len(self.grid.split) > 1 else self.grid.split[0]
        return next((split for split in (ALL, *self.grid.split) if split in told), several)

    @cached_property
    def asked(self) -> set[tuple[str, str]]:
        """The splits, with the modes in which each was asked."""
        return {(row["split"], row["mode"]) for row in self.effects}

    @cached_property
    def shadowed(self) -> set[str]:
        """The protocols with something before the sequence, where the same without it was run too."""
        return {row["versus"] for row in self.effects if row["measure"] == "shadowing"}

    @cached_property
    def modes(self) -> list[str]:
        """How questions were put, in the order of the table."""
        return list(dict.fromkeys(r["mode"] for r in self.effects if r["measure"] in ("closed_book", "in_context")))

    @cached_property
    def teachers(self) -> list[str]:
        """Who wrote study data, `self` under the learner's name."""
        found = {(r["teacher"], r["model"]) for r in self.effects if r["teacher"] != NONE}
        return sorted({resolve_teacher(*pair) for pair in found})

    def trained(self, row: Row) -> str:
        """A protocol, with the method where the study has several of them."""
        several = len(self.grid.method) > 1 and row["method"] != NONE
        return f"{row['protocol']}, {row['method']}" if several else row["protocol"]

    def learner(self, row: Row) -> str:
        """The same, with the teacher where the study has several of them."""
        several = len(self.grid.teacher) > 1 and row["teacher"] != NONE
        return f"{self.trained(row)}, teacher {row['teacher']}" if several else self.trained(row)

    def chance(self, split: str, mode: str) -> float | None:
        """The accuracy of a guess; None where the model writes, and where no question of the split is known."""
        if mode in WRITTEN:
            return None
        chosen = [r for r in self.questions if split in (ALL, r["split"]) and (r["split"], mode) in self.asked]
        if mode == "statement":
            return 0.5 if chosen else None
        return fmean(1 / len(row["options"]) for row in chosen) if chosen else None

    def find(self, measure: str, split: str | None = None) -> list[Row]:
        """The rows of a measure, over all of the grid where no split is named, with an estimate."""
        wanted = split or self.whole
        return [
            row
            for row in self.effects
            if row["measure"] == measure and row["split"] == wanted and row["estimate"] is not None
        ]

    def order(self, rows: Iterable[Row], called: Callable[[Row], str] | None = None) -> list[str]:
        """The learners among rows, in the order of the grid's protocols; `called`: by another name."""
        place = {name: number for number, name in enumerate(self.grid.protocol)}
        chosen = sorted(rows, key=lambda row: (place.get(row["protocol"], -1), row["method"], row["teacher"]))
        return list(dict.fromkeys(map(called or self.learner, chosen)))


def per_estimate(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of `effects` that are one estimate beside several controls, together."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in EFFECT), []).append(row)
    return list(groups.values())


def count_words(rows: Sequence[Row]) -> str:
    """Items, questions and seeds behind rows: `10 items, 50 questions, 1 to 3 seeds`."""
    return ", ".join(range_words(rows, name) for name in ("items", "questions", "seeds"))


def range_words(rows: Sequence[Row], name: str, called: str | None = None) -> str:
    """A count behind rows, in words, or its range."""
    low, high = min(row[name] for row in rows), max(row[name] for row in rows)
    noun = called or name
    if low == high == 1:
        return f"1 {noun.removesuffix('s')}"
    return f"{low:,} {noun}" if low == high else f"{low:,} to {high:,} {noun}"


def retention_unit(mode: str) -> tuple[str, float]:
    """The unit in which a task's metric is told, and its factor: nats of logarithms, points of shares."""
    logarithm = any(word in mode for word in ("perplexity", "bits_per"))
    return ("nats", 1.0) if logarithm else ("points", 100.0)
