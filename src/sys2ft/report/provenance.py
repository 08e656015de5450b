"""Where the results come from: what made them, as far as the tables tell."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sys2ft.examples import Row, settings_of
from sys2ft.grid import AXES, Cell
from sys2ft.models import load_manifest
from sys2ft.paths import cell_path

TOLD_OF_MODELS = ("revision", "parameters", "dtype", "architecture")
STAGES = {
    "compose_training": "sequences",
    "fine_tune": "train_log",
    "score_answers": "answers",
    "write_answers": "written",
}
"""For each stage of a cell a table that holds its settings."""


def describe_models(manifests: Iterable[Path]) -> list[dict[str, Any]]:
    """For each model its revision, size and kind."""
    told = []
    for path in manifests:
        manifest = load_manifest(path)
        name = path.parent.name.partition("=")[2]
        told.append({"model": name, **{key: manifest[key] for key in TOLD_OF_MODELS}})
    return told


def common_values(cells: Sequence[Row]) -> dict[str, str]:
    """The columns of `cells` in which all cells agree, as texts; the axes apart."""
    names = [name for name in (cells[0] if cells else {}) if name not in AXES]
    found = {name: {json.dumps(row[name], default=str, ensure_ascii=False) for row in cells} for name in names}
    return {name: cells[0][name] for name, values in found.items() if len(values) == 1 and cells[0][name] is not None}


def collect_settings(
    results: str, tables: Mapping[str, str], cells: Sequence[Cell], answers: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """For each stage the different settings of it, as JSON.

    Args:
        tables: for each stage of the whole grid the path of a table that holds its settings.
        cells: whose stages are looked at.
        answers: for each split the kinds of its answers (`answers`, `written`).
    """
    paths = {
        stage: [
            cell_path(results, name, cell) for cell in cells if name in ("sequences", "train_log", *answers[cell.split])
        ]
        for stage, name in STAGES.items()
    }
    paths |= {stage: [path] for stage, path in tables.items()}
    there = {stage: [path for path in several if Path(path).exists()] for stage, several in paths.items()}
    told = {
        stage: list(dict.fromkeys(json.dumps(settings_of(path), indent=1, ensure_ascii=False) for path in several))
        for stage, several in there.items()
    }
    return {stage: texts for stage, texts in told.items() if texts}
