"""The measures of the project, each beside its controls.

A measure is a sum of accuracies with signs (`gap_closed` is a ratio of two). Under a control each of its terms is
replaced by the same term under that control; the *net* measure is the difference, paired on the same questions.
`MEASURES` is the whole list.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sys2ft.analysis.bootstrap import Arm, Interval, Resampler, correct_holm
from sys2ft.grid import NONE
from sys2ft.settings.choices import StatisticsSettings
from sys2ft.settings.stages import EstimateEffectsStage

ALL = "all"
GROUP = ("model", "method", "protocol", "teacher")
TOO_FEW = "too few items for an interval"
FAMILIARITY = "not distinguishable from familiarity"
NO_GAIN = "undefined: no in-context gain of the base to close, beyond its control"
Row = Mapping[str, Any]
Term = tuple[str, str, str]  # who (base, tuned, other), condition, control
Terms = dict[Term, float]


@dataclass(frozen=True)
class Measure:
    """A named sum of accuracies and the controls it has.

    Attributes:
        terms: (who, condition) to sign; who is `base`, `tuned` or `other` (the protocol compared with).
        controls: names of controls; `blank_question` replaces every term, the others those in `REPLACED`.
    """

    name: str
    terms: dict[tuple[str, str], float]
    controls: tuple[str, ...]


BLANK, ADAPTER, NEWS = "blank_question", "other_adapter", "other_news"
BASE_MEASURES = (
    Measure("closed_book", {("base", "closed_book"): 1}, (BLANK,)),
    Measure("in_context", {("base", "in_context"): 1}, (BLANK, NEWS)),
    Measure("in_context_gain", {("base", "in_context"): 1, ("base", "closed_book"): -1}, (BLANK, NEWS)),
)
TUNED_MEASURES = (
    Measure("closed_book", {("tuned", "closed_book"): 1}, (BLANK, ADAPTER)),
    Measure("in_context", {("tuned", "in_context"): 1}, (BLANK, NEWS)),
    Measure("closed_book_gain", {("tuned", "closed_book"): 1, ("base", "closed_book"): -1}, (BLANK, ADAPTER)),
    Measure("ft_icl_gap", {("base", "in_context"): 1, ("tuned", "closed_book"): -1}, (BLANK,)),
    Measure("overexposure", {("base", "in_context"): 1, ("tuned", "in_context"): -1}, (BLANK,)),
)
RETENTION = Measure("retention_change", {("tuned", "general"): 1, ("base", "general"): -1}, ())
COMPARED = {("tuned", "closed_book"): 1.0, ("other", "closed_book"): -1.0}
GAIN, IN_CONTEXT_GAIN = TUNED_MEASURES[2], BASE_MEASURES[2]


def terms_of(measure: Measure, control: str) -> Terms:
    """The terms of a measure as they are (control `none`) or under a control."""
    terms: Terms = {}
    for (who, condition), sign in measure.terms.items():
        term = (who, condition, NONE)
        if control == BLANK:
            term = (who, condition, BLANK)
        elif control == ADAPTER and who == "tuned":
            term = (who, condition, ADAPTER)
        elif control == NEWS and condition == "in_context":
            term = (who, "other_news", NONE)
        terms[term] = terms.get(term, 0.0) + sign
    return terms


class Comparison:
    """All arms of one protocol (and the one it is compared with) on one split and mode."""

    def __init__(self, arms: Mapping[Term, Arm], statistics: StatisticsSettings):
        self.arms, self.statistics = arms, statistics
        self.items = len(next(iter(arms.values())).counts)
        seeds = max(len(arm.sums) for arm in arms.values())
        self.resampler = Resampler(self.items, seeds, statistics.draws, statistics.seed)
        self._draws: dict[Term, np.ndarray] = {}

    def has(self, terms: Terms) -> bool:
        """Whether every term was scored."""
        return all(term in self.arms for term in terms)

    def estimate(self, terms: Terms) -> float:
        """The sum of the terms."""
        return sum(sign * self.arms[term].mean() for term, sign in terms.items())

    def draws(self, terms: Terms) -> np.ndarray:
        """(draws,) bootstrap values of the sum."""
        for term in terms:
            if term not in self._draws:
                self._draws[term] = self.resampler.draw(self.arms[term])
        return np.sum([sign * self._draws[term] for term, sign in terms.items()], axis=0)

    def unread(self, *several: Terms) -> float:
        """The largest share of unread answers among the terms."""
        return max(self.arms[term].unread for terms in several for term in terms)

    def interval(self, estimate: float, draws: np.ndarray) -> Interval | None:
        """None where there are too few items for an interval."""
        if self.items < self.statistics.min_items:
            return None
        return self.resampler.interval(estimate, draws, self.statistics.level, self.statistics.power)


def estimate_effects(
    answers: Sequence[Row], retention: Sequence[Row], stage: EstimateEffectsStage
) -> list[dict[str, Any]]:
    """All measures of all cells, over each split and over all.

    Args:
        answers: rows of the table `answers`, of base and tuned models.
        retention: rows of the table `retention`, likewise.

    Returns:
        Rows of the table `effects`.
    """
    rows: list[dict[str, Any]] = []
    splits = list(dict.fromkeys(row["split"] for row in answers))
    general = [_as_answer(row) for row in retention]
    for split in [ALL, *splits] if len(splits) > 1 else splits:
        for mode in dict.fromkeys(row["mode"] for row in [*answers, *general]):
            chosen = [row for row in answers if row["mode"] == mode and split in (ALL, row["split"])]
            # The base has no split: it was asked once.
            kept = [row for row in general if row["mode"] == mode and (split == ALL or row["split"] in (split, NONE))]
            effects = [*_effects_of(chosen, stage), *_retention_rows(kept, stage)]
            rows += [{**row, "split": split, "mode": mode} for row in effects]
    _correct_families(rows)
    return rows


def _effects_of(answers: Sequence[Row], stage: EstimateEffectsStage) -> Iterator[dict[str, Any]]:
    """Effects on one split and mode."""
    groups = _group(answers)
    for group, rows in groups.items():
        model, method, protocol, teacher = group
        keys = dict(zip(GROUP, group, strict=True))
        base = groups[model, NONE, NONE, NONE]
        if protocol == NONE:
            comparison = Comparison(_arms({"base": base}, base), stage.statistics)
            yield from _measure_rows(comparison, BASE_MEASURES, {**keys, "versus": None})
            continue
        rows = _complete_seeds(rows)
        if not rows:
            continue
        shared = [row for row in base if (row["split"], row["item"]) in {(r["split"], r["item"]) for r in rows}]
        comparison = Comparison(_arms({"base": shared, "tuned": rows}, rows), stage.statistics)
        yield from _measure_rows(comparison, TUNED_MEASURES, {**keys, "versus": None})
        yield from _gap_closed_rows(comparison, {**keys, "versus": None})
        for name, versus in _compared_with(protocol, stage):
            for other_teacher in dict.fromkeys((teacher, NONE)):
                other = groups.get((model, method, versus, other_teacher))
                if other is not None:
                    yield from _contrast_rows(name, rows, other, {**keys, "versus": versus}, stage)


def _as_answer(row: Row) -> dict[str, Any]:
    """A row of `retention` in the words of `answers`: its mode is task and metric, its question the document."""
    mode = "/".join([row["task"], row["metric"], *([] if row["filter"] == NONE else [row["filter"]])])
    beside = {"mode": mode, "question_id": row["document"], "condition": "general", "control": NONE}
    return {**row, **beside, "correct": row["value"]}


def _retention_rows(general: Sequence[Row], stage: EstimateEffectsStage) -> Iterator[dict[str, Any]]:
    """What each adapter has forgotten of the documents of a task; the clusters are the items whose adapters answered.

    The set of documents is taken as fixed: the interval says how much adapters differ, not documents.
    """
    groups = _group(general)
    for group, rows in groups.items():
        rows = _complete_seeds(rows)
        if group[2] == NONE or not rows:
            continue
        readers = dict.fromkeys((row["split"], row["item"]) for row in rows)
        answered = {row["question_id"]: row for row in groups[group[0], NONE, NONE, NONE]}
        questions = dict.fromkeys(row["question_id"] for row in rows)
        base = [{**answered[name], "split": split, "item": item} for split, item in readers for name in questions]
        comparison = Comparison(_arms({"base": base, "tuned": rows}, rows), stage.statistics)
        terms = terms_of(RETENTION, NONE)
        change = comparison.estimate(terms), comparison.draws(terms)
        keys = {**dict(zip(GROUP, group, strict=True)), "versus": None, "unread_share": 0.0}
        row = _row(comparison, RETENTION.name, change, None, None, keys) | {"questions": len(questions)}
        if (own := comparison.interval(*change)) is not None:
            higher = rows[0]["higher_is_better"]
            changed = "better than the base" if (own.estimate > 0) == higher else "worse than the base"
            if higher is None:  # the task does not say which way is up
                changed = "higher than the base" if own.estimate > 0 else "lower than the base"
            verdict = "no change found" if own.covers(0) else changed
            row |= {"p": own.p, "detectable": own.detectable, "verdict": verdict}
        yield row


def _group(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """The rows of each model, method, protocol and teacher."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[axis] for axis in GROUP), []).append(row)
    return groups


