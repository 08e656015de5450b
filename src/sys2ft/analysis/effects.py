"""From answers to effects: every measure of every learner beside its controls, with intervals, tests and verdicts.

Quantities are collected for a split and mode, estimated together on the same draws (`bootstrap`), and told row by row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sys2ft.analysis.bootstrap import Interval, correct_holm
from sys2ft.analysis.comparison import Comparison, Estimator, Quantity
from sys2ft.analysis.measures import (
    BASE_MEASURES,
    BLANK,
    FAMILIARITY,
    FAMILIES,
    GAIN,
    IN_CONTEXT_GAIN,
    NO_CONTROL,
    NO_GAIN,
    RETENTION,
    TOO_FEW,
    TUNED_MEASURES,
    Measure,
    Terms,
    add_terms,
    contrast,
    terms_of,
)
from sys2ft.analysis.scores import LEARNER, Learner, Scores, read_changes, read_scores
from sys2ft.grid import NONE
from sys2ft.settings.stages import EstimateEffectsStage

ALL = "all"
Keys = dict[str, Any]
NUMBERS = (
    "estimate", "low", "high", "p", "p_holm", "control_estimate", "control_low", "control_high", "net", "net_low",
    "net_high", "detectable",
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """A row of `effects` whose quantities wait to be estimated.

    Attributes:
        keys: what of it is known.
        own: the measure.
        under: the measure under its control; None without one.
        net: the difference.
        needs: quantities that must differ from 0, or the measure is undefined.
        judge: the verdict where there is no control; None: that there is none.
    """

    keys: Keys
    own: Quantity
    under: Quantity | None = None
    net: Quantity | None = None
    needs: tuple[Quantity, ...] = ()
    judge: Callable[[Interval], str] | None = None


def estimate_effects(answers: pa.Table, retention: pa.Table, stage: EstimateEffectsStage) -> list[dict[str, Any]]:
    """All measures of all learners, over each split and over all.

    Args:
        answers: of base and tuned models at the end of their training, with `scores.COLUMNS`.
        retention: the table `retention`.

    Returns:
        Rows of the table `effects`.
    """
    scored = dict(read_scores(answers))
    changed = {mode: (scores, higher) for mode, higher, scores in read_changes(retention)}
    splits = answers["split"].unique().to_pylist()
    estimator = Estimator(stage.statistics)
    rows: list[dict[str, Any]] = []
    for split in [ALL, *splits] if len(splits) > 1 else splits:
        for mode in dict.fromkeys([*scored, *changed]):
            drafts: list[Draft] = []
            if mode in scored:
                drafts += Drafts(scored[mode], split, estimator).of_answers(stage)
            if mode in changed:
                drafts += Drafts(changed[mode][0], split, estimator).of_retention(changed[mode][1])
            estimator.run()
            rows += [{**finish_row(draft), "split": split, "mode": mode} for draft in drafts]
    correct_families(rows)
    return rows


class Drafts:
    """The rows of one split and mode.

    Args:
        scores: of the mode.
        split: its name, or `all`.
        estimator: what quantities are added to.
    """

    def __init__(self, scores: Scores, split: str, estimator: Estimator):
        self.scores, self.estimator = scores, estimator
        within = np.arange(len(scores.item_of)) if split == ALL else np.flatnonzero(scores.splits == split)
        asked = np.any(scores.asked[:, :, within], axis=(1, 2))
        self.within = within
        self.learners = {learner: n for n, learner in enumerate(scores.learners) if asked[n]}

    def of_answers(self, stage: EstimateEffectsStage) -> Iterator[Draft]:
        """All measures of all learners, learner by learner."""
        smaller = previous_models(self.learners, stage.models)
        for learner in self.learners:
            model, method, protocol, teacher = learner
            base = (model, NONE, NONE, NONE)
            who = {"base": base} if protocol == NONE else {"base": base, "tuned": learner}
            if (comparison := self._compare(who, of=learner)) is not None:
                keys = keys_of(learner)
                yield from self._measures(comparison, BASE_MEASURES if protocol == NONE else TUNED_MEASURES, keys)
                if protocol != NONE:
                    yield from self._gap_closed(comparison, keys)
            if protocol != NONE:
                for name, versus, prefix in compared_with(protocol, stage):
                    for other_teacher in dict.fromkeys((teacher, NONE)):
                        keys = keys_of(learner) | {"versus": versus, "prefix": prefix}
                        yield from self._contrast(name, learner, (model, method, versus, other_teacher), keys)
            if learner in smaller:
                keys = keys_of(learner) | {"versus": smaller[learner][0]}
                yield from self._contrast("size_contrast", learner, smaller[learner], keys)

    def of_retention(self, higher_is_better: bool | None) -> Iterator[Draft]:
        """What each adapter has forgotten of a task's documents; the clusters are the items whose adapters answered.

        The set of documents is taken as fixed: the interval says how much adapters differ, not documents.
        """
        for learner in self.learners:
            if (comparison := self._compare({"tuned": learner}, of=learner)) is not None:
                keys = self._told(comparison, RETENTION.name, None, keys_of(learner)) | {"unread_share": 0.0}
                keys["questions"] = int(comparison.counts.max())  # every adapter reads the same documents
                own = self.estimator.add_unbounded(comparison, terms_of(RETENTION))
                yield Draft(keys, own, judge=lambda found: judge_change(found, higher_is_better))

    def _compare(self, who: dict[str, Learner], of: Learner) -> Comparison | None:
        """Learners on the questions that one of them was asked; None where no seed has them all."""
        places = {name: self.learners[learner] for name, learner in who.items()}
        seeds, questions = self.scores.complete(self.learners[of], within=self.within)
        return Comparison(self.scores, places, seeds, questions) if len(seeds) else None

    def _contrast(self, name: str, learner: Learner, other: Learner, keys: Keys) -> Iterator[Draft]:
        """Paired on the questions and seeds that both have."""
        if other not in self.learners:
            return
        places = {"tuned": self.learners[learner], "other": self.learners[other]}
        seeds, questions = self.scores.complete(*places.values(), within=self.within)
        if len(seeds):
            yield from self._measures(Comparison(self.scores, places, seeds, questions), [contrast(name)], keys)

    def _measures(self, comparison: Comparison, measures: Iterable[Measure], keys: Keys) -> Iterator[Draft]:
        for measure in measures:
            terms = terms_of(measure)
            if not comparison.has(terms):
                continue
            own = self.estimator.add(comparison, terms)
            under = {control: terms_of(measure, control) for control in measure.controls}
            under = {control: some for control, some in under.items() if comparison.has(some)}
            for control, some in under.items():
                told = self._told(comparison, measure.name, control, keys, terms, some)
                net = self.estimator.add(comparison, add_terms((1, terms), (-1, some)))
                yield Draft(told, own, self.estimator.add(comparison, some), net)
            if not under:
                yield Draft(self._told(comparison, measure.name, None, keys, terms), own)

    def _gap_closed(self, comparison: Comparison, keys: Keys) -> Iterator[Draft]:
        """Gain over in-context gain; under the control the control's gain over the same in-context gain.

        Undefined where the interval of the in-context gain covers 0, as measured or net of its control.
        """
        gain, below = terms_of(GAIN), terms_of(IN_CONTEXT_GAIN)
        gain_blank, below_blank = terms_of(GAIN, BLANK), terms_of(IN_CONTEXT_GAIN, BLANK)
        if not (comparison.has(gain) and comparison.has(below)):
            return
        add = self.estimator
        own, needs = add.add_ratio(comparison, gain, below), [add.add(comparison, below)]
        if not (comparison.has(gain_blank) and comparison.has(below_blank)):
            yield Draft(self._told(comparison, "gap_closed", None, keys, gain, below), own, needs=tuple(needs))
            return
        told = self._told(comparison, "gap_closed", BLANK, keys, gain, below, gain_blank, below_blank)
        under = add.add_ratio(comparison, gain_blank, below)
        net = add.add_ratio(comparison, add_terms((1, gain), (-1, gain_blank)), below)
        needs.append(add.add(comparison, add_terms((1, below), (-1, below_blank))))
        yield Draft(told, own, under, net, tuple(needs))

    def _told(self, comparison: Comparison, name: str, control: str | None, keys: Keys, *several: Terms) -> Keys:
        """What a row says beside its figures."""
        tuned = any(self.scores.learners[place][2] != NONE for place in comparison.who.values())
        return {
            **keys, "measure": name, "control": control, "family": FAMILIES[name], "items": len(comparison.counts),
            "questions": int(comparison.counts.sum()), "seeds": len(comparison.seeds) if tuned else 1,
            "unread_share": comparison.unread(*several) if several else 0.0,
        }  # fmt: skip


def keys_of(learner: Learner) -> Keys:
    """The first columns of a row."""
    return {**dict(zip(LEARNER, learner, strict=True)), "versus": None, "prefix": None}


def compared_with(protocol: str, stage: EstimateEffectsStage) -> list[tuple[str, str, str | None]]:
    """What protocols are compared with: the comparison's name, the other protocol, and the prefix in shadowing."""
    pairs = [("shadowing", shadowed, prefix) for plain, shadowed, prefix in stage.shadow_pairs if plain == protocol]
    reference = stage.statistics.reference_protocol
    return pairs + ([("protocol_contrast", reference, None)] if protocol != reference else [])


