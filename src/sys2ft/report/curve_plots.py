"""Figures along training: learning closed book, overexposure, accuracy against compute; and the bill."""

from collections.abc import Iterator, Sequence

import altair as alt
import numpy as np

from sys2ft.report.figure import Figure
from sys2ft.report.findings import CONTROL_NAMES, Findings, Row, count_words
from sys2ft.report.interval_plots import MEASURED, Point, facet
from sys2ft.report.style import FAINT, REFERENCE, WIDTH, colours

FITTED = "law"
STEPS = 24
"""Points of a drawn law."""
NO_MILESTONES = "Not drawn: nothing was kept along training (budget.milestones)."
HEIGHT = 130


def draw_learning(findings: Findings) -> Figure:
    """Closed-book accuracy along training."""
    return _draw_along(findings, "closed_book", "Learning closed book, along training")


def draw_overexposure(findings: Findings) -> Figure:
    """In-context accuracy along training: where it falls, the model has lost the use of the news in its prompt."""
    return _draw_along(findings, "in_context", "Overexposure: accuracy with the news in context, along training")


def _draw_along(findings: Findings, measure: str, title: str) -> Figure:
    rows = _of_dynamics(findings, measure)
    if not rows:
        return Figure(title, f"Not drawn: no tuned model was asked {measure.replace('_', ' ')}.")
    if len({row["samples_seen"] for row in rows}) < 3:  # base, milestones, end
        return Figure(title, NO_MILESTONES)
    points = [_point(findings, row, row["samples_seen"]) for row in rows]
    x = alt.X("x:Q", title="training sequences seen", scale=alt.Scale(type="symlog"))
    chart = _curves(findings, points, rows, x)
    caption = (
        "At 0 stands the base. Filled circles and solid lines: measured; hollow and dashed: with the question blanked."
    )
    return Figure(title, _caption(findings, caption, rows), chart)


def draw_scaling(findings: Findings) -> Figure:
    """Closed-book accuracy against compute, all sizes on one axis, with the law where one is identified."""
    title = "Accuracy against compute: do sizes fall on one curve?"
    rows = [row for row in _of_dynamics(findings, "closed_book") if row["train_flops"]]
    amounts: dict[tuple, set[float]] = {}
    for row in rows:
        amounts.setdefault((findings.learner(row), row["mode"]), set()).add(row["train_flops"])
    if max(map(len, amounts.values()), default=0) < 2:
        return Figure(title, "Not drawn: there is one size, and nothing was kept along training (budget.milestones).")
    points = [_point(findings, row, row["train_flops"]) for row in rows]
    laws = _laws(findings)
    curves = [point for law in laws for point in _curve(findings, law, rows)]
    x = alt.X(
        "x:Q", title="FLOPs of fine-tuning", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e", tickCount=3)
    )
    chart = _curves(findings, points + curves, rows, x)
    caption = (
        "Filled circles: measured; hollow: with the question blanked. The base has no compute and is not on this axis. "
        + (_tell_laws(findings, laws) if curves else "No law is drawn, as none is identified.")
    )
    return Figure(title, _caption(findings, caption, rows), chart)


def _laws(findings: Findings) -> list[Row]:
    """For each learner and mode the form that is best supported, where one is identified."""
    best: dict[tuple, Row] = {}
    for row in findings.scaling:
        told = (row["measure"], row["control"], row["split"], row["x"])
        wanted = told == ("closed_book", "none", findings.whole, "train_flops")
        if wanted and row["verdict"].startswith("identified") and row["protocol"] not in findings.shadowed:
            key = (findings.learner(row), row["mode"])
            if key not in best or row["aic"] < best[key]["aic"]:
                best[key] = row
    return list(best.values())


def _curve(findings: Findings, law: Row, rows: Sequence[Row]) -> Iterator[Point]:
    """The law of one panel, for each model over the compute that it was trained with."""
    from sys2ft.analysis.scaling import predict

    panel = {"panel": law["mode"], "band": findings.learner(law), "what": FITTED}
    for model in findings.models:
        seen = [
            row["train_flops"]
            for row in rows
            if (row["model"], row["mode"], findings.learner(row)) == (model, law["mode"], panel["band"])
        ]
        if seen:
            x = np.geomspace(min(seen), max(seen), STEPS)
            fitted = predict(law["form"], law["parameters"], x, findings.parameters[model], law["chance"])
            for amount, value in zip(x, fitted, strict=True):
                yield panel | {"series": model, "x": float(f"{amount:.4g}"), "fitted": float(f"{100 * value:.4g}")}


def _tell_laws(findings: Findings, laws: Sequence[Row]) -> str:
    told = "; ".join(f"{findings.learner(law)}, {law['mode']}: {law['form']}, {law['verdict']}" for law in laws)
    return f"Thin grey lines: the best supported law, one a size ({told})."


