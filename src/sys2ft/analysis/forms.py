"""The candidate forms of a scaling law: how a measure follows from an amount x and a model's size N.

constant          f(y) = level                                  the null: x and N do not matter
log_linear        f(y) = intercept + slope ln x                 one curve for all sizes: a collapse on x
log_linear_size   f(y) = intercept + slope ln x + size_slope ln N
power             y = end + (start - end) (1 + x / scale)^-exponent          a power law between floor and ceiling
power_size        the same with N^size_exponent x in place of x
chinchilla        y = E + A / N^alpha + B / x^beta              Hoffmann et al. 2022, arXiv 2203.15556, section 3.3

y is a loss or a chance-corrected accuracy, and f the scale on which its distance to what was data.y counts: ln for a
loss, the logit for an accuracy. N is in units of 10^9 parameters, but in parameters in `chinchilla`, as published.

A form is fitted in coordinates of its own (`theta`), with centred logarithms and bounds, and told in the parameters
above.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import special

BILLION = 1e9
EXPONENTS = (0.01, 5.0)
"""Bounds of an exponent: below, nothing changes over any range that is data.y; above, it is no power law but an
exponential. An interval that reaches them is open."""
SIZE_EXPONENTS = (-5.0, 5.0)
BEYOND = 12.0
"""How far, in ln x, a scale may lie outside of the data."""


@dataclass(frozen=True)
class Link:
    """A scale: there, back, and its slope at a value."""

    to: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


LOG = Link(np.log, np.exp, lambda y: 1 / y)
LOGIT = Link(special.logit, special.expit, lambda y: 1 / (y * (1 - y)))


class Data:
    """What a form is fitted to.

    Args:
        x: (points,), above 0.
        size: (points,), parameters of the model.
        y: (points,), what was data.y, on the scale of the link.
        error: (points,), the unit of a residual: standard errors on that scale, or 1.
        delta: from which residual on the Huber loss is linear, in that unit.
        link: the scale of the measure.
        limits: on that scale; what is predicted beyond them counts as being at them, as what was data.y does.
    """

    def __init__(
        self, x: np.ndarray, size: np.ndarray, y: np.ndarray, error: np.ndarray, delta: float, link: Link,
        limits: tuple[float, float] = (-np.inf, np.inf),
    ) -> None:  # fmt: skip
        self.y, self.error, self.delta, self.link, self.limits = y, error, delta, link, limits
        self.mean_x, self.mean_size = float(np.log(x).mean()), float(np.log(size).mean())
        self.ln_x, self.ln_size = np.log(x) - self.mean_x, np.log(size) - self.mean_size


Evaluated = tuple[np.ndarray, np.ndarray]
Told = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Form:
    """One form.

    Attributes:
        parameters: their names; there are as many coordinates.
        exponents: those that must be known within bounds for the form to be identified.
        sized: whether the size of the model has a part in it.
        evaluate: (theta (..., p), data) to the prediction on the link's scale (..., points) and its Jacobian
            (..., points, p).
        starts: points to start from, (starts, p).
        bounds: (p, 2).
        told: (theta, data) to the parameters, each (...,).
        value: (parameters, x, N in parameters, link) to y.
    """

    parameters: tuple[str, ...]
    exponents: tuple[str, ...]
    sized: bool
    evaluate: Callable[[np.ndarray, Data], Evaluated]
    starts: Callable[[Data], np.ndarray]
    bounds: Callable[[Data], np.ndarray]
    told: Callable[[np.ndarray, Data], dict[str, np.ndarray]]
    value: Callable[[Told, np.ndarray, np.ndarray, Link], np.ndarray]


def _grid(*axes: Sequence[float]) -> np.ndarray:
    """All combinations, (combinations, axes)."""
    return np.array(list(itertools.product(*axes)))


# -------------------------------------------------------------------------------------------------------------- linear
LINEAR = ("intercept", "slope", "size_slope")


def _linear(parameters: tuple[str, ...]) -> Form:
    """A form that is linear on the scale of the link."""
    p = len(parameters)

    def design(data: Data) -> np.ndarray:
        return np.stack([np.ones_like(data.ln_x), data.ln_x, data.ln_size][:p], axis=-1)

    def evaluate(theta: np.ndarray, data: Data) -> Evaluated:
        columns = design(data)
        return theta @ columns.T, np.broadcast_to(columns, (*theta.shape[:-1], *columns.shape))

    def starts(data: Data) -> np.ndarray:
        least_squares = np.linalg.lstsq(design(data), data.y, rcond=None)[0]
        return np.stack([least_squares, [np.median(data.y), *[0.0] * (p - 1)]])

    def bounds(_data: Data) -> np.ndarray:
        return np.array([[-np.inf, np.inf]] * p)

    def told(theta: np.ndarray, data: Data) -> dict[str, np.ndarray]:
        slopes = [theta[..., index] if index < p else 0.0 for index in (1, 2)]
        at_one = theta[..., 0] - slopes[0] * data.mean_x - slopes[1] * (data.mean_size - np.log(BILLION))
        return dict(zip(parameters, (at_one, *slopes), strict=False))

    def value(told: Told, x: np.ndarray, size: np.ndarray, link: Link) -> np.ndarray:
        by_x = told["slope"] * np.log(x) if p > 1 else 0.0 * x
        by_size = told["size_slope"] * np.log(size / BILLION) if p > 2 else 0.0
        return link.back(told[parameters[0]] + by_x + by_size)

    return Form(parameters, (), p > 2, evaluate, starts, bounds, told, value)


# --------------------------------------------------------------------------------------------------------------- power
POWER = ("start", "end", "scale", "exponent")


def _power_evaluate(theta: np.ndarray, data: Data) -> Evaluated:
    """theta: start and end on the link's scale, ln scale and exponent, and that of the size where there is one."""
    start, end, scale, exponent = (theta[..., [index]] for index in range(4))
    sized = theta.shape[-1] > 4
    relative = data.ln_x - scale + (theta[..., [4]] * data.ln_size if sized else 0.0)
    grown = np.logaddexp(0.0, relative)  # ln(1 + x / scale)
    left = np.exp(-exponent * grown)
    first, last = data.link.back(start), data.link.back(end)
    y = last + (first - last) * left
    slope = data.link.slope(y)
    turned = -exponent * (first - last) * left * special.expit(relative)  # dy / d relative
    parts = [
        left / data.link.slope(first),
        (1 - left) / data.link.slope(last),
        -turned,
        (last - first) * left * grown,
    ]
    if sized:
        parts.append(turned * data.ln_size)
    return data.link.to(y), np.stack([slope * part for part in np.broadcast_arrays(*parts)], axis=-1)


