"""A row of `effects` computed again, plainly, from the answers that it is made of: no bootstrap, no other table.

What a measure is made of is asked of `sys2ft.analysis.measures`, here and nowhere else in this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sys2ft.analysis.measures import (
    BASE_MEASURES,
    GAIN,
    IN_CONTEXT_GAIN,
    RETENTION,
    TUNED_MEASURES,
    Measure,
    contrast,
    terms_of,
)
from sys2ft.grid import NONE

Row = Mapping[str, Any]
Voices = dict[str, list[dict[str, Any]]]
"""base, tuned, other (who is compared with): their answers to one mode, milestones left out."""
GAP_CLOSED = "gap_closed"
CHANGE = Measure(RETENTION.name, {**RETENTION.terms, ("base", "general"): -1}, ())
"""`effects` has taken the base from each document before."""
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Part:
    """One accuracy that an effect is made of.

    Attributes:
        control: under which it stands; 'none' for the measure as it is.
        sign: with which it is added.
        answers: how many answers it is the mean of.
        mean: of them; an answer that names no option counts as not right.
    """

    who: str
    condition: str
    control: str
    sign: float
    answers: int
    mean: float


@dataclass(frozen=True)
class Recomputed:
    """An effect computed again.

    Attributes:
        parts: of the measure as it is, and under the row's control.
        values: `estimate`, and with a control `control_estimate` and `net`.
        differing: the columns of the row that say something else.
    """

    parts: list[Part]
    values: dict[str, float]
    differing: list[str]


def measures_of(row: Row) -> list[Measure]:
    """What a row of `effects` is a sum of; of `gap_closed` that and what it is divided by."""
    if row["measure"] == GAP_CLOSED:
        return [GAIN, IN_CONTEXT_GAIN]
    if row["measure"] == RETENTION.name:
        return [CHANGE]
    if row["versus"] is not None:
        return [contrast(row["measure"])]
    named = BASE_MEASURES if row["protocol"] == NONE else TUNED_MEASURES
    return [measure for measure in named if measure.name == row["measure"]]


def voices_of(row: Row) -> set[str]:
    """Whose answers a row is made of: base, tuned, other."""
    return {who for measure in measures_of(row) for who, _ in measure.terms}


def recompute(row: Row, voices: Voices) -> Recomputed:
    """Compute a row's plain estimates again.

    Args:
        row: of `effects`.
        voices: the answers of all that `voices_of` names.
    """
    scored = _scored(voices)
    controls = [NONE] if row["control"] is None else [NONE, row["control"]]
    parts: list[Part] = []
    sums: dict[str, list[float]] = {}
    for control in controls:
        for measure in measures_of(row):
            terms = terms_of(measure, control)
            found = [_part(scored, *term, sign) for term, sign in terms.items()]
            parts += [part for part in found if part not in parts]
            sums.setdefault(control, []).append(sum(part.sign * part.mean for part in found))
    below = sums[NONE][1] if row["measure"] == GAP_CLOSED else 1.0
    if below == 0:
        return Recomputed(parts, {}, [])
    values = {"estimate": sums[NONE][0] / below}
    if row["control"] is not None:  # the gain under the control is divided by the same in-context gain
        values["control_estimate"] = sums[row["control"]][0] / below
        values["net"] = values["estimate"] - values["control_estimate"]
    told = {name: row[name] for name in values if row[name] is not None}
    return Recomputed(parts, values, [name for name in told if abs(told[name] - values[name]) > TOLERANCE])


def _part(scored: Voices, who: str, condition: str, control: str, sign: float) -> Part:
    rows = scored[who]
    seeds, questions = {row["seed"] for row in rows}, {_question(row) for row in rows}
    right = [row["correct"] or 0.0 for row in rows if (row["condition"], row["control"]) == (condition, control)]
    return Part(who, condition, control, sign, len(right), sum(right) / (len(seeds) * len(questions)))


def _scored(voices: Voices) -> Voices:
    """The answers that count: to questions that all who are compared were asked, of seeds that were asked them all."""
    compared = [voices[who] for who in ("tuned", "other") if who in voices]
    if not compared:  # a base by itself
        return voices
    asked = set.intersection(*({(_question(row), row["seed"]) for row in rows} for rows in compared))
    questions = {question for question, _ in asked}
    seeds = {seed for _, seed in asked if all((question, seed) in asked for question in questions)} | {None}
    return {
        who: [row for row in rows if _question(row) in questions and row["seed"] in seeds]
        for who, rows in voices.items()
    }


def _question(row: Row) -> tuple:
    return row["split"], row["question_id"]