def _compared_with(protocol: str, stage: EstimateEffectsStage) -> list[tuple[str, str]]:
    """Which other protocols a protocol is compared with, and what that comparison is called."""
    pairs = [("shadowing", shadowed) for plain, shadowed in stage.shadow_pairs if plain == protocol]
    reference = stage.statistics.reference_protocol
    return pairs + ([("protocol_contrast", reference)] if protocol != reference else [])


def _contrast_rows(
    name: str, rows: Sequence[Row], other: Sequence[Row], keys: dict[str, Any], stage: EstimateEffectsStage
) -> Iterator[dict[str, Any]]:
    """Paired on the questions and seeds that both have."""
    both = _places(rows) & _places(other)
    rows = [row for row in rows if _place(row) in both]
    other = [row for row in other if _place(row) in both]
    if rows:
        comparison = Comparison(_arms({"tuned": rows, "other": other}, rows), stage.statistics)
        yield from _measure_rows(comparison, [Measure(name, COMPARED, (BLANK,))], keys)


def _place(row: Row) -> tuple:
    return row["split"], row["question_id"], row["seed"]


def _complete_seeds(rows: Sequence[Row]) -> list[Row]:
    """The answers of those seeds that were asked every question: a seed that lacks a split cannot be averaged in."""
    places = {(row["split"], row["question_id"]) for row in rows}
    have: dict[int | None, set[tuple[str, str]]] = {}
    for row in rows:
        have.setdefault(row["seed"], set()).add((row["split"], row["question_id"]))
    return [row for row in rows if have[row["seed"]] == places]


