"""Learners compared on the same questions and seeds, and quantities that are estimated together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sys2ft.analysis.bootstrap import Interval, Resampler
from sys2ft.analysis.measures import Terms, Who
from sys2ft.analysis.scores import UNREAD, Scores
from sys2ft.grid import NONE
from sys2ft.settings.choices import StatisticsSettings


@dataclass
class Quantity:
    """Something to be estimated.

    Attributes:
        estimate: its value.
        interval: with it; None until it was estimated, and where there are too few items.
    """

    estimate: float
    interval: Interval | None = None


class Comparison:
    """Learners on the questions that all were asked.

    Args:
        who: `base`, `tuned`, `other`, to places in `scores.learners`.
        seeds: places of the seeds that all tuned models have.
        questions: places of questions.
    """

    def __init__(self, scores: Scores, who: Mapping[str, int], seeds: np.ndarray, questions: np.ndarray):
        self.scores, self.who, self.seeds, self.questions = scores, who, seeds, questions
        self.terms = {term: number for number, term in enumerate(scores.terms)}
        of = scores.item_of[questions]
        self.starts = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
        self.counts = np.diff(np.append(self.starts, len(questions))).astype(float)
        self._answers: dict[Who, tuple[np.ndarray, float] | None] = {}

    def has(self, terms: Terms) -> bool:
        """Whether every term was scored, on every question."""
        return all(self._answered(term) is not None for term in terms)

    def sums(self, terms: Terms) -> np.ndarray:
        """(seeds, items): the terms with their signs, summed over an item's questions; of bases alone, one seed."""
        found = np.zeros((1, len(self.counts)))
        for term, sign in terms.items():
            answered = self._answered(term)
            assert answered is not None
            found = found + sign * answered[0]
        return found

    def unread(self, *several: Terms) -> float:
        """The largest share of unread answers among the terms."""
        return max(self._answers[term][1] for terms in several for term in terms)  # type: ignore[index]

    def _answered(self, term: Who) -> tuple[np.ndarray, float] | None:
        """(seeds, items) sums of one term and its share of unread answers; None where it was not scored."""
        if term not in self._answers:
            self._answers[term] = self._read(*term)
        return self._answers[term]

    def _read(self, who: str, condition: str, control: str) -> tuple[np.ndarray, float] | None:
        learner, term = self.who[who], self.terms.get((condition, control))
        if term is None:
            return None
        is_base = self.scores.learners[learner][2] == NONE
        seeds = np.zeros(1, dtype=int) if is_base else self.seeds  # a base has no seed and stands in the first place
        places = np.ix_(seeds, self.questions)
        states = self.scores.states[learner, term][places]
        if not states.all():
            return None
        sums = np.add.reduceat(self.scores.values[learner, term][places], self.starts, axis=1)
        return sums, float((states == UNREAD).mean())


@dataclass
class Estimator:
    """Quantities that wait until they are estimated all at once; of as many items they share their draws."""

    statistics: StatisticsSettings
    resamplers: dict[int, Resampler] = field(default_factory=dict)
    waiting: dict[tuple, list[tuple[Quantity, np.ndarray, np.ndarray, float, float]]] = field(default_factory=dict)

    def add(self, comparison: Comparison, terms: Terms) -> Quantity:
        """A sum of accuracies."""
        lowest, highest = (sum(sign for sign in terms.values() if sign * side > 0) for side in (-1, 1))
        return self._wait(comparison.sums(terms), comparison.counts, (comparison.counts.tobytes(),), lowest, highest)

    def add_unbounded(self, comparison: Comparison, terms: Terms) -> Quantity:
        """The same of values that have no bounds."""
        return self._wait(comparison.sums(terms), comparison.counts, (comparison.counts.tobytes(),))

    def add_ratio(self, comparison: Comparison, above: Terms, below: Terms) -> Quantity:
        """A sum of accuracies over another, of bases."""
        return self._wait(comparison.sums(above), comparison.sums(below)[0], ())

    def _wait(
        self, sums: np.ndarray, below: np.ndarray, key: tuple, lowest: float = -np.inf, highest: float = np.inf
    ) -> Quantity:
        divisor = len(sums) * below.sum()
        quantity = Quantity(float(sums.sum() / divisor) if divisor else np.nan)
        if divisor and sums.shape[1] >= self.statistics.min_items:
            self.waiting.setdefault((*sums.shape, *key), []).append((quantity, sums, below, lowest, highest))
        return quantity

    def run(self) -> None:
        """Estimate what waits."""
        for (_, items, *shared), waiting in self.waiting.items():
            if items not in self.resamplers:
                self.resamplers[items] = Resampler(items, self.statistics.draws, self.statistics.seed)
            quantities, sums, below, lowest, highest = zip(*waiting, strict=True)
            found = self.resamplers[items].intervals(
                np.stack(sums),
                below[0] if shared else np.stack(below),
                self.statistics.level,
                self.statistics.power,
                (np.array(lowest), np.array(highest)),
            )
            for number, quantity in enumerate(quantities):
                quantity.interval = found[number]
        self.waiting.clear()
