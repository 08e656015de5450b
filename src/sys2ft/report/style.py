"""One look for all figures: colours that colour-blind people tell apart, and a font that vl-convert brings along."""

from collections.abc import Sequence
from typing import Any

import altair as alt

# Okabe and Ito 2008, "Color Universal Design"; the yellow is left out, as it is lost on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, FAINT, LINE = "#1d2327", "#59636b", "#d5dadd"
REFERENCE = "#8a2f2f"
"""Of the line that stands for chance, or for no difference."""
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
WIDTH = 190
"""Of a panel, in pixels."""

CONFIG: dict[str, Any] = {
    "background": "white",
    "font": FONT,
    "view": {"stroke": LINE},
    "axis": {
        "domainColor": LINE, "tickColor": LINE, "gridColor": "#eceff1", "labelColor": INK, "titleColor": FAINT,
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 260,
    },
    "header": {
        "labelColor": INK, "labelFontSize": 12, "labelFontWeight": "bold", "title": None, "labelLimit": 320,
        "labelPadding": 4,
    },
    "legend": {
        "labelColor": INK, "titleColor": FAINT, "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal",
        "orient": "bottom", "columns": 4, "labelLimit": 260, "symbolSize": 60,
    },
    "title": {
        "anchor": "start", "color": INK, "fontSize": 14, "subtitleColor": FAINT, "subtitleFontSize": 11,
        "subtitleLineHeight": 15, "offset": 14,
    },
}  # fmt: skip


def style(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """A chart in the look of all figures."""
    return chart.configure(**CONFIG)


def colours(names: Sequence[str], title: str) -> alt.Color:
    """A colour for each of `names`; beyond the palette they begin again, and the tooltip tells them apart.

    Args:
        title: of the legend, which a study of one model does without.
    """
    palette = [PALETTE[place % len(PALETTE)] for place in range(len(names))]
    scale = alt.Scale(domain=list(names), range=palette)
    legend = None if title == "model" and len(names) == 1 else alt.Legend(title=title)
    return alt.Color("series:N", scale=scale, legend=legend)
