"""The table `dynamics`: measures along training.

The measures of `effects` that can be followed, at the base, at each milestone and at the end: as measured, and with the
question blanked in every term. The draws of all points of a curve are the same, so a change along it is paired.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sys2ft.analysis.bootstrap import estimate_ratio
from sys2ft.analysis.curves import (
    CLOSED,
    CONTEXT_TOKENS,
    CONTROLS,
    IN_CONTEXT,
    LOSS,
    TOKENS,
    Curve,
    Draws,
    Term,
)
from sys2ft.cost import training_flops
from sys2ft.grid import NONE
from sys2ft.settings.stages import CurvesStage

Row = dict[str, Any]
MEASURES = {
    "closed_book": (CLOSED, lambda now, _base: now),
    "in_context": (IN_CONTEXT, lambda now, _base: now),
    "closed_book_gain": (CLOSED, lambda now, base: now - base),
    "overexposure": (IN_CONTEXT, lambda now, base: base - now),
}
"""Name to a condition, and what is made of its accuracy there and of the base's."""


def trace_learning(
    answered: Sequence[Curve],
    trained: Sequence[Curve],
    parameters: Mapping[str, int],
    stage: CurvesStage,
) -> list[Row]:
    """All measures along all curves.

    Args:
        answered: curves of answers.
        trained: curves of what was trained.
        parameters: of each learner.

    Returns:
        Rows of the table `dynamics`.
    """
    draws = Draws(stage.draws, stage.seed)
    costs = {_whose(curve): curve for curve in trained}
    rows = []
    for curve in [*answered, *trained]:
        measured = _loss_rows if curve.keys["mode"] == NONE else _measure_rows
        spent = _spent(
            curve, costs[_whose(curve)], parameters[curve.keys["model"]], stage.methods[curve.keys["method"]]
        )
        rows += [row | spent[row["samples_seen"]] for row in measured(curve, draws, stage)]
    return rows


def _whose(curve: Curve) -> tuple[str, ...]:
    return tuple(value for name, value in curve.keys.items() if name != "mode")


def _spent(curve: Curve, trained: Curve, parameters: int, kind: str) -> dict[int, Row]:
    """What each point of a curve had cost, by its samples."""
    tokens, context = (trained.totals((term, NONE), curve) for term in (TOKENS, CONTEXT_TOKENS))
    return {
        int(samples): {"tokens_seen": round(read), "train_flops": training_flops(parameters, read, imitated, kind)}
        if samples
        else {"tokens_seen": None, "train_flops": None}
        for samples, read, imitated in zip(curve.samples, tokens.tolist(), context.tolist(), strict=True)
    }


def _measure_rows(curve: Curve, draws: Draws, stage: CurvesStage) -> Iterator[Row]:
    for name, (condition, made_of) in MEASURES.items():
        for control in CONTROLS:
            term: Term = (condition, control)
            if term in curve.values:
                values = curve.values[term]
                keys = {"measure": name, "control": control, "questions": int(curve.counts.sum())}
                bounds = (0.0 if name == condition else -1.0, 1.0)
                yield from _point_rows(curve, made_of(values, values[:1]), draws, stage, keys, bounds)


def _loss_rows(curve: Curve, draws: Draws, stage: CurvesStage) -> Iterator[Row]:
    keys = {"measure": LOSS, "control": NONE, "questions": None}
    yield from _point_rows(curve, curve.values[LOSS, NONE], draws, stage, keys, (0.0, np.inf))


def _point_rows(
    curve: Curve, sums: np.ndarray, draws: Draws, stage: CurvesStage, keys: Row, bounds: tuple[float, float]
) -> Iterator[Row]:
    """A row for each point of one measure; `sums` and `bounds` as in `Resampler.intervals`."""
    items = len(curve.items)
    estimates = estimate_ratio(sums, curve.counts).tolist()
    limits: list[tuple[float | None, float | None]] = [(None, None)] * len(estimates)
    if items >= stage.min_items:
        found = draws.of(curve).intervals(sums, curve.counts, stage.level, bounds=bounds)
        limits = list(zip(found.low.tolist(), found.high.tolist(), strict=True))
    for samples, estimate, (low, high) in zip(curve.samples.tolist(), estimates, limits, strict=True):
        yield {
            **curve.keys, **keys, "samples_seen": samples, "items": items, "seeds": curve.seeds,
            "estimate": estimate, "low": low, "high": high,
        }  # fmt: skip