def _places(rows: Iterable[Row]) -> set[tuple]:
    return {_place(row) for row in rows}


def _arms(sources: Mapping[str, Sequence[Row]], scored: Sequence[Row]) -> dict[Term, Arm]:
    """Sums by seed and item for everyone, condition and control."""
    items = list(dict.fromkeys((row["split"], row["item"]) for row in scored))
    number = {item: index for index, item in enumerate(items)}
    questions = {(row["split"], row["item"], row["question_id"]) for row in scored}
    counts = np.bincount([number[split, item] for split, item, _ in questions], minlength=len(items)).astype(float)
    arms: dict[Term, Arm] = {}
    for who, rows in sources.items():
        numbers = sorted({row["seed"] for row in rows}, key=lambda seed: -1 if seed is None else seed)
        seeds = {seed: index for index, seed in enumerate(numbers)}
        sums: dict[Term, np.ndarray] = {}
        asked: dict[Term, int] = {}
        unread: dict[Term, int] = {}
        for row in rows:
            term = (who, row["condition"], row["control"])
            table = sums.setdefault(term, np.zeros((len(seeds), len(items))))
            unread[term] = unread.get(term, 0) + (row["correct"] is None)
            asked[term] = asked.get(term, 0) + 1
            table[seeds[row["seed"]], number[row["split"], row["item"]]] += row["correct"] or 0.0
        arms |= {term: Arm(table, counts, unread[term] / asked[term]) for term, table in sums.items()}
    return arms


