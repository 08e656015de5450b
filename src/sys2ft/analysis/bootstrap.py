"""A bootstrap clustered by item and crossed with seeds, shared by all quantities of a comparison.

Questions of one item are correlated, so items are drawn, not questions; where there are several seeds they are drawn
too, independently of the items (Owen and Eckles 2012, the product bootstrap). All quantities use the same draws: a
difference of two of them is thus paired.

With few items plain percentile intervals are too narrow. Ours are *expanded* percentile intervals (Hesterberg 2015,
"What Teachers Should Know About the Bootstrap", section 4.3): the percentiles are taken further out, so that for a mean
they agree with Student's t with items - 1 degrees of freedom.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Arm:
    """What one model did under one condition.

    Attributes:
        sums: (seeds, items), correct answers summed over an item's questions.
        counts: (items,), questions of each item.
        unread: share of the answers that name no option; they are none of the correct ones.
    """

    sums: np.ndarray
    counts: np.ndarray
    unread: float = 0.0

    def mean(self) -> float:
        """Accuracy over all questions and seeds."""
        return float(self.sums.mean(axis=0).sum() / self.counts.sum())


@dataclass(frozen=True)
class Interval:
    """An estimate, its interval, and what the design could have seen."""

    estimate: float
    low: float
    high: float
    p: float
    """Two-sided test that the true value is 0."""
    detectable: float
    """The smallest true value that this design finds with the stated power."""

    def covers(self, value: float) -> bool:
        """Whether the interval contains `value`."""
        return self.low <= value <= self.high


class Resampler:
    """The draws of one comparison.

    Args:
        items: how many clusters.
        seeds: how many seeds the tuned arms have.
        draws: bootstrap draws.
        seed: of the generator.
    """

    def __init__(self, items: int, seeds: int, draws: int, seed: int):
        rng = np.random.default_rng(seed)
        self.items = items
        self.weights = rng.multinomial(items, np.full(items, 1 / items), size=draws).astype(float)
        self.seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds

    def draw(self, arm: Arm) -> np.ndarray:
        """(draws,) accuracies of an arm; one with a single seed (a base model) varies over items alone."""
        sums = arm.sums[0] if len(arm.sums) == 1 else self.seed_weights @ arm.sums
        return (self.weights * sums).sum(axis=1) / (self.weights @ arm.counts)

    def interval(self, estimate: float, draws: np.ndarray, level: float, power: float) -> Interval:
        """The expanded percentile interval of a quantity, with test and smallest detectable value."""
        df = self.items - 1
        tail = (1 - level) / 2
        expansion = math.sqrt(self.items / df)
        outer = stats.norm.cdf(expansion * stats.t.ppf(tail, df))
        low, high = np.quantile(draws, [outer, 1 - outer])
        error = float(draws.std()) * expansion
        ratio = abs(estimate) / error if error else float("inf") if estimate else 0.0
        p = float(2 * stats.t.sf(ratio, df))
        detectable = float(stats.t.ppf(1 - tail, df) + stats.t.ppf(power, df)) * error
        return Interval(estimate, float(low), float(high), p, detectable)


def correct_holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979) of one family, in the given order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = running
    return corrected
