"""The table `scaling`: forms of a scaling law, fitted and compared.

Every form is fitted to the points of all learners that were trained alike, against an amount: training sequences,
FLOPs without and with the teacher's, and, at the end of training, the size of the model. It is fitted again in every
bootstrap draw of items and seeds, and again without the largest model, which it then predicts.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from sys2ft.analysis.curves import expanded_limits
from sys2ft.analysis.fitting import fit, refit
from sys2ft.analysis.forms import FORMS, LOG, LOGIT, Form
from sys2ft.analysis.panels import Panel
from sys2ft.analysis.verdicts import SIZED, Design, Fitted, Limited, judge
from sys2ft.progress import progress_bar
from sys2ft.settings.stages import FitScalingLawStage

ALONG = ("samples_seen", "train_flops", "total_flops")
"""Amounts that grow along training; against the size of the model stands the end of training."""
Row = dict[str, Any]


def predict(
    form: str, parameters: Sequence[Mapping[str, Any]], x: np.ndarray, size: np.ndarray | float, chance: float | None
) -> np.ndarray:
    """A fitted curve, as it is drawn.

    Args:
        form: its name.
        parameters: of a row of `scaling`.
        x: amounts, above 0.
        size: parameters of the model.
        chance: of that row: then an accuracy is returned; None: a loss.
    """
    told = {entry["name"]: np.asarray(entry["value"], float) for entry in parameters}
    return _measure(FORMS[form], told, np.asarray(x, float), np.asarray(size, float), chance)


def _measure(
    form: Form, told: Mapping[str, np.ndarray], x: np.ndarray, size: np.ndarray, chance: float | None
) -> np.ndarray:
    y = form.value(told, x, size, LOG if chance is None else LOGIT)
    return y if chance is None else chance + (1 - chance) * y


def fit_scaling_laws(panels: Sequence[Panel], stage: FitScalingLawStage) -> list[Row]:
    """All forms against all amounts.

    Returns:
        Rows of the table `scaling`.
    """
    rows = []
    with progress_bar(len(panels), "curves", "fit_scaling_law") as bar:
        for panel in panels:
            rows += [row for x in panel.amounts for row in Trial(panel, x, stage).rows()]
            bar.update(1)
    return rows


class Trial:
    """One measure against one amount: what all forms are tried with."""

    def __init__(self, panel: Panel, x: str, stage: FitScalingLawStage) -> None:
        self.panel, self.x, self.stage = panel, x, stage
        self.amounts = panel.amounts[x]
        self.chosen = np.ones(len(panel.values), bool) if x in ALONG else panel.ends

    @cached_property
    def design(self) -> Design:
        """What a verdict must know of the data."""
        sizes = len(set(self.panel.size[self.chosen].tolist()))
        held_out = str(self.panel.models[np.argmax(self.panel.size)]) if sizes >= self.stage.min_sizes else None
        return Design(
            self.x, self.amounts is not None, int(self.chosen.sum()), sizes, self.stage.min_sizes, self.panel.items,
            self.stage.min_items, held_out,
        )  # fmt: skip

    def forms(self) -> list[str]:
        """The forms that are tried; Chinchilla's is one of a loss against an amount of data."""
        if self.x not in ALONG:
            return ["constant", *SIZED]
        loss = self.panel.chance is None and self.x == "samples_seen"
        return [name for name in FORMS if name != "chinchilla" or loss]

    def rows(self) -> list[Row]:
        """Rows of the table `scaling`."""
        found = {name: self.fit(FORMS[name]) for name in self.forms() if self.design.can_fit(FORMS[name])}
        shared = {**self.panel.keys, "x": self.x, "chance": self.panel.chance}
        shared |= {"points": self.design.points, "models": self.design.sizes}
        return [
            {**shared, "form": name, **self.figures(found.get(name)), "verdict": judge(name, found, self.design)}
            for name in self.forms()
        ]

    def fit(self, form: Form) -> Fitted:
        """A form fitted to all points, and to those of all models but the largest."""
        data = self.panel.data(self.x, self.chosen)
        found = fit(form, data)
        start = np.tile(found.theta, (len(self.panel.drawn), 1))
        drawn = refit(form, data, start, self.panel.scaled(self.panel.drawn[:, self.chosen]))
        value, draws = form.told(found.theta, data), form.told(drawn, data)
        parameters = {name: self.limited(value[name], draws[name]) for name in form.parameters}
        return Fitted(found, parameters, self.held_out_error(form))

    def limited(self, value: Any, draws: np.ndarray) -> Limited:
        """A value with its interval."""
        if self.panel.items < self.stage.min_items:
            return Limited(float(value), None, None)
        low, high = expanded_limits(draws, self.panel.items, self.stage.level)
        return Limited(float(value), float(low), float(high))

    def held_out_error(self, form: Form) -> Limited | None:
        """Root mean square of predicted minus measured over the points of the largest model, which was left out.

        None where it is not, or where the others are not more than the form's parameters.
        """
        left = self.chosen & (self.panel.models != self.design.held_out)
        out = self.chosen & ~left
        if self.design.held_out is None or left.sum() <= len(form.parameters):
            return None
        data = self.panel.data(self.x, left)
        theta = fit(form, data).theta[None]
        start = np.repeat(theta, len(self.panel.drawn), axis=0)
        thetas = refit(form, data, start, self.panel.scaled(self.panel.drawn[:, left]))

        def error(theta: np.ndarray, measured: np.ndarray) -> np.ndarray:
            told = {name: values[:, None] for name, values in form.told(theta, data).items()}
            assert self.amounts is not None
            predicted = _measure(form, told, self.amounts[out], self.panel.size[out], self.panel.chance)
            return np.sqrt(((predicted - measured) ** 2).mean(axis=-1))

        return self.limited(error(theta, self.panel.values[None, out])[0], error(thetas, self.panel.drawn[:, out]))

    def figures(self, found: Fitted | None) -> Row:
        """The figures of a row; null where the form was not fitted."""
        if found is None:
            names = ("huber", "aic", "bic", "held_out", "held_out_error", "held_out_low", "held_out_high")
            return {"parameters": [], **dict.fromkeys(names)}
        told = [{"name": name, **limited._asdict()} for name, limited in found.parameters.items()]
        error = found.error or Limited(None, None, None)
        return {
            "parameters": told, "huber": found.fit.huber, "aic": found.fit.aic(), "bic": found.fit.bic(),
            "held_out": self.design.held_out if found.error else None, "held_out_error": error.value,
            "held_out_low": error.low, "held_out_high": error.high,
        }  # fmt: skip
