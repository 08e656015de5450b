"""A bootstrap clustered by item and crossed with seeds, for many quantities at once.

Questions of one item are correlated, so items are drawn, not questions. All quantities use the same draws: a difference
of two of them is thus paired. Two seeds or three are too few to draw from, and drawing them beside the items (the
product bootstrap of Owen and Eckles 2012) counts what neither explains three times. So what the seeds vary by beyond
that is estimated (the variance component of a crossed design, by its mean squares: Searle, Casella and McCulloch 1992,
"Variance Components") and drawn from a normal distribution.

With few items plain percentile intervals are too narrow. Ours are *expanded* percentile intervals (Hesterberg 2015,
"What Teachers Should Know About the Bootstrap", section 4.3): the percentiles are taken further out, so that for a mean
they agree with Student's t. Its degrees of freedom are items - 1; with several seeds they are Satterthwaite's (1946)
for the sum of the two variances.

**Test and interval are one.** The draws give every value x a score z(x): the normal quantile of the share of draws
beyond it. The interval holds the x with abs(z(x)) <= expansion * t; p is twice the tail of Student's t at
z(0) / expansion. So p <= 1 - level exactly where the interval leaves 0 out, whatever the level. Beyond the outermost
`TAIL` draws z goes on in a straight line from the estimate, so that small p values can stand a correction for many
tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import special

TAIL = 10
"""So many draws must lie beyond a percentile that is read off them."""
CHUNK_BYTES = 32e6
"""Of the draws that are held at once."""


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


@dataclass(frozen=True)
class Intervals:
    """The same for many quantities: an array for each, in their order."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    detectable: np.ndarray

    def __getitem__(self, number: int) -> Interval:
        return Interval(*(float(getattr(self, field.name)[number]) for field in fields(self)))


@dataclass(frozen=True)
class Spread:
    """How far quantities are from what they estimate.

    Attributes:
        items: (quantities,) variance that comes of the items.
        seeds: (quantities,) variance that comes of the seeds beyond that; 0 where there is one.
        df: (quantities,) degrees of freedom of their sum.
    """

    items: np.ndarray
    seeds: np.ndarray
    df: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """(quantities,) standard errors."""
        return np.sqrt(self.items + self.seeds)


