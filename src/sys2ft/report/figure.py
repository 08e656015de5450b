"""A figure: a chart and what stands below it, or the sentence that says why there is none; and its files."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from sys2ft.paths import FORMATS
from sys2ft.report.files import write_file
from sys2ft.report.style import FAINT, style

SCALE = 2.0
"""Pixels of the PNG for each of the SVG."""


@dataclass(frozen=True)
class Figure:
    """What is drawn of one question.

    Attributes:
        title: what it shows.
        caption: how to read it, and n; of a figure that cannot be drawn, why not.
        chart: None where the study has nothing to draw.
    """

    title: str
    caption: str
    chart: alt.TopLevelMixin | None = None

    def specification(self) -> dict[str, Any]:
        """The figure as Vega-Lite, with title and caption in it and, for the page, apart under `usermeta`."""
        title = alt.TitleParams(self.title, subtitle=textwrap.wrap(self.caption, 110))
        if self.chart is None:
            # ASSUME: a file that says why is better than none, as whoever looks for it finds the answer there.
            chart: Any = alt.Chart(alt.Data(values=[{}])).mark_text(text="not drawn", fontSize=12, color=FAINT)
            chart = chart.properties(width=560, height=24)
        else:
            chart = self.chart
        told = {"title": self.title, "caption": self.caption, "drawn": self.chart is not None}
        chart = style(chart.properties(title=title, usermeta=told, description=f"{self.title}. {self.caption}"))
        return chart.to_dict()


def write_figure(specification: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
    """Write a figure in each of `FORMATS`, without a network; returns the files."""
    text = json.dumps(specification, sort_keys=True, ensure_ascii=False)
    svg = vl_convert.vegalite_to_svg(text)
    contents = {
        "svg": svg.encode(),
        "pdf": vl_convert.svg_to_pdf(svg),
        "png": vl_convert.svg_to_png(svg, scale=SCALE),
        "json": text.encode(),
    }
    return [write_file(folder / f"{name}.{kind}", contents[kind]) for kind in FORMATS]
