"""What a design can detect before it is run.

The variance of an accuracy p over n items of m questions is v = p (1 - p) / (n m) times 1 + (m - 1) icc, the design
effect of questions that stand in clusters (Kish 1965, "Survey Sampling"). The mean of s seeds, whose answers to a
question correlate by c, has w = v - p (1 - p) / (n m) (1 - c) (1 - 1 / s). The difference of two arms, whose answers to
a question correlate by r, has 2 (w - r v). The smallest difference that is found with a wanted power is t(level) +
t(power) standard errors, of Student's t with n - 1 degrees of freedom (Donner and Klar 2000, "Design and Analysis of
Cluster Randomization Trials"; of evaluations of language models Miller 2024, arXiv 2411.00640), as in `detectable`.

# ASSUME: seeds average out what they differ by on a question, and not what makes an item easy or hard.
# ASSUME: the differences of two arms correlate within an item as the answers do: arms differ item by item.
# ASSUME: a contrast and its control are independent, so that net of it the variance is twice as large.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from sys2ft.analysis.scores import Scores
from sys2ft.errors import InputError

LIMIT = 10_000_000
"""Items beyond which a design is not looked at."""


@dataclass(frozen=True)
class Design:
    """A study that is planned.

    Attributes:
        items: clusters.
        questions: of each item.
        seeds: of each tuned model.
        accuracy: that is expected; 0.5 is the least favourable.
        icc: correlation of two questions of an item.
        correlation: of two arms' answers to a question.
        seed_correlation: of two seeds' answers to a question.
        level: of the intervals.
        power: with which a difference is to be found.
    """

    items: int
    questions: int
    seeds: int = 1
    accuracy: float = 0.5
    icc: float = 0.15
    correlation: float = 0.5
    seed_correlation: float = 0.75
    level: float = 0.95
    power: float = 0.8

    def check(self, source: str = "sys2ft power") -> "Design":
        """The same, or why it cannot be.

        Raises:
            InputError: a value is out of its range.
        """
        for name, least in (("items", 2), ("questions", 1), ("seeds", 1)):
            if getattr(self, name) < least:
                raise InputError(source, f"--{name}", f"is {getattr(self, name)}", f"write {least} or more")
        for name, low in (("accuracy", 0.0), ("icc", 0.0), ("correlation", 0.0), ("level", 0.5), ("power", 0.5)):
            value = getattr(self, name)
            if not (low <= value < 1) or (name == "accuracy" and value == 0):
                raise InputError(source, f"--{name}", f"is {value:g}", f"write a number from {low:g} up to 1")
        if not self.correlation <= self.seed_correlation <= 1:
            problem = f"is {self.seed_correlation:g}, and two arms correlate by {self.correlation:g}"
            raise InputError(source, "--seed-correlation", problem, "seeds of one arm differ less than two arms")
        return self

    def errors(self) -> dict[str, float]:
        """The standard error of each thing that is planned for."""
        single = self.accuracy * (1 - self.accuracy) / (self.items * self.questions)
        seed = single * (1 + (self.questions - 1) * self.icc)
        mean = seed - single * (1 - self.seed_correlation) * (1 - 1 / self.seeds)
        paired = 2 * (mean - self.correlation * seed)
        variances = {"accuracy": mean, "contrast": paired, "net_contrast": 2 * paired}
        return {name: float(np.sqrt(max(0.0, variance))) for name, variance in variances.items()}

    def detectable(self) -> dict[str, float]:
        """The smallest difference of each that is found with the wanted power."""
        df = self.items - 1
        factor = special.stdtrit(df, (1 + self.level) / 2) + special.stdtrit(df, self.power)
        return {name: float(factor * error) for name, error in self.errors().items()}

    def items_needed(self, difference: float) -> dict[str, int]:
        """The fewest items with which each finds a difference."""
        return {name: self._fewest(name, difference) for name in self.errors()}

    def _fewest(self, name: str, difference: float) -> int:
        def enough(items: int) -> bool:
            return replace(self, items=items).detectable()[name] <= difference

        most = 2
        while not enough(most):
            most *= 2
            if most > LIMIT:
                raise InputError("sys2ft power", "--difference", f"needs over {LIMIT} items", "write a larger one")
        return bisect.bisect_left(range(2, most + 1), True, key=enough) + 2


WORDS = {
    "accuracy": "one accuracy against chance",
    "contrast": "two arms, paired",
    "net_contrast": "two arms, net of a control",
}


def plan(design: Design, difference: float | None = None) -> list[dict[str, Any]]:
    """A row for each thing that is planned for; with the items needed where a difference is wanted."""
    if difference is not None and not 0 < difference < 1:
        raise InputError("sys2ft power", "--difference", f"is {difference:g}", "write a number between 0 and 1")
    errors, detectable = design.errors(), design.detectable()
    needed = {} if difference is None else design.items_needed(difference)
    return [
        {"what": WORDS[name], "standard_error": errors[name], "detectable": detectable[name]}
        | ({"items_needed": needed[name]} if needed else {})
        for name in errors
    ]


def estimate_icc(several: Sequence[Scores]) -> float:
    """The correlation of two questions of an item, closed book, pooled over learners, seeds and modes.

    The analysis-of-variance estimator (Donner 1986, "A Review of Inference Procedures for the Intraclass Correlation
    Coefficient"): from the mean squares between and within items.

    Raises:
        ValueError: no item has two questions, or there is one item.
    """
    between = within = size = 0.0
    for scores in several:
        if ("closed_book", "none") not in scores.terms:
            continue
        term = scores.terms.index(("closed_book", "none"))
        for learner in range(len(scores.learners)):
            for seed in range(scores.states.shape[2]):
                asked = np.flatnonzero(scores.states[learner, term, seed])
                found = _mean_squares(scores.item_of[asked], scores.values[learner, term, seed, asked])
                between, within, size = between + found[0], within + found[1], max(size, found[2])
    if not between + within:
        raise ValueError("no correlation within items can be estimated: nothing differs, or no item has two questions")
    return max(0.0, (between - within) / (between + (size - 1) * within))


def _mean_squares(item_of: np.ndarray, values: np.ndarray) -> tuple[float, float, float]:
    """Between items, within them, and the mean number of questions of an item as that estimator has it."""
    counts = np.bincount(item_of)
    counts = counts[counts > 0]
    items, questions = len(counts), len(values)
    if items < 2 or questions == items:
        return 0.0, 0.0, 0.0
    _, number = np.unique(item_of, return_inverse=True)
    means = np.bincount(number, weights=values) / counts
    between = float((counts * (means - values.mean()) ** 2).sum() / (items - 1))
    within = float(((values - means[number]) ** 2).sum() / (questions - items))
    return between, within, float((questions - (counts**2).sum() / questions) / (items - 1))
