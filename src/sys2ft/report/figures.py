"""All figures of a study, by name."""

from collections.abc import Callable

from sys2ft.report.curve_plots import draw_bill, draw_learning, draw_overexposure, draw_scaling
from sys2ft.report.figure import Figure
from sys2ft.report.findings import Findings
from sys2ft.report.interval_plots import draw_gap, draw_protocols, draw_retention, draw_shadowing, draw_teachers

DRAW: dict[str, Callable[[Findings], Figure]] = {
    "gap": draw_gap,
    "protocols": draw_protocols,
    "shadowing": draw_shadowing,
    "learning": draw_learning,
    "overexposure": draw_overexposure,
    "retention": draw_retention,
    "scaling": draw_scaling,
    "teachers": draw_teachers,
    "bill": draw_bill,
}