def previous_models(learners: Iterable[Learner], models: Sequence[str]) -> dict[Learner, Learner]:
    """For each learner the same with the model before it, of those that were run.

    Neighbours only: n models make n - 1 contrasts, which ask what the next size adds. All pairs would make
    n (n - 1) / 2; the others are sums of these, and correcting for them would cost those that are asked about.

    Args:
        models: in the order of the grid.
    """
    found: dict[Learner, Learner] = {}
    last: dict[tuple[str, ...], Learner] = {}
    for learner in sorted(learners, key=lambda learner: models.index(learner[0])):
        if learner[1:] in last:
            found[learner] = last[learner[1:]]
        last[learner[1:]] = learner
    return found


def finish_row(draft: Draft) -> dict[str, Any]:
    """One row of `effects`, but for split, mode and Holm's correction."""
    row = {**draft.keys, **dict.fromkeys(NUMBERS)}
    own, under, net = draft.own, draft.under, draft.net
    found = [quantity.interval for quantity in draft.needs]
    if any(interval is None or interval.covers(0) for interval in found):
        return row | {"verdict": TOO_FEW if found[0] is None else NO_GAIN}
    row["estimate"] = own.estimate
    if under is not None and net is not None:
        row |= {"control_estimate": under.estimate, "net": net.estimate}
    if own.interval is None:
        return row | {"verdict": TOO_FEW}
    row |= {"low": own.interval.low, "high": own.interval.high}
    if under is None or net is None:
        row |= {"detectable": own.interval.detectable}
        judged = draft.judge and {"p": own.interval.p, "verdict": draft.judge(own.interval)}
        return row | (judged or {"verdict": NO_CONTROL})
    assert under.interval is not None  # as that of `own` is not
    assert net.interval is not None
    row |= {"control_low": under.interval.low, "control_high": under.interval.high}
    row |= {"net_low": net.interval.low, "net_high": net.interval.high}
    row |= {"p": net.interval.p, "detectable": net.interval.detectable}
    if net.interval.covers(0):
        return row | {"verdict": FAMILIARITY}
    return row | {"verdict": "above its control" if net.estimate > 0 else "below its control"}


def judge_change(found: Interval, higher_is_better: bool | None) -> str:
    """The verdict on a change by the task's own direction."""
    if found.covers(0):
        return "no change found"
    if higher_is_better is None:  # the task does not say which way is up
        return "higher than the base" if found.estimate > 0 else "lower than the base"
    return "better than the base" if (found.estimate > 0) == higher_is_better else "worse than the base"


def correct_families(rows: Sequence[dict[str, Any]]) -> None:
    """Holm's correction of each family, over all learners of a study: one control, mode and split at a time."""
    families: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        if row["p"] is not None:
            families.setdefault(tuple(row[key] for key in ("family", "control", "mode", "split")), []).append(row)
    for family in families.values():
        for row, corrected in zip(family, correct_holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = corrected
