"""Intervals hold the truth as often as they say, and tests reject as often as they may: on simulated studies."""

import numpy as np
import pytest

from sys2ft.analysis.bootstrap import Intervals, Resampler, measure_spread
from tests.unit.simulated import simulate

STUDIES = 4000  # a share of 95 % has a standard error of 0.34 points
SEEDS = [(1, 0.0), (3, 0.0), (3, 0.02)]


def estimate(sums: np.ndarray, level: float = 0.95) -> Intervals:
    """One quantity a study."""
    return Resampler(sums.shape[2], 4000, seed=1).intervals(sums, np.full(sums.shape[2], 5.0), level, 0.8)


def coverage(found: Intervals, truth: float) -> float:
    return float(((found.low <= truth) & (truth <= found.high)).mean())


@pytest.mark.parametrize(("seeds", "spread"), SEEDS)
@pytest.mark.parametrize("icc", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("items", [15, 75])
def test_intervals_cover_and_the_paired_test_holds_its_level(items, icc, seeds, spread):
    """Of an accuracy; of two arms that are alike, on the same questions, of which any difference found is an error."""
    arms = simulate(STUDIES, items, icc, seeds, spread)
    assert coverage(estimate(arms[:, 0]), 0.5) == pytest.approx(0.95, abs=0.015)
    difference = estimate(arms[:, 0] - arms[:, 1])
    assert coverage(difference, 0.0) == pytest.approx(0.95, abs=0.015)
    rejected = difference.p <= 0.05
    assert rejected.mean() == pytest.approx(0.05, abs=0.015)
    assert (rejected == ((difference.low > 0) | (difference.high < 0))).all()


def test_an_accuracy_far_from_a_half_is_covered_too():
    arms = simulate(STUDIES, 15, 0.15, accuracies=(0.25, 0.8))
    assert coverage(estimate(arms[:, 0]), 0.25) == pytest.approx(0.95, abs=0.015)
    assert coverage(estimate(arms[:, 1]), 0.8) == pytest.approx(0.95, abs=0.015)


def test_seeds_taken_for_fixed_would_cover_too_little():
    """Why seeds are crossed: three seeds whose accuracies differ by 3 points, on 75 items that do not differ."""
    arms = simulate(1000, 75, 0.0, 3, 0.03)[:, 0]
    fixed = estimate(arms.mean(axis=1, keepdims=True))
    assert coverage(fixed, 0.5) < 0.9
    assert coverage(estimate(arms), 0.5) > coverage(fixed, 0.5) + 0.05


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_the_variance_is_estimated_without_bias(spread):
    """What is estimated within each study agrees with how much studies differ; cut at 0 it is a little too large."""
    arms = simulate(STUDIES, 30, 0.1, 5, spread)[:, 0]
    found = measure_spread(arms, np.full((STUDIES, 30), 5.0))
    true = (arms.sum(axis=2).mean(axis=1) / 150).var()
    assert (found.items + found.seeds).mean() == pytest.approx(true, rel=0.08)
