"""What a scaling law is fitted to: the points of all learners that were trained alike, on the scale of the fit.

An accuracy is corrected for chance, q = (accuracy - chance) / (1 - chance), and compared on the logit scale, on which
neither floor nor ceiling can be crossed. Near them the logit of a count is all noise, so q is clipped: below at the
standard error of q at chance (what cannot be told from guessing has no place on the scale), above at half a question
from all right. The unit of a residual is the point's standard error on that scale, from the bootstrap, but not below
the binomial one of (right + 1/2) / (questions + 1): a bootstrap of all right or all wrong has none.

A loss is compared on the logarithmic scale, without weights (Hoffmann et al. 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sys2ft.analysis.curves import (
    CLOSED,
    CONTEXT_TOKENS,
    CONTROLS,
    LOSS,
    SAMPLES,
    TOKENS,
    Curve,
    Draws,
)
from sys2ft.analysis.fitting import ACCURACY_DELTA, LOSS_DELTA
from sys2ft.analysis.forms import LOG, LOGIT, Data, Link
from sys2ft.cost import total, training_flops
from sys2ft.grid import NONE
from sys2ft.settings.base import WRITTEN
from sys2ft.settings.stages import FitScalingLawStage

ALIKE = ("method", "protocol", "teacher", "split", "mode")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """The points of one measure, of several models; the base, which has seen nothing, is no point.

    Attributes:
        keys: method, protocol, teacher, split, mode, measure and control.
        items: clusters of the bootstrap.
        models: (points,), names.
        size: (points,), parameters.
        amounts: for each x (points,); None where it is unknown.
        ends: (points,), whether it is the end of the training.
        values: (points,), the measure.
        drawn: (draws, points), bootstrap draws of it.
        chance: of a guess; None for a loss.
        questions: how many answers the least asked point has.
    """

    keys: dict[str, str]
    items: int
    models: np.ndarray
    size: np.ndarray
    amounts: dict[str, np.ndarray | None]
    ends: np.ndarray
    values: np.ndarray
    drawn: np.ndarray
    chance: float | None
    questions: int

    @property
    def link(self) -> Link:
        """The scale of the fit."""
        return LOG if self.chance is None else LOGIT

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values of q, or of a loss, a point is fitted."""
        if self.chance is None:
            return np.finfo(float).tiny, np.inf
        lower = np.sqrt(self.chance * (1 - self.chance) / self.questions) / (1 - self.chance)
        return max(lower, 0.5 / self.questions), 1 - 0.5 / self.questions

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Values of the measure on the scale of the fit."""
        corrected = values if self.chance is None else (values - self.chance) / (1 - self.chance)
        return self.link.to(np.clip(corrected, *self.limits))

    def data(self, x: str, chosen: np.ndarray) -> Data:
        """The chosen points, to be fitted."""
        amounts = self.amounts[x]
        assert amounts is not None
        where = amounts[chosen], self.size[chosen], self.scaled(self.values[chosen])
        if self.chance is None:
            return Data(*where, np.ones(chosen.sum()), LOSS_DELTA, LOG)
        low, high = LOGIT.to(np.array(self.limits)).tolist()
        return Data(*where, self._errors()[chosen], ACCURACY_DELTA, LOGIT, (low, high))

    def _errors(self) -> np.ndarray:
        """(points,): standard errors on the scale of the fit, by the delta method."""
        assert self.chance is not None
        share = (self.values * self.questions + 0.5) / (self.questions + 1)
        error = np.maximum(self.drawn.std(axis=0), np.sqrt(share * (1 - share) / self.questions)) / (1 - self.chance)
        return error * LOGIT.slope(LOGIT.back(self.scaled(self.values)))


def chances(questions: Sequence[Row]) -> dict[tuple[str, str], float]:
    """The accuracy of a guess among the options, mean over the questions of each (split, item)."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in questions:
        found.setdefault((row["split"], row["item"]), []).append(1 / len(row["options"]))
    return {item: sum(several) / len(several) for item, several in found.items()}


def _chance(curve: Curve, guesses: Mapping[tuple[str, str], float]) -> float:
    """By mode: a statement is one of two, and who writes is shown no options."""
    if curve.keys["mode"] in WRITTEN:
        return 0.0
    if curve.keys["mode"] == "statement":
        return 0.5
    return float(np.dot(curve.counts, [guesses[item] for item in curve.items]) / curve.counts.sum())