class Resampler:
    """The draws that all quantities over so many items share.

    Args:
        items: how many clusters.
        draws: bootstrap draws.
        seed: of the generator.
    """

    def __init__(self, items: int, draws: int, seed: int):
        rng = np.random.default_rng(seed)
        self.items, self.number = items, draws
        self.weights = rng.multinomial(items, np.full(items, 1 / items), size=draws).astype(float)
        """(draws, items): how often each item was drawn."""
        self.normal = rng.standard_normal(draws)

    def draw(self, sums: np.ndarray, below: np.ndarray, seeds_variance: np.ndarray | float = 0.0) -> np.ndarray:
        """(quantities, draws) values of each quantity; for the arguments see `intervals`."""
        totals = sums.sum(axis=1)
        values = totals @ self.weights.T
        divisors = sums.shape[1] * (below @ self.weights.T)
        with np.errstate(divide="ignore", invalid="ignore"):
            values /= divisors
        if not divisors.all():  # a draw that would divide by 0 counts as infinitely large, not as missing
            np.nan_to_num(values, copy=False, nan=0.0, posinf=1e9, neginf=-1e9)
        shift = np.broadcast_to(np.sqrt(seeds_variance), len(sums))
        moved = np.flatnonzero(shift)
        values[moved] += shift[moved, None] * self.normal
        return values

    def intervals(
        self,
        sums: np.ndarray,
        below: np.ndarray,
        level: float,
        power: float = 0.8,
        bounds: tuple[np.ndarray | float, np.ndarray | float] = (-np.inf, np.inf),
    ) -> Intervals:
        """Interval, test and smallest detectable value of many quantities.

        A quantity is a sum over items, mean over seeds, divided by a sum over items: an accuracy is right answers over
        questions, a difference of accuracies likewise.

        Args:
            sums: (quantities, seeds, items), what is summed above the line.
            below: (items,) or (quantities, items), what is summed below it.
            level: of the intervals, as 0.95.
            power: of the smallest detectable value.
            bounds: values that a quantity cannot leave, of each or of all.
        """
        step = max(1, int(CHUNK_BYTES / (8 * self.number)))
        parts = []
        for start in range(0, len(sums), step):
            chunk = slice(start, start + step)
            parts.append(self._chunk(sums[chunk], below if below.ndim == 1 else below[chunk], level, power))
        estimate, low, high, p, detectable = (np.concatenate(some) for some in zip(*parts, strict=True))
        return Intervals(estimate, np.maximum(low, bounds[0]), np.minimum(high, bounds[1]), p, detectable)

    def _chunk(self, sums: np.ndarray, below: np.ndarray, level: float, power: float) -> tuple[np.ndarray, ...]:
        spread = measure_spread(sums, np.broadcast_to(below, (len(sums), self.items)))
        estimate = estimate_ratio(sums, below)
        draws = self.draw(sums, below, spread.seeds)
        draws.sort(axis=1)
        # The draws vary by (items - 1) / items of what the items' variance is estimated to be.
        drawn = np.sqrt(spread.items * (self.items - 1) / self.items + spread.seeds)
        expansion = np.divide(spread.error, drawn, out=np.ones_like(drawn), where=drawn > 0)
        quantile = special.stdtrit(spread.df, (1 + level) / 2)
        low, high = self._percentiles(draws, estimate, -expansion * quantile)
        p = 2 * special.stdtr(spread.df, self._score_of_zero(draws, estimate) / expansion)
        detectable = (quantile + special.stdtrit(spread.df, power)) * spread.error
        return estimate, low, high, p, detectable

    def _percentiles(self, draws: np.ndarray, estimate: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, ...]:
        """The two values whose score is `score`, from sorted draws."""
        place = np.floor(special.ndtr(score) * self.number).astype(int)
        stretch = np.where(place < TAIL, score / special.ndtri(TAIL / self.number), 1.0)
        place = np.maximum(place, TAIL)
        rows = np.arange(len(draws))
        low, high = draws[rows, place], draws[rows, self.number - 1 - place]
        return estimate + (low - estimate) * stretch, estimate + (high - estimate) * stretch

    def _score_of_zero(self, draws: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        """(quantities,) the score of 0, from sorted draws; negative, or 0 where it is no further than the median."""
        above = estimate > 0
        beyond = np.array(
            [
                row.searchsorted(0, "right") if up else len(row) - row.searchsorted(0)
                for row, up in zip(draws, above, strict=True)
            ]
        )
        score = special.ndtri(np.minimum(beyond / self.number, 0.5))
        width = estimate - draws[np.arange(len(draws)), np.where(above, TAIL, self.number - 1 - TAIL)]
        with np.errstate(divide="ignore", invalid="ignore"):
            further = special.ndtri(TAIL / self.number) * np.abs(estimate / width)
        return np.where(estimate == 0, 0.0, np.where(beyond <= TAIL, further, score))


def estimate_ratio(sums: np.ndarray, below: np.ndarray) -> np.ndarray:
    """(quantities,) estimates; for the arguments see `Resampler.intervals`."""
    return sums.sum(axis=(1, 2)) / (sums.shape[1] * below.sum(axis=-1))


def measure_spread(sums: np.ndarray, below: np.ndarray) -> Spread:
    """The variance of each quantity, linearised, by where it comes from.

    Items and seeds are two crossed random factors. The mean square of the seeds holds what neither explains as well;
    less that, it is the seeds' own variance (at least 0).

    Args:
        sums: (quantities, seeds, items).
        below: (quantities, items).
    """
    _, seeds, items = sums.shape
    if items == 1:  # nothing tells how far an item is from others
        return Spread(*np.zeros((3, len(sums))))
    influence = (sums - estimate_ratio(sums, below)[:, None, None] * below[:, None]) / below.mean(axis=1)[:, None, None]
    by_item = influence.mean(axis=1)
    of_items = (by_item**2).sum(axis=1) / (items * (items - 1))
    if seeds == 1:
        return Spread(of_items, np.zeros(len(sums)), np.full(len(sums), items - 1.0))
    by_seed = influence.mean(axis=2)
    rest = influence - by_item[:, None] - by_seed[:, :, None]
    unexplained = (rest**2).sum(axis=(1, 2)) / ((items - 1) * (seeds - 1) * items * seeds)
    of_seeds = np.maximum(0.0, (by_seed**2).sum(axis=1) / (seeds * (seeds - 1)) - unexplained)
    uncertainty = of_items**2 / (items - 1) + of_seeds**2 / (seeds - 1)
    df = np.full(len(sums), items - 1.0)
    np.divide((of_items + of_seeds) ** 2, uncertainty, out=df, where=uncertainty > 0)
    return Spread(of_items, of_seeds, df)


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979) of one family, in the given order."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.minimum(1.0, np.arange(len(values), 0, -1) * values[order])
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(steps)
    return corrected.tolist()
