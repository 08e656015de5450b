"""The table `scaling`: forms of a scaling law fitted, compared, and said to be identified or not.

A verdict goes by these rules, in this order. *Not identifiable*:

1. fewer points than the form's parameters and three (the corrected criterion of Akaike needs them);
2. fewer sizes of models than `min_sizes`: size and amount cannot be told apart;
3. fewer items than `min_items`: no interval;
4. not better than a constant by `SUPPORT` in AICc;
5. an exponent whose interval reaches its bounds, or a slope whose interval covers 0;
6. the largest model, left out, is predicted no better than by a constant.

What is left is *identified*, with what the criteria say of it beside the others, and whether sizes collapse on x.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sys2ft.analysis.curves import expanded_limits
from sys2ft.analysis.fitting import Fit, fit, refit
from sys2ft.analysis.forms import EXPONENTS, FORMS, LOG, LOGIT, SIZE_EXPONENTS, Form
from sys2ft.analysis.panels import Panel
from sys2ft.progress import progress_bar
from sys2ft.settings.stages import FitScalingLawStage

NOT = "not identifiable"
CONSTANT = "constant"
SUPPORT = 4.0
"""A form that is worse by so much has considerably less support (Burnham and Anderson 2002, section 2.6)."""
SIZED = {"log_linear": ("log_linear_size", "size_slope"), "power": ("power_size", "size_exponent")}
"""Forms of one curve for all sizes: the same with a term for the size, and that term."""
SEEN = ("samples_seen", "train_flops", "total_flops")
Row = dict[str, Any]


def predict(
    form: str,
    parameters: Sequence[Mapping[str, Any]],
    x: np.ndarray,
    size: np.ndarray | float,
    chance: float | None = None,
) -> np.ndarray:
    """A fitted curve, as it is drawn.

    Args:
        form: its name.
        parameters: of a row of `scaling`.
        x: amounts, above 0.
        size: parameters of the model.
        chance: of that row: an accuracy is returned; None: a loss.
    """
    told = {entry["name"]: np.asarray(entry["value"], float) for entry in parameters}
    return _measure(FORMS[form], told, np.asarray(x, float), np.asarray(size, float), chance)


def _measure(
    form: Form, told: Mapping[str, np.ndarray], x: np.ndarray, size: np.ndarray, chance: float | None
) -> np.ndarray:
    y = form.value(told, x, size, LOG if chance is None else LOGIT)
    return y if chance is None else chance + (1 - chance) * y


@dataclass(frozen=True)
class Fitted:
    """A form fitted to a panel.

    Attributes:
        fit: to the data.
        parameters: name to value, low, high; the limits are None where there are too few items.
        error: how far off the largest model is predicted: value, low, high; None where it is not left out.
    """

    fit: Fit
    parameters: dict[str, tuple[float, float | None, float | None]]
    error: tuple[float, float | None, float | None] | None


def fit_scaling_laws(panels: Sequence[Panel], stage: FitScalingLawStage) -> list[Row]:
    """All forms against all amounts.

    Returns:
        Rows of the table `scaling`.
    """
    rows = []
    with progress_bar(len(panels), "curves", "fit_scaling_law") as bar:
        for panel in panels:
            rows += [row for x in panel.amounts for row in _rows(panel, x, stage)]
            bar.update(1)
    return rows


def forms_of(panel: Panel, x: str) -> list[str]:
    """The forms that a measure is tried with against an amount."""
    if x not in SEEN:
        return [CONSTANT, *SIZED]
    return [name for name in FORMS if name != "chinchilla" or (panel.chance is None and x == "samples_seen")]


def _rows(panel: Panel, x: str, stage: FitScalingLawStage) -> list[Row]:
    """The rows of one measure against one amount."""
    chosen = np.ones(len(panel.values), bool) if x in SEEN else panel.ends
    sizes = len(set(panel.size[chosen].tolist()))
    held_out = str(panel.models[np.argmax(panel.size)]) if sizes >= stage.min_sizes else None
    names = forms_of(panel, x)
    can = dict.fromkeys(names, "" if panel.amounts[x] is not None else f"{NOT}: {x} is unknown")
    for name in names:
        can[name] = can[name] or _obstacle(FORMS[name], int(chosen.sum()), sizes, stage)
    found = {name: _fit_form(FORMS[name], panel, x, chosen, held_out, stage) for name in names if not can[name]}
    return [
        {
            **panel.keys, "x": x, "form": name, "chance": panel.chance, "points": int(chosen.sum()), "models": sizes,
            **_numbers(found.get(name), held_out),
            "verdict": can[name] or _verdict(name, found, panel.items, sizes, held_out, stage),
        }
        for name in names
    ]  # fmt: skip


def _obstacle(form: Form, points: int, sizes: int, stage: FitScalingLawStage) -> str:
    """Why a form is not even fitted; empty where it is."""
    free = len(form.parameters)
    if points < free + 3:
        return f"{NOT}: {points} points for {free} parameters, {free + 3} are needed"
    return _too_few_sizes(sizes, stage) if form.sized else ""


def _too_few_sizes(sizes: int, stage: FitScalingLawStage) -> str:
    few = sizes < stage.min_sizes
    return f"{NOT}: {sizes} {'size' if sizes == 1 else 'sizes'} of models, {stage.min_sizes} are needed" if few else ""


def _fit_form(
    form: Form, panel: Panel, x: str, chosen: np.ndarray, held_out: str | None, stage: FitScalingLawStage
) -> Fitted:
    data = panel.data(x, chosen)
    found = fit(form, data)
    drawn = refit(form, data, np.tile(found.theta, (len(panel.drawn), 1)), panel.scaled(panel.drawn[:, chosen]))
    value, draws = form.told(found.theta, data), form.told(drawn, data)
    parameters = {name: _with_limits(value[name], draws[name], panel, stage) for name in form.parameters}
    error = None if held_out is None else _held_out_error(form, panel, x, chosen, held_out, stage)
    return Fitted(found, parameters, error)


def _with_limits(
    value: Any, draws: np.ndarray, panel: Panel, stage: FitScalingLawStage
) -> tuple[float, float | None, float | None]:
    if panel.items < stage.min_items:
        return float(value), None, None
    low, high = expanded_limits(draws, panel.items, stage.level)
    return float(value), float(low), float(high)


def _held_out_error(
    form: Form, panel: Panel, x: str, chosen: np.ndarray, held_out: str, stage: FitScalingLawStage
) -> tuple[float, float | None, float | None] | None:
    """Root mean square of predicted minus measured, over the points of the largest model; None where the others are too
    few for the form."""
    left = chosen & (panel.models != held_out)
    out = chosen & ~left
    if left.sum() <= len(form.parameters):
        return None
    data = panel.data(x, left)
    theta = fit(form, data).theta[None]
    thetas = refit(form, data, np.repeat(theta, len(panel.drawn), axis=0), panel.scaled(panel.drawn[:, left]))

    def error(theta: np.ndarray, measured: np.ndarray) -> np.ndarray:
        told = {name: values[:, None] for name, values in form.told(theta, data).items()}
        amounts = panel.amounts[x]
        assert amounts is not None
        predicted = _measure(form, told, amounts[out], panel.size[out], panel.chance)
        return np.sqrt(((predicted - measured) ** 2).mean(axis=-1))

    return _with_limits(error(theta, panel.values[None, out])[0], error(thetas, panel.drawn[:, out]), panel, stage)


def _numbers(found: Fitted | None, held_out: str | None) -> Row:
    """The figures of a row; null where the form was not fitted."""
    if found is None:
        names = ("huber", "aic", "bic", "held_out", "held_out_error", "held_out_low", "held_out_high")
        return {"parameters": [], **dict.fromkeys(names)}
    parameters = [
        {"name": name, "value": value, "low": low, "high": high}
        for name, (value, low, high) in found.parameters.items()
    ]
    error, low, high = found.error or (None, None, None)
    return {
        "parameters": parameters, "huber": found.fit.huber, "aic": found.fit.aic(), "bic": found.fit.bic(),
        "held_out": held_out if found.error else None, "held_out_error": error, "held_out_low": low,
        "held_out_high": high,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- verdicts
def _verdict(
    name: str, found: Mapping[str, Fitted], items: int, sizes: int, held_out: str | None, stage: FitScalingLawStage
) -> str:
    if few := _too_few_sizes(sizes, stage):
        return few
    if items < stage.min_items:
        return f"{NOT}: {items} items, {stage.min_items} are needed for an interval"
    best = min(found, key=lambda other: _aic(found[other]))
    if name == CONSTANT:
        better = _aic(found[best]) <= _aic(found[name]) - SUPPORT
        return f"reference: {best} is better" if better else "reference: no form is better"
    own = found[name]
    gain = _aic(found[CONSTANT]) - _aic(own)
    if gain < SUPPORT:
        return f"{NOT}: no better than a constant (AICc {-gain:+.1f})"
    if open_one := _open(FORMS[name], own):
        return f"{NOT}: {open_one}"
    null = found[CONSTANT].error
    if own.error and null and own.error[0] >= null[0]:
        return f"{NOT}: predicts {held_out} no better than a constant"
    behind = _aic(own) - _aic(found[best])
    support = "best supported" if name == best else f"AICc {behind:+.1f} beside {best}"
    return "; ".join(filter(None, [f"identified: {support}", _collapse(name, found)]))


def _aic(found: Fitted) -> float:
    aic = found.fit.aic()
    assert aic is not None  # as nothing is fitted to fewer points
    return aic


def _open(form: Form, found: Fitted) -> str:
    """Which parameter is not known within bounds; empty where all are."""
    for name, (_, low, high) in found.parameters.items():
        assert low is not None  # as there are enough items
        assert high is not None
        if name in form.exponents:
            least, most = SIZE_EXPONENTS if name == "size_exponent" else EXPONENTS
            margin = 1e-3 * (most - least)
            if low <= least + margin or high >= most - margin:
                return f"the interval of {name} reaches its bounds"
        if name == "slope" and low <= 0 <= high:
            return "the interval of slope covers 0"
    return ""


def _collapse(name: str, found: Mapping[str, Fitted]) -> str:
    """Whether sizes lie on one curve, told where a form has a twin with a term for the size."""
    if name not in SIZED or SIZED[name][0] not in found:
        return ""
    twin, term = SIZED[name]
    _, low, high = found[twin].parameters[term]
    assert low is not None
    assert high is not None
    apart = _aic(found[twin]) <= _aic(found[name]) - SUPPORT and not low <= 0 <= high
    return f"sizes do not collapse: {term} is not 0" if apart else "sizes collapse"
