"""Fitting a form: a Huber loss, several starts of L-BFGS, and all bootstrap draws refitted at once.

As Hoffmann et al. 2022 (arXiv 2203.15556, approach 3), whose Huber loss of 10^-3 on the logarithm of a loss is
`LOSS_DELTA`. The best of a grid of starts are minimised by L-BFGS-B (Byrd et al. 1995). Bootstrap draws are refitted
from the fit to the data by Levenberg and Marquardt's method on reweighted residuals (Holland and Welsch 1977), all
draws in one array.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from sys2ft.analysis.forms import Data, Form

LOSS_DELTA = 1e-3
"""Hoffmann et al. 2022, section 3.3; on ln loss."""
ACCURACY_DELTA = 1.345
"""In standard errors of a point: 95 % efficient where errors are normal (Huber 1981, Robust Statistics)."""
STARTS = 5
"""How many starts, the best of the form's grid, are minimised."""
STEPS = 60
FLAT = 1e-5
"""A refit ends with a step that gains less, relatively."""


@dataclass(frozen=True)
class Fit:
    """A form fitted to points.

    Attributes:
        theta: (p,), its coordinates.
        huber: the sum of the Huber losses.
        likelihood: logarithm of the likelihood, up to what all forms share.
        points: how many it was fitted to.
    """

    theta: np.ndarray
    huber: float
    likelihood: float
    points: int

    @property
    def free(self) -> int:
        """Numbers that were fitted: the form's parameters, and the width of the errors."""
        return len(self.theta) + 1

    def aic(self) -> float | None:
        """Akaike's criterion, corrected for few points (Hurvich and Tsai 1989); None where they are too few for it."""
        left = self.points - self.free - 1
        if left <= 0:
            return None
        return 2 * self.free - 2 * self.likelihood + 2 * self.free * (self.free + 1) / left

    def bic(self) -> float:
        """Schwarz's criterion."""
        return float(self.free * np.log(self.points) - 2 * self.likelihood)


