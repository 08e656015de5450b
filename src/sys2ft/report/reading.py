"""Everything that figures and page show, read from the results of a study."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sys2ft.cost.bill import Bill
from sys2ft.examples import settings_of
from sys2ft.grid import AXES, Cell
from sys2ft.models import load_manifest
from sys2ft.paths import FIGURES, artefact_path, figure_path
from sys2ft.plan import compare_with_actuals
from sys2ft.preflight import open_configured
from sys2ft.report.browser import describe_cells
from sys2ft.report.embedding import Shown
from sys2ft.report.findings import Findings
from sys2ft.report.page import Page
from sys2ft.report.provenance import collect_settings, common_values, describe_models
from sys2ft.report.sentences import tell
from sys2ft.settings.stages import BuildReportStage, DrawFiguresStage
from sys2ft.tables import QUESTIONS, SCHEMAS, read_rows

ABOUT = {
    "effects": "A measure beside a control, with intervals; accuracies and differences as shares of 1.",
    "cells": "What each cell studied, trained and cost, and where it comes from.",
    "study_counts": "What each teacher wrote of each item, and what was left out, by reason.",
    "dynamics": "Measures and loss along training, with intervals; accuracies as shares of 1.",
    "scaling": "Forms of a scaling law, fitted and compared.",
}
"""The tables that stand in the page, each with what a row is; `answers` and `retention` are too long for one."""
MADE_BY = {
    "build_tables": "cells", "estimate_effects": "effects", "trace_learning": "dynamics", "fit_scaling_law": "scaling",
}  # fmt: skip
CONFIG = "config/config.yaml"


def read_bill(files: Sequence[str]) -> list[dict[str, Any]]:
    """What jobs were expected to take and took, as `sys2ft bill` tells it.

    Args:
        files: the study's configuration files; the one that all studies have may be among them.

    Raises:
        InputError: they cannot be used.
    """
    return compare_with_actuals(Bill(open_configured([file for file in files if Path(file) != Path(CONFIG)])))


def read_findings(
    stage: DrawFiguresStage,
    tables: Mapping[str, str | Path],
    questions: Sequence[Path],
    models: Sequence[Path],
    bill: Sequence[Mapping[str, Any]],
) -> Findings:
    """What figures and sentences are made of.

    Args:
        tables: paths of `effects`, `dynamics` and `scaling`.
        questions: of each split.
        models: the `model.json` of each learner.
        bill: rows of `read_bill`.
    """
    rows = {name: read_rows(SCHEMAS[name], path) for name, path in tables.items()}
    parameters = {path.parent.name.partition("=")[2]: load_manifest(path)["parameters"] for path in models}
    asked = read_rows(QUESTIONS, *questions)
    return Findings(stage.grid, stage.level, questions=asked, parameters=parameters, bill=bill, **rows)


def read_page(
    stage: BuildReportStage,
    results: str,
    questions: Sequence[Path],
    models: Sequence[Path],
    bill: Sequence[Mapping[str, Any]],
) -> Page:
    """All that the page holds; arguments as in `read_findings`."""
    paths = {name: artefact_path(results, f"{name}_table") for name in ABOUT}
    findings = read_findings(
        stage, {name: paths[name] for name in ("effects", "dynamics", "scaling")}, questions, models, bill
    )
    cells = read_rows(SCHEMAS["cells"], paths["cells"])
    counts = read_rows(SCHEMAS["study_counts"], paths["study_counts"])
    rows: dict[str, Sequence[Any]] = {
        "effects": findings.effects, "cells": cells, "study_counts": counts,
        "dynamics": findings.dynamics, "scaling": findings.scaling,
    }  # fmt: skip
    shown = [Cell.from_path(path) for path in stage.shown]
    answers = settings_of(paths["cells"])["answers"]
    specifications = {name: Path(figure_path(results, name, "json")) for name in FIGURES}
    return Page(
        title=results.removeprefix("results/"),
        about=_about(stage, findings, cells),
        sections=tell(findings),
        figures={name: json.loads(path.read_text(encoding="utf-8")) for name, path in specifications.items()},
        tables=[
            *(Shown(name, about, rows[name], paths[name]) for name, about in ABOUT.items()),
            Shown("bill", "What jobs were expected to take, uncalibrated, and what they took, in seconds.", bill),
            Shown("models", "The models, by revision.", describe_models(models)),
        ],
        rows=stage.report.rows,
        examples=list(describe_cells(results, shown, stage.report.items, answers)),
        examples_note=_examples_note(stage, results),
        common=common_values(cells),
        settings=collect_settings(results, {stage: paths[name] for stage, name in MADE_BY.items()}, shown, answers),
    )


def _about(stage: DrawFiguresStage, findings: Findings, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was run, and what a guess would reach."""
    told = {axis: findings.models if axis == "model" else getattr(stage.grid, axis) for axis in AXES}
    ran = {axis: {row[axis] for row in cells} for axis in AXES}  # the grid may exclude a value from all of its cells
    names = {axis: there for axis in AXES if (there := [value for value in told[axis] if value in ran[axis]])}
    axes = "; ".join(
        f"{axis}{'s' if len(values) > 1 else ''} {', '.join(map(str, values))}" for axis, values in names.items()
    )
    chances = {mode: findings.chance(findings.whole, mode) for mode in findings.modes}
    levels = {chance: [mode for mode in chances if chances[mode] == chance] for chance in chances.values()}
    guesses = [
        f"{', '.join(modes)} {'has none, as the model writes' if chance is None else f'{100 * chance:.0f} %'}"
        for chance, modes in levels.items()
    ]
    intervals = f"Intervals: {100 * stage.level:.0f} %, from a bootstrap clustered by item and crossed with seeds."
    return [f"What was run: {axes}.", f"{intervals} Chance: {'; '.join(guesses)}."]


def _examples_note(stage: BuildReportStage, results: str) -> str:
    """Which cells can be looked at, and how to look at the others."""
    items = stage.report.items
    first = "the first item" if items == 1 else f"the first {items} items"
    command = f"sys2ft show <cell> --item <item> --question all --results {results}"
    which = "All cells" if len(stage.shown) == stage.cells else f"{len(stage.shown)} of {stage.cells} cells"
    told = f"{which}, each with {first} (report.cells and report.items)."
    return f"{told} Any other is shown, with its prompts, by: {command}"