def _measure_rows(
    comparison: Comparison, measures: Iterable[Measure], keys: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for measure in measures:
        terms = terms_of(measure, NONE)
        if not comparison.has(terms):
            continue
        draws = comparison.draws(terms)
        estimate = comparison.estimate(terms)
        found = False
        for control in measure.controls:
            under = terms_of(measure, control)
            if comparison.has(under):
                found = True
                values = (comparison.estimate(under), comparison.draws(under))
                told = {**keys, "unread_share": comparison.unread(terms, under)}
                yield _row(comparison, measure.name, (estimate, draws), control, values, told)
        if not found:
            told = {**keys, "unread_share": comparison.unread(terms)}
            yield _row(comparison, measure.name, (estimate, draws), None, None, told)


def _gap_closed_rows(comparison: Comparison, keys: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Gain over in-context gain; under the control the control's gain over the same in-context gain.

    Undefined where the interval of the in-context gain covers 0, as measured or net of its control.
    """
    gain, below = terms_of(GAIN, NONE), terms_of(IN_CONTEXT_GAIN, NONE)
    gain_blank, below_blank = terms_of(GAIN, BLANK), terms_of(IN_CONTEXT_GAIN, BLANK)
    if not (comparison.has(gain) and comparison.has(below)):
        return
    with_control = comparison.has(gain_blank) and comparison.has(below_blank)
    keys = {
        **keys,
        "unread_share": comparison.unread(gain, below, *([gain_blank, below_blank] if with_control else [])),
    }
    denominators = [(comparison.estimate(below), comparison.draws(below))]
    if with_control:
        value, draws = denominators[0]
        denominators.append((value - comparison.estimate(below_blank), draws - comparison.draws(below_blank)))
    intervals = [comparison.interval(*denominator) for denominator in denominators]
    if any(interval is None or interval.covers(0) for interval in intervals):
        verdict = TOO_FEW if intervals[0] is None else NO_GAIN
        yield {**_empty_row(comparison, "gap_closed", BLANK if with_control else None, keys), "verdict": verdict}
        return
    value, draws = denominators[0]
    ratio = (comparison.estimate(gain) / value, _ratio(comparison.draws(gain), draws))
    if not with_control:
        yield _row(comparison, "gap_closed", ratio, None, None, keys)
        return
    control = (comparison.estimate(gain_blank) / value, _ratio(comparison.draws(gain_blank), draws))
    yield _row(comparison, "gap_closed", ratio, BLANK, control, keys)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Draws of a ratio; a draw that would divide by 0 counts as infinitely large, not as missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(above / below, nan=0.0, posinf=1e9, neginf=-1e9)


def _empty_row(comparison: Comparison, name: str, control: str | None, keys: dict[str, Any]) -> dict[str, Any]:
    numbers = (
        "estimate", "low", "high", "p", "p_holm", "control_estimate", "control_low", "control_high",
        "net", "net_low", "net_high", "detectable",
    )  # fmt: skip
    arms = comparison.arms.values()
    return {
        **keys, **dict.fromkeys(numbers), "measure": name, "control": control, "items": comparison.items,
        "questions": int(next(iter(arms)).counts.sum()), "seeds": max(len(arm.sums) for arm in arms),
    }  # fmt: skip


def _row(
    comparison: Comparison, name: str, value: tuple[float, np.ndarray], control: str | None,
    under: tuple[float, np.ndarray] | None, keys: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """One row of `effects`; `under` is the measure under its control."""
    row = _empty_row(comparison, name, control, keys) | {"estimate": value[0]}
    net = None if under is None else (value[0] - under[0], value[1] - under[1])
    if under is not None and net is not None:
        row |= {"control_estimate": under[0], "net": net[0]}
    own = comparison.interval(*value)
    if own is None:
        return row | {"verdict": TOO_FEW}
    row |= {"low": own.low, "high": own.high}
    if under is None or net is None:
        return row | {"verdict": "no control was scored"}
    beside, difference = comparison.interval(*under), comparison.interval(*net)
    assert beside is not None  # as `own` is not
    assert difference is not None
    row |= {"control_low": beside.low, "control_high": beside.high, "p": difference.p}
    row |= {"net_low": difference.low, "net_high": difference.high, "detectable": difference.detectable}
    if difference.covers(0):
        return row | {"verdict": FAMILIARITY}
    return row | {"verdict": "above its control" if difference.estimate > 0 else "below its control"}


def _correct_families(rows: Sequence[dict[str, Any]]) -> None:
    """Holm's correction; a family is one measure under one control, mode and split, over all cells."""
    families: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        if row["p"] is not None:
            families.setdefault((row["measure"], row["control"], row["mode"], row["split"]), []).append(row)
    for family in families.values():
        for row, corrected in zip(family, correct_holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = corrected
