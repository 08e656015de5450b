"""Whether a form of a scaling law is identified by the data.

*Not identifiable* is a form, by the first of these rules that applies, where

1. what it is set against is unknown;
2. there are fewer sizes of models than `min_sizes`: size and amount cannot be told apart;
3. there are fewer points than its parameters and three (the corrected criterion of Akaike needs them);
4. there are fewer items than `min_items`: no interval;
5. it is not better than a constant by `SUPPORT` in AICc;
6. an exponent's interval reaches its bounds, or a slope's covers 0;
7. it predicts the largest model, left out, no better than a constant does.

What is left is *rejected* where the best form's AICc is lower by `SUPPORT`, and *identified* elsewhere, with another
form that predicts the largest model better (their intervals apart), and whether sizes collapse on one curve.

The points of one model lie on one learning curve and share items: criteria, which take them for independent, claim too
much, and intervals, which draw items and seeds, do not know whether a form is right. So both are asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sys2ft.analysis.fitting import Fit
from sys2ft.analysis.forms import EXPONENTS, FORMS, SIZE_EXPONENTS, Form

IDENTIFIED = "identified"
REJECTED = "rejected"
NOT = "not identifiable"
CONSTANT = "constant"
SUPPORT = 4.0
"""A form that is worse by so much has considerably less support (Burnham and Anderson 2002, section 2.6)."""
SIZED = {"log_linear": ("log_linear_size", "size_slope"), "power": ("power_size", "size_exponent")}
"""Forms of one curve for all sizes: the same with a term for the size, and that term."""


class Limited(NamedTuple):
    """A value and its interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None

    def covers(self, value: float) -> bool:
        """Whether the interval contains a value; one that is not known contains any."""
        return self.low is None or self.high is None or self.low <= value <= self.high

    def within(self, least: float, most: float) -> bool:
        """Whether the interval is known and lies between two values."""
        return self.low is not None and self.high is not None and least < self.low and self.high < most


@dataclass(frozen=True)
class Fitted:
    """A form fitted to data.

    Attributes:
        fit: to all points.
        parameters: by name.
        error: how far off the largest model is predicted; None where it is not left out.
    """

    fit: Fit
    parameters: dict[str, Limited]
    error: Limited | None

    @property
    def aic(self) -> float:
        """The corrected criterion; nothing is fitted to fewer points than it needs."""
        aic = self.fit.aic()
        assert aic is not None
        return aic


@dataclass(frozen=True)
class Design:
    """What there is to fit to."""

    x: str
    known: bool
    """Whether x is known of all points."""
    points: int
    sizes: int
    min_sizes: int
    items: int
    min_items: int
    held_out: str | None
    """The largest model; None where too few others would be left."""

    def lacks(self, form: Form) -> str:
        """What is missing for a form to be identified, whatever the values; empty where nothing is."""
        free = len(form.parameters)
        if not self.known:
            return f"{self.x} is unknown"
        if self.sizes < self.min_sizes:
            return f"sizes of models: {self.sizes}, at least {self.min_sizes} are needed"
        if self.points < free + 3:
            return f"points: {self.points}, at least {free + 3} are needed"
        if self.items < self.min_items:
            return f"items: {self.items}, at least {self.min_items} are needed for an interval"
        return ""

    def can_fit(self, form: Form) -> bool:
        """Whether it can be fitted, identified or not: one curve for all sizes can be fitted to a single size."""
        enough = self.sizes >= self.min_sizes if form.sized else True
        return self.known and enough and self.points >= len(form.parameters) + 3


def judge(name: str, found: Mapping[str, Fitted], design: Design) -> str:
    """The verdict of one form among all that were fitted to the same points."""
    form = FORMS[name]
    if lacking := design.lacks(form):
        return f"{NOT}: {lacking}"
    own, best = found[name], min(found, key=lambda other: found[other].aic)
    if name == CONSTANT:
        better = [other for other in found if other != name and judge(other, found, design).startswith(IDENTIFIED)]
        return f"reference: {' and '.join(better) or 'no form'} is identified"
    if (worse := own.aic - found[CONSTANT].aic) > -SUPPORT:
        return f"{NOT}: no better than a constant (AICc {worse:+.1f})"
    if loose := _loose(form, own):
        return f"{NOT}: {loose}"
    if _predicts_no_better(own, found[CONSTANT]):
        return f"{NOT}: predicts {design.held_out} no better than a constant"
    behind = f"AICc {own.aic - found[best].aic:+.1f} beside {best}"
    if own.aic >= found[best].aic + SUPPORT:
        return "; ".join(filter(None, [f"{REJECTED}: {behind}", _collapse(name, found)]))
    support = f"{IDENTIFIED}: {'best supported' if name == best else behind}"
    return "; ".join(filter(None, [support, _outdone(name, found, design), _collapse(name, found)]))


def _loose(form: Form, found: Fitted) -> str:
    """Which parameter is not known within bounds; empty where all are."""
    for name in form.exponents:
        least, most = SIZE_EXPONENTS if name == "size_exponent" else EXPONENTS
        margin = 1e-3 * (most - least)
        if not found.parameters[name].within(least + margin, most - margin):
            return f"the interval of {name} reaches its bounds"
    if "slope" in form.parameters and found.parameters["slope"].covers(0):
        return "the interval of slope covers 0"
    return ""


def _predicts_no_better(found: Fitted, constant: Fitted) -> bool:
    own, other = found.error, constant.error
    if own is None or other is None or own.value is None or other.value is None:
        return False
    return own.value >= other.value


def _outdone(name: str, found: Mapping[str, Fitted], design: Design) -> str:
    """The form that predicts the largest model best, where it does so clearly better than this one."""
    errors = {other: fitted.error for other, fitted in found.items() if fitted.error and fitted.error.high is not None}
    if name not in errors:
        return ""
    other = min(errors, key=lambda one: errors[one].value or 0.0)
    own, least = errors[name].low, errors[other].high
    assert own is not None
    assert least is not None
    return f"{other} predicts {design.held_out} better" if least < own else ""


def _collapse(name: str, found: Mapping[str, Fitted]) -> str:
    """Whether sizes lie on one curve, said of a form that has a twin with a term for the size."""
    twin, term = SIZED.get(name, ("", ""))
    if twin not in found:
        return ""
    apart = found[twin].aic <= found[name].aic - SUPPORT and not found[twin].parameters[term].covers(0)
    return f"sizes do not collapse: {term} is not 0" if apart else "sizes collapse"