def _power_starts(data: Data, sized: bool) -> np.ndarray:
    low, high = data.y.min(), data.y.max()
    rises = np.dot(data.ln_x, data.y) >= 0
    first, last = (low, high) if rises else (high, low)
    reach = 0.5 * (last - first)
    scales = np.quantile(data.ln_x, [0.1, 0.35, 0.6, 0.85])
    axes = [[first, first - reach], [last, last + reach], scales, [0.25, 0.6, 1.5], [-0.7, 0.0, 0.7, 1.4]]
    return _grid(*axes[: 5 if sized else 4])


def _power_bounds(data: Data, sized: bool) -> np.ndarray:
    low, high = data.limits
    ends = [low if np.isfinite(low) else data.y.min() - 5, high if np.isfinite(high) else data.y.max() + 5]
    scale = [data.ln_x.min() - BEYOND, data.ln_x.max() + BEYOND]
    return np.array([ends, ends, scale, EXPONENTS, *([SIZE_EXPONENTS] if sized else [])])


def _power_told(theta: np.ndarray, data: Data) -> dict[str, np.ndarray]:
    size = theta[..., 4] if theta.shape[-1] > 4 else np.zeros(theta.shape[:-1])
    scale = np.exp(theta[..., 2] + data.mean_x + size * (data.mean_size - np.log(BILLION)))
    told = (data.link.back(theta[..., 0]), data.link.back(theta[..., 1]), scale, theta[..., 3], size)
    return dict(zip((*POWER, "size_exponent")[: theta.shape[-1]], told, strict=False))


