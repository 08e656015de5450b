"""Figures of estimates with their intervals, each beside its controls: gap, protocols, shadowing, retention, teachers.

A filled circle is an estimate, a hollow mark the same measure under a control, a bar its interval.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import altair as alt

from sys2ft.grid import NONE, resolve_teacher
from sys2ft.report.figure import Figure
from sys2ft.report.findings import CONTROL_NAMES, Findings, Row, count_words, per_estimate, range_words, retention_unit
from sys2ft.report.style import REFERENCE, WIDTH, colours

MEASURED = "measured"
SHAPES = {MEASURED: "circle", **dict(zip(CONTROL_NAMES.values(), ("square", "diamond", "triangle-up"), strict=True))}
READ = "Filled circles: estimates. Hollow marks: the same under a control. Bars: {level} intervals."
NO_DIFFERENCE = "Red line: no difference."
MOST_SLOTS = 6
"""Lines for each place; where there were more, a control stands on the line of what it controls."""
Point = dict[str, Any]


def draw_gap(findings: Findings) -> Figure:
    """In context before training against closed book after it, by split, size and protocol."""
    title = "The FT-ICL gap by split and size"
    splits = list(dict.fromkeys([findings.whole, *findings.grid.split]))
    rows = [row for split in splits for row in findings.find("ft_icl_gap", split)]
    rows = [row for row in rows if row["protocol"] not in findings.shadowed]
    if not rows:
        return Figure(title, "Not drawn: no base model was asked with the news in context.")
    points = [
        point | {"place": row["split"], "band": findings.learner(row), "series": row["model"]}
        for row, point in effect_points(rows)
    ]
    chart = interval_chart(points, findings.models, splits, findings.order(rows), "gap (points of accuracy)")
    caption = "Accuracy of the base with the news in context, minus that of the tuned model closed book."
    return Figure(title, _caption(findings, caption, NO_DIFFERENCE, rows), chart)


def draw_protocols(findings: Findings) -> Figure:
    """Closed-book accuracy after each protocol, between the base without the news and the base with it."""
    title = "What each protocol brings, closed book"
    bases = [row for name in ("closed_book", "in_context") for row in findings.find(name) if row["protocol"] == NONE]
    tuned = [row for row in findings.find("closed_book") if row["protocol"] != NONE]
    if not tuned:
        return Figure(title, "Not drawn: no tuned model was asked closed book.")
    called = {"closed_book": "base, closed book", "in_context": "base, in context"}
    points = [
        point
        | {
            "place": called[row["measure"]] if row["protocol"] == NONE else findings.learner(row),
            "band": "",
            "series": row["model"],
            "reference": _percent(findings.chance(row["split"], row["mode"])),
        }
        for row, point in effect_points([*bases, *tuned])
    ]
    chart = interval_chart(points, findings.models, [*called.values(), *findings.order(tuned)], [""], "accuracy (%)")
    caption = "Accuracy over all splits in which the mode was asked."
    chance = "Red line: chance, from the number of options; there is none where the model writes."
    return Figure(title, _caption(findings, caption, chance, [*bases, *tuned]), chart)


def draw_shadowing(findings: Findings) -> Figure:
    """What is lost where something stands before the training sequence, by what stands there."""
    title = "Contextual shadowing, by what stands before the sequence"
    rows = findings.find("shadowing")
    if not rows:
        return Figure(title, "Not drawn: the grid has no protocol together with the same one shadowed.")
    points = [
        point | {"place": findings.learner(row), "band": row["model"], "series": prefix_of(row)}
        for row, point in effect_points(rows)
    ]
    prefixes = sorted({point["series"] for point in points})
    bands = [name for name in findings.models if any(row["model"] == name for row in rows)]
    chart = interval_chart(
        points, prefixes, findings.order(rows), bands, "lost to the prefix (points of accuracy)", "prefix"
    )
    caption = (
        "Closed-book accuracy of a protocol minus that of the same protocol with a prefix; +loss: it is trained too."
    )
    return Figure(title, _caption(findings, caption, NO_DIFFERENCE, rows), chart)


def prefix_of(row: Row) -> str:
    """What stands before the sequence of the protocol that a row of shadowing compares with."""
    return row.get("prefix") or str(row["versus"]).removeprefix(f"{row['protocol']}_")


def draw_retention(findings: Findings) -> Figure:
    """What each protocol changed of what the model knew before."""
    title = "Retention: what the model knew before"
    rows = findings.find("retention_change")
    if not rows:
        return Figure(title, "Not drawn: no task of retention was scored.")
    points = []
    for row in rows:
        unit, factor = retention_unit(row["mode"])
        numbers = [None if row[name] is None else factor * row[name] for name in ("estimate", "low", "high")]
        place = {"place": findings.learner(row), "band": "", "series": row["model"], "panel": f"{row['mode']} ({unit})"}
        points.append(_point(row, MEASURED, *numbers) | place)
    panels = list(dict.fromkeys(point["panel"] for point in points))
    chart = interval_chart(points, findings.models, findings.order(rows), [""], "change", panels=panels)
    told = f"n: adapters of {range_words(rows, 'items')}, {range_words(rows, 'questions', 'documents')} of each task"
    caption = (
        f"Score of the tuned model minus that of the base, on the same documents; of perplexities the change of their "
        f"logarithm. Bars: {findings.level:.0%} intervals over adapters and seeds, not documents. {NO_DIFFERENCE} "
        f"{told}, {range_words(rows, 'seeds')}.{_without_interval(rows)}"
    )
    return Figure(title, caption, chart.resolve_scale(x="independent"))


def draw_teachers(findings: Findings) -> Figure:
    """The closed-book gain of each learner from each teacher."""
    title = "Teacher and learner"
    if len(findings.teachers) < 2:
        return Figure(title, "Not drawn: it takes study data of two teachers at least.")
    rows = [row for row in findings.find("closed_book_gain") if row["teacher"] != NONE]
    rows = [row for row in rows if row["protocol"] not in findings.shadowed]
    if not rows:
        return Figure(title, "Not drawn: no learner of study data was asked closed book.")
    points = [
        point
        | {
            "place": resolve_teacher(row["teacher"], row["model"]),
            "band": findings.trained(row),
            "series": row["model"],
        }
        for row, point in effect_points(rows)
    ]
    bands = findings.order(rows, findings.trained)
    chart = interval_chart(
        points, findings.models, findings.teachers, bands, "closed-book gain (points of accuracy)", "learner"
    )
    caption = "Closed-book accuracy of the tuned model minus that of the base, by who wrote the study data."
    return Figure(title, _caption(findings, caption, NO_DIFFERENCE, rows), chart)


# ----------------------------------------------------------------------------------------------------------- the parts
def effect_points(rows: Iterable[Row]) -> Iterator[tuple[Row, Point]]:
    """Rows of `effects` as points in percent: each estimate once, then the same under each of its controls."""
    for group in per_estimate(rows):
        first = group[0]
        yield first, _point(first, MEASURED, *(_percent(first[name]) for name in ("estimate", "low", "high")))
        for row in group:
            if row["control"] is not None:
                numbers = (_percent(row[f"control_{name}"]) for name in ("estimate", "low", "high"))
                yield row, _point(row, CONTROL_NAMES[row["control"]], *numbers)


def _point(row: Row, what: str, estimate: float | None, low: float | None, high: float | None) -> Point:
    verdict = row["verdict"] if what != MEASURED or row["control"] is None else None
    told = {"what": what, "panel": row["mode"], "reference": 0.0, "verdict": verdict}
    counts = f"{row['items']} items, {row['questions']} questions, {row['seeds']} seeds"
    return told | {"estimate": _short(estimate), "low": _short(low), "high": _short(high), "n": counts}


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _caption(findings: Findings, what: str, reference: str, rows: Sequence[Row]) -> str:
    read = READ.format(level=f"{findings.level:.0%}")
    return f"{what} {read} {reference} n: {count_words(rows)}.{_without_interval(rows)}"


def _without_interval(rows: Sequence[Row]) -> str:
    lacking = sum(group[0]["low"] is None for group in per_estimate(rows))
    noun = "estimate has" if lacking == 1 else "estimates have"
    return f" {lacking} {noun} too few items for an interval." if lacking else ""


def interval_chart(
    points: list[Point],
    series: Sequence[str],
    places: Sequence[str],
    bands: Sequence[str],
    title: str,
    called: str = "model",
    panels: Sequence[str] | None = None,
) -> alt.FacetChart:
    """Estimates with their intervals, one below the other.

    Args:
        points: with `estimate`, `low`, `high`, `reference`, and where they stand: `panel` (column), `band` (row of
            panels), `place` (line), `series` (colour), `what` (measured, or under which control).
        series, places, bands: in their order.
        title: of the axis.
        called: what the colours stand for.
    """
    present = {point["series"] for point in points}
    series = [name for name in series if name in present]
    kinds = [name for name in SHAPES if any(point["what"] == name for point in points)]
    apart = len(series) * len(kinds) <= MOST_SLOTS
    slots = [f"{name} {kind}" for name in series for kind in kinds] if apart else series
    for point in points:
        point["slot"] = f"{point['series']} {point['what']}" if apart else point["series"]
    marks = alt.Chart().encode(
        y=alt.Y(
            "place:N",
            sort=list(places),
            title=None,
            scale=alt.Scale(paddingInner=0.1),
            axis=alt.Axis(grid=True, tickBand="extent"),
        ),
        yOffset=alt.YOffset("slot:N", sort=slots, scale=alt.Scale(paddingOuter=0.6)),
        color=colours(series, called),
        tooltip=_tooltip(called),
    )
    shape = alt.Shape(
        "what:N",
        scale=alt.Scale(domain=kinds, range=[SHAPES[kind] for kind in kinds]),
        legend=alt.Legend(title=None, symbolFillColor="white") if len(kinds) > 1 else None,
    )
    measured = f"datum.what === '{MEASURED}'"
    beside = (
        marks.transform_filter(f"!({measured})")
        .mark_point(filled=False, fill="white", size=34, strokeWidth=1.4, opacity=1)
        .encode(x="estimate:Q", shape=shape)
    )
    layers = alt.layer(
        alt.Chart().mark_rule(color=REFERENCE, strokeDash=[4, 3]).encode(x="mean(reference):Q"),
        marks.mark_rule(strokeWidth=1.6).encode(
            x=alt.X("low:Q", title=title, scale=alt.Scale(zero=False)),
            x2="high:Q",
            opacity=alt.condition(measured, alt.value(1), alt.value(0.45)),
        ),
        marks.transform_filter(measured)
        .mark_point(filled=True, size=46, opacity=1)
        .encode(x="estimate:Q", shape=shape),
        *([beside] if kinds != [MEASURED] else []),
    ).properties(width=WIDTH, height=alt.Step(10, **{"for": "offset"}))
    panels = panels or list(dict.fromkeys(point["panel"] for point in points))
    return facet(layers, points, panels, bands)


def facet(layers: Any, points: list[Point], panels: Sequence[str], bands: Sequence[str]) -> alt.FacetChart:
    """A layered chart as panels side by side, in rows where there are several bands."""
    # A task of retention and its metric stand one below the other.
    header = alt.Header(labelExpr="split(datum.label, '/')")
    facets: dict[str, Any] = {"column": alt.Column("panel:N", sort=list(panels), title=None, header=header)}
    if len(bands) > 1:
        header = alt.Header(labelAngle=0, labelAlign="left", labelOrient="top", labelAnchor="start")
        facets["row"] = alt.Row("band:N", sort=list(bands), title=None, header=header)
    return layers.facet(data=alt.Data(values=points), **facets)


def _tooltip(called: str) -> list[alt.Tooltip]:
    titles = {"series:N": called, "place:N": "of", "what:N": "what", "estimate:Q": "estimate", "low:Q": "low"}
    titles |= {"high:Q": "high", "n:N": "n", "verdict:N": "verdict"}
    return [alt.Tooltip(name, title=title) for name, title in titles.items()]
