"""Forms and their fit: derivatives, minima, and exponents that were published."""

import csv
import os
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special

from sys2ft.analysis.fitting import ACCURACY_DELTA, LOSS_DELTA, Fit, _likelihood, fit, refit
from sys2ft.analysis.forms import FORMS, LOG, LOGIT, Data

SIZES = np.repeat([0.5e9, 1.5e9, 3e9, 7e9, 14e9, 32e9], 8)
SAMPLES = np.tile(8.0 * 2 ** np.arange(8), 6)
HOFFMANN = {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28}
"""Hoffmann et al. 2022, arXiv 2203.15556, equation 10."""
BESIROGLU = {"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658}
"""Besiroglu et al. 2024, arXiv 2404.10102, equation 5."""
DIGITISED = "SYS2FT_CHINCHILLA"


def accuracies(noise: float = 0.03) -> Data:
    """Chance-corrected accuracies of six sizes, larger ones with fewer samples."""
    q = 0.8 - 0.75 * (1 + (SIZES / 1e9) ** 0.5 * SAMPLES / 60) ** -0.9
    q = np.clip(q + np.random.default_rng(1).normal(0, noise, len(q)), 0.03, 0.999)
    error = 0.03 / (q * (1 - q))
    return Data(SAMPLES, SIZES, special.logit(q), error, ACCURACY_DELTA, LOGIT, tuple(special.logit([0.03, 0.999])))


def losses(noise: float = 0.01) -> Data:
    y = 1.2 + 0.5 * (SIZES / 1e9) ** -0.3 + 2 * SAMPLES**-0.4
    y = np.log(y) + np.random.default_rng(1).normal(0, noise, len(y))
    return Data(SAMPLES, SIZES, y, np.ones(len(y)), LOSS_DELTA, LOG)


CASES = [(name, make) for name in FORMS for make in (accuracies, losses) if (name, make) != ("chinchilla", accuracies)]


@pytest.mark.parametrize(("name", "make"), CASES)
def test_a_form_has_the_derivatives_that_it_says(name, make):
    form, data = FORMS[name], make()
    for theta in form.starts(data)[:: max(1, len(form.starts(data)) // 7)]:
        _, jacobian = form.evaluate(theta, data)
        for index in range(len(theta)):
            step = np.zeros(len(theta))
            step[index] = 1e-6
            change = (form.evaluate(theta + step, data)[0] - form.evaluate(theta - step, data)[0]) / 2e-6
            assert jacobian[:, index] == pytest.approx(change, abs=1e-5, rel=1e-4)


@pytest.mark.parametrize(("name", "make"), CASES)
def test_a_form_is_told_in_parameters_that_give_the_same_curve(name, make):
    form, data = FORMS[name], make()
    for theta in form.starts(data)[::9]:
        told = form.told(theta, data)
        assert tuple(told) == form.parameters
        drawn = form.value(told, SAMPLES, SIZES, data.link)
        assert data.link.to(np.broadcast_to(drawn, SAMPLES.shape)) == pytest.approx(form.evaluate(theta, data)[0])


@pytest.mark.parametrize(("name", "make"), CASES)
def test_a_fit_is_a_minimum_and_a_refit_finds_it_from_nearby(name, make):
    form, data = FORMS[name], make()
    found = fit(form, data)
    rng, bounds = np.random.default_rng(0), form.bounds(data)

    def huber(theta):
        predicted = np.clip(form.evaluate(theta, data)[0], *data.limits)
        return special.huber(data.delta, (data.y - predicted) / data.error).sum(axis=-1)

    near = np.clip(found.theta + rng.normal(0, 0.02, (200, len(found.theta))), bounds[:, 0], bounds[:, 1])
    assert huber(found.theta) == pytest.approx(found.huber)
    assert (huber(near) >= found.huber * (1 - 1e-4)).all()
    again = refit(form, data, near[:20], np.tile(data.y, (20, 1)))
    assert huber(again) == pytest.approx(found.huber, rel=5e-3)


def test_points_that_are_counted_twice_weigh_as_much_as_two():
    form, data = FORMS["log_linear_size"], accuracies()
    counts = np.random.default_rng(0).multinomial(48, np.full(48, 1 / 48)).astype(float)
    weighted = refit(form, data, fit(form, data).theta[None], data.y[None], counts[None])
    repeated = np.repeat(np.arange(48), counts.astype(int))
    twice = Data(
        SAMPLES[repeated], SIZES[repeated], data.y[repeated], data.error[repeated], data.delta, LOGIT, data.limits
    )
    told, expected = form.told(weighted[0], data), form.told(fit(form, twice).theta, twice)
    for name in form.parameters:
        assert told[name] == pytest.approx(expected[name], rel=1e-2)


@pytest.mark.parametrize(("huber", "points", "delta"), [(20.0, 40, 1.345), (1e-3, 240, 1e-3), (3.0, 10, 1.345)])
def test_the_likelihood_is_that_of_errors_whose_density_the_huber_loss_is(huber, points, delta):
    """Of all widths the largest, by numerical integration of the density."""

    def likelihood(width):
        def density(r):
            return np.exp(-special.huber(delta, r) / width)

        scale = max(np.sqrt(width), width / delta)
        ends = [0, *(scale * np.array([0.1, 1, 10, 60]))]
        norm = 2 * sum(integrate.quad(density, low, high)[0] for low, high in pairwise(ends))
        return -points * np.log(norm) - huber / width

    widths = huber / points * np.geomspace(0.2, 5, 60)
    assert _likelihood(huber, points, delta) == pytest.approx(max(map(likelihood, widths)), abs=0.05)


def test_criteria_count_the_width_of_the_errors_and_the_points():
    found = Fit(np.zeros(2), 1.0, -10.0, 12)
    assert found.aic() == pytest.approx(2 * 3 + 20 + 2 * 3 * 4 / (12 - 3 - 1))
    assert found.bic() == pytest.approx(3 * np.log(12) + 20)
    assert Fit(np.zeros(2), 1.0, -10.0, 4).aic() is None


def test_the_simplest_form_that_is_true_has_the_best_criteria():
    rng = np.random.default_rng(3)
    y = 0.2 + 0.4 * np.log(SAMPLES / 64) + rng.normal(0, 0.1, 48)
    data = Data(SAMPLES, SIZES, y, np.full(48, 0.1), ACCURACY_DELTA, LOGIT, (-7.0, 7.0))
    found = {name: fit(FORMS[name], data) for name in FORMS if name != "chinchilla"}
    assert min(found, key=lambda name: found[name].bic()) == "log_linear"
    assert found["log_linear_size"].huber <= found["log_linear"].huber


# ----------------------------------------------------------------------------------------------------------- published
def bootstrap(x, size, loss, draws=200):
    """The Chinchilla form and intervals of its parameters over points, as Besiroglu et al. draw them."""
    form, data = FORMS["chinchilla"], Data(x, size, np.log(loss), np.ones(len(x)), LOSS_DELTA, LOG)
    theta = fit(form, data).theta
    counts = np.random.default_rng(0).multinomial(len(x), np.full(len(x), 1 / len(x)), draws).astype(float)
    drawn = form.told(refit(form, data, np.tile(theta, (draws, 1)), np.tile(data.y, (draws, 1)), counts), data)
    return form.told(theta, data), {name: np.quantile(values, [0.025, 0.975]) for name, values in drawn.items()}


@pytest.mark.parametrize("truth", [HOFFMANN, BESIROGLU], ids=["Hoffmann", "Besiroglu"])
def test_the_published_chinchilla_fits_are_recovered_from_data_simulated_at_them(truth):
    """240 models over the sizes and amounts of Hoffmann et al., with errors as wide as those of the digitised data."""
    rng = np.random.default_rng(1)
    size = np.exp(rng.uniform(np.log(5e7), np.log(1.5e10), 240))
    x = np.exp(rng.uniform(np.log(3), np.log(300), 240)) * size
    loss = truth["E"] + truth["A"] * size ** -truth["alpha"] + truth["B"] * x ** -truth["beta"]
    found, intervals = bootstrap(x, size, loss * np.exp(rng.laplace(0, 0.004, 240)))
    for name, value in truth.items():
        assert intervals[name][0] <= value <= intervals[name][1], name
    for name in ("alpha", "beta"):
        assert found[name] == pytest.approx(truth[name], abs=0.03)


@pytest.mark.skipif(
    DIGITISED not in os.environ, reason=f"the digitised data have no licence; {DIGITISED} names the file"
)
def test_the_published_chinchilla_fit_is_recovered_from_the_digitised_data():
    """`data/svg_extracted_data.csv` of epoch-research/analyzing-chinchilla, without the five largest losses."""
    with open(os.environ[DIGITISED], encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    size, flops, loss = (
        np.array([float(row[name]) for row in rows]) for name in ("Model Size", "Training FLOP", "loss")
    )
    kept = loss < np.sort(loss)[-5]
    found, intervals = bootstrap((flops / (6 * size))[kept], size[kept], loss[kept])
    assert found["alpha"] == pytest.approx(0.348, abs=0.002)
    assert found["beta"] == pytest.approx(0.366, abs=0.002)
    for name, value in BESIROGLU.items():
        assert intervals[name][0] <= value <= intervals[name][1], name
