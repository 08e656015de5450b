"""Answers of learners who do not exist, of which the truth is known."""

import numpy as np
from scipy import stats


def latent(correlation: float) -> float:
    """What two normal variables correlate by whose signs correlate by `correlation`: Sheppard's formula."""
    return float(np.sin(np.pi / 2 * correlation))


def simulate(
    studies: int,
    items: int,
    icc: float,
    seeds: int = 1,
    seed_spread: float = 0.0,
    accuracies: tuple[float, float] = (0.5, 0.5),
    correlation: float = 0.3,
    seed_correlation: float = 0.5,
    questions: int = 5,
    number: int = 0,
) -> np.ndarray:
    """Right answers of two arms.

    An answer is right where a normal variable is large enough: a sum of what arms, items, questions, seeds and nothing
    else have in common. Answers of a seed to two questions of an item correlate by `icc`, of two seeds to a question by
    `seed_correlation`, of two arms to a question by `correlation` and to two questions of an item by `icc` times that.
    Correlations are exact where an accuracy is 0.5 and there is no seed spread.

    Args:
        studies: how many, each with items, questions and seeds of its own.
        seed_spread: standard deviation of a seed's true accuracy, about.
        number: of the generator.

    Returns:
        (studies, 2, seeds, items), summed over an item's questions.
    """
    rng = np.random.default_rng(number)
    arm_item, both_item = latent(icc), latent(icc * correlation)
    arm_question, both_question = latent(seed_correlation if seeds > 1 else max(correlation, icc)), latent(correlation)
    by_seed = (seed_spread / stats.norm.pdf(0)) ** 2
    shares = {
        (1, 1, items, 1): both_item,
        (2, 1, items, 1): arm_item - both_item,
        (1, 1, items, questions): both_question - both_item,
        (2, 1, items, questions): arm_question - both_question - (arm_item - both_item),
        (2, seeds, 1, 1): by_seed,
    }
    shares = {shape: max(0.0, share) for shape, share in shares.items()}
    shares[2, seeds, items, questions] = shares.get((2, seeds, items, questions), 0.0) + 1 - sum(shares.values())
    value = sum(
        np.sqrt(share) * rng.standard_normal((studies, *shape), dtype=np.float32)
        for shape, share in shares.items()
        if share
    )
    limits = stats.norm.ppf(accuracies).astype(np.float32).reshape(2, 1, 1, 1)
    return (value < limits).sum(axis=-1).astype(float)