def _power_value(told: Told, x: np.ndarray, size: np.ndarray, _link: Link) -> np.ndarray:
    larger = (size / BILLION) ** told["size_exponent"] if "size_exponent" in told else 1.0
    return told["end"] + (told["start"] - told["end"]) * (1 + larger * x / told["scale"]) ** -told["exponent"]


def _power(sized: bool) -> Form:
    names = (*POWER, "size_exponent") if sized else POWER
    starts, bounds = partial(_power_starts, sized=sized), partial(_power_bounds, sized=sized)
    return Form(names, names[3:], sized, _power_evaluate, starts, bounds, _power_told, _power_value)


# ---------------------------------------------------------------------------------------------------------- chinchilla
CHINCHILLA = ("E", "A", "alpha", "B", "beta")


def _chinchilla_evaluate(theta: np.ndarray, data: Data) -> Evaluated:
    """theta: ln E, ln A, alpha, ln B, beta at centred logarithms, for the link of a loss."""
    floor, a, alpha, b, beta = (theta[..., [index]] for index in range(5))
    terms = np.stack(np.broadcast_arrays(floor, a - alpha * data.ln_size, b - beta * data.ln_x))
    y = special.logsumexp(terms, axis=0)
    of_floor, of_size, of_x = np.exp(terms - y)
    return y, np.stack([of_floor, of_size, -of_size * data.ln_size, of_x, -of_x * data.ln_x], axis=-1)


def _chinchilla_starts(data: Data) -> np.ndarray:
    """As Hoffmann et al. from a grid over all; theirs is over ln A and ln B, ours over shares of the loss."""
    lowest, middle = np.exp(data.y.min()), np.exp(np.median(data.y))
    starts = []
    for share, part, alpha, beta in _grid([0.3, 0.6, 0.9], [0.25, 0.5, 0.75], [0.1, 0.4, 1.0], [0.1, 0.4, 1.0]):
        above = max(middle - share * lowest, 1e-6)
        starts.append([np.log(share * lowest), np.log(part * above), alpha, np.log((1 - part) * above), beta])
    return np.array(starts)


def _chinchilla_bounds(data: Data) -> np.ndarray:
    ends = [data.y.min() - 20, data.y.max() + 5]
    return np.array([ends, ends, EXPONENTS, ends, EXPONENTS])


def _chinchilla_told(theta: np.ndarray, data: Data) -> dict[str, np.ndarray]:
    floor, a, alpha, b, beta = np.moveaxis(theta, -1, 0)
    told = (np.exp(floor), np.exp(a + alpha * data.mean_size), alpha, np.exp(b + beta * data.mean_x), beta)
    return dict(zip(CHINCHILLA, told, strict=True))


def _chinchilla_value(told: Told, x: np.ndarray, size: np.ndarray, _link: Link) -> np.ndarray:
    return told["E"] + told["A"] * size ** -told["alpha"] + told["B"] * x ** -told["beta"]


FORMS = {
    "constant": _linear(("level",)),
    "log_linear": _linear(LINEAR[:2]),
    "log_linear_size": _linear(LINEAR),
    "power": _power(sized=False),
    "power_size": _power(sized=True),
    "chinchilla": Form(
        CHINCHILLA, ("alpha", "beta"), True, _chinchilla_evaluate, _chinchilla_starts, _chinchilla_bounds,
        _chinchilla_told, _chinchilla_value,
    ),
}  # fmt: skip