def _of_dynamics(findings: Findings, measure: str) -> list[Row]:
    return [
        row
        for row in findings.dynamics
        if row["measure"] == measure
        and row["split"] == findings.whole
        and row["protocol"] not in findings.shadowed
        and row["estimate"] is not None
    ]


def _point(findings: Findings, row: Row, x: float) -> Point:
    chance = findings.chance(row["split"], row["mode"])
    numbers = {
        name: None if row[name] is None else float(f"{100 * row[name]:.4g}") for name in ("estimate", "low", "high")
    }
    what = MEASURED if row["control"] == "none" else CONTROL_NAMES[row["control"]]
    counts = f"{row['items']} items, {row['questions']} questions, {row['seeds']} seeds"
    told = {"x": float(f"{x:.4g}"), "what": what, "n": counts, "reference": None if chance is None else 100 * chance}
    return told | numbers | {"panel": row["mode"], "band": findings.learner(row), "series": row["model"]}


def _caption(findings: Findings, what: str, rows: Sequence[Row]) -> str:
    return (
        f"{what} Bars: {findings.level:.0%} intervals. Red line: chance, from the number of options; there is none "
        f"where the model writes. n: {count_words(rows)}."
    )


def _curves(findings: Findings, points: list[Point], rows: Sequence[Row], x: alt.X) -> alt.FacetChart:
    measured = f"datum.what === '{MEASURED}'"
    kinds = {"series": "N", "what": "N", "x": "Q", "estimate": "Q", "low": "Q", "high": "Q", "n": "N"}
    tooltip = [alt.Tooltip(f"{name}:{kind}") for name, kind in kinds.items()]
    marks = alt.Chart().encode(x=x, color=colours(findings.models, "model"), tooltip=tooltip)
    y = alt.Y("estimate:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    dash = alt.condition(measured, alt.value([1, 0]), alt.value([4, 3]))
    law = (
        marks.transform_filter(f"datum.what === '{FITTED}'")
        .mark_line(strokeWidth=1)
        .encode(y="fitted:Q", color=alt.value(FAINT), detail="series:N")
    )
    layers = alt.layer(
        alt.Chart().mark_rule(color=REFERENCE, strokeDash=[4, 3]).encode(y="mean(reference):Q"),
        *([law] if any(point["what"] == FITTED for point in points) else []),
        marks.transform_filter(f"datum.what !== '{FITTED}'")
        .mark_line(strokeWidth=1.6)
        .encode(y=y, strokeDash=dash, detail="what:N"),
        marks.mark_rule(opacity=0.6).encode(y="low:Q", y2="high:Q"),
        marks.transform_filter(measured).mark_point(filled=True, size=40, opacity=1).encode(y=y),
        marks.transform_filter(f"!({measured}) && datum.what !== '{FITTED}'")
        .mark_point(filled=False, fill="white", size=28, opacity=1)
        .encode(y=y),
    ).properties(width=WIDTH, height=HEIGHT)
    panels = list(dict.fromkeys(point["panel"] for point in points))
    return facet(layers, points, panels, findings.order(rows))


def draw_bill(findings: Findings) -> Figure:
    """What jobs were expected to take, and what they took."""
    title = "Bill against actuals"
    if not findings.bill:
        return Figure(title, "Not drawn: no job that holds a model has left a benchmark file.")
    points = [
        {"place": f"{row['rule']}, {row['model']}", "jobs": row["jobs"], "what": what, "seconds": seconds}
        for row in findings.bill
        for what, seconds in (("expected", row["expected_seconds"]), ("took", row["actual_seconds"]))
    ]
    y = alt.Y("place:N", sort=[point["place"] for point in points], title=None)
    base = alt.Chart().encode(y=y)
    x = alt.X("seconds:Q", scale=alt.Scale(type="log"), title="seconds, summed over jobs")
    filled = alt.Scale(domain=["expected", "took"], range=["white", "#0072B2"])
    chart = alt.layer(
        base.mark_line(color=FAINT, strokeWidth=1.2).encode(x=x, detail="place:N"),
        base.mark_point(size=60, opacity=1, stroke="#0072B2").encode(
            x=x,
            fill=alt.Fill("what:N", scale=filled, legend=alt.Legend(title=None)),
            tooltip=["place:N", "jobs:Q", "what:N", alt.Tooltip("seconds:Q", format=".3s")],
        ),
        data=alt.Data(values=points),
    ).properties(width=420)
    jobs = sum(row["jobs"] for row in findings.bill)
    caption = (
        f"Hollow: expected before the run, not calibrated by it; filled: what Snakemake measured. n: {jobs} jobs, each "
        "run once, so there are no intervals; of a job that was resumed the last stretch is told."
    )
    return Figure(title, caption, chart)