def fit(form: Form, data: Data) -> Fit:
    """The least sum of Huber losses that was found."""
    bounds = form.bounds(data)
    starts = np.clip(form.starts(data), bounds[:, 0], bounds[:, 1])
    losses = _huber(form, data, starts)
    order = np.argsort(losses, kind="stable")[:STARTS]
    unit = max(losses[order[0]], 1e-300)  # or L-BFGS would stop at once where losses are small

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        residuals, jacobian = _residuals(form, data, theta, data.y)
        total = special.huber(data.delta, residuals).sum()
        return float(total / unit), -jacobian.T @ np.clip(residuals, -data.delta, data.delta) / unit

    options = {"maxiter": 200, "ftol": 1e-10, "gtol": 1e-8}
    found = [
        optimize.minimize(objective, starts[index], jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        for index in order
    ]
    # The Huber loss has corners, at which L-BFGS may stop too early.
    polished = refit(form, data, np.array(found), np.tile(data.y, (len(found), 1)))
    losses = _huber(form, data, polished)
    best = int(np.argmin(losses))
    huber = float(losses[best])
    return Fit(polished[best], huber, _likelihood(huber, len(data.y), data.delta), len(data.y))


def refit(form: Form, data: Data, theta: np.ndarray, y: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Fit the same form to other values at the same points, from coordinates that are near.

    Args:
        theta: (draws, p) to start from.
        y: (draws, points), on the scale of the link.
        counts: (draws, points), how often each point counts; None: once.

    Returns:
        (draws, p).
    """
    bounds = form.bounds(data)
    theta = np.clip(theta, bounds[:, 0], bounds[:, 1])
    counts = np.ones_like(y) if counts is None else counts
    residuals, jacobian = _residuals(form, data, theta, y)
    losses = (counts * special.huber(data.delta, residuals)).sum(axis=-1)
    damping = np.full(len(theta), 1e-3)
    left = np.arange(len(theta))  # the draws that still gain; residuals and Jacobian are theirs
    for _ in range(STEPS):
        step = _step(residuals, jacobian, counts[left], data.delta, damping[left], theta[left], bounds)
        tried = np.clip(theta[left] + step, bounds[:, 0], bounds[:, 1])
        tried_residuals, tried_jacobian = _residuals(form, data, tried, y[left])
        gain = losses[left] - (counts[left] * special.huber(data.delta, tried_residuals)).sum(axis=-1)
        better = gain > 0
        settled = better & (gain <= FLAT * losses[left])
        theta[left[better]] = tried[better]
        losses[left[better]] -= gain[better]
        damping[left] = np.clip(np.where(better, damping[left] / 5, damping[left] * 5), 1e-9, None)
        residuals = np.where(better[:, None], tried_residuals, residuals)
        jacobian = np.where(better[:, None, None], tried_jacobian, jacobian)
        goes_on = ~settled & (damping[left] < 1e6)
        left, residuals, jacobian = left[goes_on], residuals[goes_on], jacobian[goes_on]
        if not len(left):
            break
    return theta


def _step(
    residuals: np.ndarray, jacobian: np.ndarray, counts: np.ndarray, delta: float, damping: np.ndarray,
    theta: np.ndarray, bounds: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(draws, p): the damped Gauss-Newton step; what stands at a bound and would leave it stays."""
    weights = counts * np.minimum(1.0, delta / np.maximum(np.abs(residuals), 1e-300))
    gradient = np.einsum("dnp,dn->dp", jacobian, weights * residuals)
    held = ((theta <= bounds[:, 0]) & (gradient < 0)) | ((theta >= bounds[:, 1]) & (gradient > 0))
    jacobian = np.where(held[:, None, :], 0.0, jacobian)
    curvature = np.matmul(np.swapaxes(jacobian * weights[..., None], 1, 2), jacobian)
    diagonal = np.einsum("dpp->dp", curvature)  # a view
    diagonal += damping[:, None] * diagonal + 1e-12 * diagonal.max(axis=-1, keepdims=True) + 1e-300
    return np.linalg.solve(curvature, np.where(held, 0.0, gradient)[..., None])[..., 0]


def _residuals(form: Form, data: Data, theta: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (..., points) in units of the error, and the Jacobian of the prediction in them (..., points, p)."""
    predicted, jacobian = form.evaluate(theta, data)
    low, high = data.limits
    inside = (predicted > low) & (predicted < high)
    jacobian = np.where(inside[..., None], jacobian, 0.0) / data.error[:, None]
    return (y - np.clip(predicted, low, high)) / data.error, jacobian


def _huber(form: Form, data: Data, theta: np.ndarray) -> np.ndarray:
    """(...,): the sums of the Huber losses."""
    return special.huber(data.delta, _residuals(form, data, theta, data.y)[0]).sum(axis=-1)


def _likelihood(huber: float, points: int, delta: float) -> float:
    """The largest log-likelihood under the errors for which the Huber fit is the likeliest.

    These have the density exp(-huber(r) / t) / Z(t) with a width t (Huber 1964, section 4), which is fitted too:

    Z(t) = sqrt(2 pi t) erf(delta / sqrt(2 t)) + 2 t / delta exp(-delta^2 / 2 t).
    """
    huber = max(huber, points * 1e-16 * delta**2)  # a perfect fit has no width

    def negative(ln_width: float) -> float:
        width = np.exp(ln_width)
        normal = np.sqrt(2 * np.pi * width) * special.erf(delta / np.sqrt(2 * width))
        tails = 2 * width / delta * np.exp(-(delta**2) / (2 * width))
        return float(points * np.log(normal + tails) + huber / width)

    middle = np.log(huber / points)
    return -float(optimize.minimize_scalar(negative, bounds=(middle - 3, middle + 3), method="bounded").fun)