def build_panels(
    answered: Sequence[Curve],
    trained: Sequence[Curve],
    cells: Sequence[Row],
    guesses: Mapping[tuple[str, str], float],
    parameters: Mapping[str, int],
    stage: FitScalingLawStage,
) -> list[Panel]:
    """Closed-book accuracies, as measured and blanked, and losses of all learners that were trained alike.

    A model that was not run on all items of the others is left out.

    Args:
        answered, trained: curves.
        cells: rows of the table `cells`.
        guesses: of `chances`.
        parameters: of each model.
    """
    draws, panels = Draws(stage.draws, stage.seed), []
    costs = {tuple(curve.keys[name] for name in ("model", *ALIKE[:-1])): curve for curve in trained}
    for group in _alike([*answered, *trained]):
        largest = max((curve.items for curve in group), key=len)
        group = [curve for curve in group if curve.items == largest]
        paid = [costs[tuple(curve.keys[name] for name in ("model", *ALIKE[:-1]))] for curve in group]
        spent = [
            _amounts(curve, cost, cells, parameters[curve.keys["model"]], stage.methods[curve.keys["method"]])
            for curve, cost in zip(group, paid, strict=True)
        ]
        loss = group[0].keys["mode"] == NONE
        for term in [(LOSS, NONE)] if loss else [(CLOSED, control) for control in CONTROLS]:
            if all(term in curve.values for curve in group):
                chance = None if loss else _chance(group[0], guesses)
                panels.append(_panel(group, term, spent, chance, draws))
    return panels


def _alike(curves: Sequence[Curve]) -> list[list[Curve]]:
    """The curves that differ in the model only."""
    groups: dict[tuple[str, ...], list[Curve]] = {}
    for curve in curves:
        groups.setdefault(tuple(curve.keys[name] for name in ALIKE), []).append(curve)
    return list(groups.values())


def _panel(
    group: Sequence[Curve], term: tuple[str, str], spent: Sequence[dict], chance: float | None, draws: Draws
) -> Panel:
    points = [curve.samples > 0 for curve in group]
    lengths = [int(some.sum()) for some in points]
    unknown = {name for told in spent for name, values in told.items() if values is None}
    amounts = {name: None if name in unknown else np.concatenate([told[name] for told in spent]) for name in spent[0]}
    keys = {name: group[0].keys[name] for name in ALIKE} | {"measure": term[0], "control": term[1]}
    size = amounts["parameters"]
    assert size is not None
    return Panel(
        keys=keys,
        items=len(group[0].items),
        models=np.repeat([curve.keys["model"] for curve in group], lengths),
        size=size,
        amounts=amounts,
        ends=np.concatenate([np.arange(length) == length - 1 for length in lengths]),
        values=np.concatenate([curve.means(term)[some] for curve, some in zip(group, points, strict=True)]),
        drawn=np.concatenate(
            [draws.means(curve, term)[:, some] for curve, some in zip(group, points, strict=True)], axis=1
        ),
        chance=chance,
        questions=int(min(curve.counts.sum() * curve.seeds for curve in group)),
    )


def _amounts(
    curve: Curve, cost: Curve, cells: Sequence[Row], parameters: int, kind: str
) -> dict[str, np.ndarray | None]:
    """What each trained point of a curve had taken: for each x (points,), None where it is unknown."""
    points = curve.samples > 0
    samples = curve.samples[points]
    tokens, context, seen = (cost.totals((term, NONE), curve)[points] for term in (TOKENS, CONTEXT_TOKENS, SAMPLES))
    flops = np.array([training_flops(parameters, *read, kind) for read in zip(tokens, context, strict=True)])
    teacher = _teacher_flops(curve, seen, cells)
    return {
        "samples_seen": samples.astype(float),
        "train_flops": flops,
        "total_flops": None if teacher is None else flops + teacher,
        "parameters": np.full(len(samples), float(parameters)),
    }


def _teacher_flops(curve: Curve, samples: np.ndarray, cells: Sequence[Row]) -> np.ndarray | None:
    """(points,): what writing had taken, summed over splits, mean over seeds; None where it is unknown."""
    # ASSUME: after so many sequences no more study rows were needed than that, and all rows cost the same: a smaller
    # budget has the first rows of a larger one.
    splits = {split for split, _ in curve.items}
    names = ("model", "method", "protocol", "teacher")
    own = [row for row in cells if row["split"] in splits and all(row[name] == curve.keys[name] for name in names)]
    ran = {seed: {row["split"] for row in own if row["seed"] == seed} for seed in {row["seed"] for row in own}}
    own = [row for row in own if ran[row["seed"]] == splits]  # a seed that lacks a split is not averaged in
    flops = total([row["teacher_flops"] for row in own])
    seeds = len({row["seed"] for row in own})
    if flops is None:
        return None
    rows = sum((row["study_rows"] or 0) * (row["study_kept"] or 0.0) for row in own) / seeds
    share = np.minimum(1.0, samples / rows) if rows else np.zeros(len(samples))
    return share * flops / seeds
