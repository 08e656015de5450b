"""Where every artefact lives below the results folder: the only place that knows.

Rules use the patterns with their wildcards, scripts and the command line fill them in; nothing is searched for.
"""

from collections.abc import Iterable, Mapping, Sequence

from sys2ft.grid import AXES, Cell, wildcard_path

_CELL = wildcard_path(*AXES)
_STUDY = wildcard_path("teacher", "kind", "split", "seed")
_SEQUENCES = wildcard_path("model", "protocol", "teacher", "split", "seed")

PATTERNS = {
    "model": "prepare_model/model={model}/model.json",
    "weights": "prepare_model/model={model}/weights",
    "items": "validate_news/split={split}/items.parquet",
    "questions": "validate_news/split={split}/questions.parquet",
    "replay": "prepare_replay/replay={replay}/replay.parquet",
    "requests": f"generate_study/{_STUDY}/requests",
    "completions": f"generate_study/{_STUDY}/shard={{shard}}/completions.parquet",
    "study": f"filter_study/{_STUDY}/study.parquet",
    "study_counts": f"filter_study/{_STUDY}/study_counts.parquet",
    "sequences": f"compose_training/{_SEQUENCES}/sequences.parquet",
    "adapters": f"fine_tune/{_CELL}/adapters",
    "train_log": f"fine_tune/{_CELL}/train_log.parquet",
    "base_answers": "score_base/model={model}/split={split}/answers.parquet",
    "answers": f"score_answers/{_CELL}/answers.parquet",
    "base_written": "write_base/model={model}/split={split}/answers.parquet",
    "base_written_requests": "write_base/model={model}/split={split}/requests",
    "written": f"write_answers/{_CELL}/answers.parquet",
    "written_requests": f"write_answers/{_CELL}/requests",
    "base_retention": "score_base_retention/model={model}/retention.parquet",
    "retention": f"score_retention/{_CELL}/retention.parquet",
    "retention_unfinished": f"score_retention/{_CELL}/unfinished",
    "answers_table": "tables/answers.parquet",
    "retention_table": "tables/retention.parquet",
    "audit_table": "tables/audit.parquet",
    "study_counts_table": "tables/study_counts.parquet",
    "cells_table": "tables/cells.parquet",
    "effects_table": "tables/effects.parquet",
    "dynamics_table": "tables/dynamics.parquet",
    "scaling_table": "tables/scaling.parquet",
    "figures": "figures",
    "vega": "figures/vega.js",
    "figures_digests": "figures/digests.json",
    "report": "report/index.html",
    "report_digests": "report/digests.json",
}
FIGURES = (
    "gap", "protocols", "shadowing", "learning", "overexposure", "retention", "scaling", "teachers", "bill",
)  # fmt: skip
FORMATS = ("svg", "pdf", "png", "json")
"""Of a figure; the last is Vega-Lite, which the report draws."""


def pattern(results: str, artefact: str) -> str:
    """The path of an artefact with Snakemake wildcards in it."""
    return f"{results}/{PATTERNS[artefact]}"


def artefact_path(results: str, artefact: str, **values: object) -> str:
    """The path of one artefact; `values` fill its wildcards, others are ignored."""
    return pattern(results, artefact).format(**values)


def cell_path(results: str, artefact: str, cell: Cell) -> str:
    """The path of an artefact of a cell."""
    return artefact_path(results, artefact, **cell.keys())


def answer_paths(results: str, cells: Iterable[Cell], artefacts: Mapping[str, Iterable[str]]) -> list[str]:
    """All tables of answers, each once, those of the bases first.

    Args:
        artefacts: for each split those that hold its answers.
    """
    told = [(name, cell) for cell in cells for name in artefacts[cell.split]]
    paths = [cell_path(results, f"base_{name}", cell) for name, cell in told]
    return list(dict.fromkeys(paths + [cell_path(results, name, cell) for name, cell in told]))


def figure_path(results: str, name: str, kind: str) -> str:
    """The file of one figure in one of `FORMATS`."""
    return f"{artefact_path(results, 'figures')}/{name}.{kind}"


def figure_paths(results: str) -> list[str]:
    """All that is written of the figures: each in each of its formats, what draws them in a page, and their digests."""
    figures = [figure_path(results, name, kind) for name in FIGURES for kind in FORMATS]
    return [*figures, artefact_path(results, "vega"), artefact_path(results, "figures_digests")]


def study_path(results: str, artefact: str, cell: Cell, kind: str, **values: object) -> str:
    """The path of a cell's study data: `self` stands there under the learner's name, so that others can share it."""
    return artefact_path(
        results, artefact, **{**cell.keys(), "teacher": cell.resolved_teacher(), "kind": kind}, **values
    )


def study_paths(
    results: str, artefact: str, cells: Iterable[Cell], kinds: Mapping[str, Sequence[str]], **values: object
) -> list[str]:
    """The same of many cells, each path once; `kinds` has for each protocol its kinds of study data."""
    return sorted(
        {study_path(results, artefact, cell, kind, **values) for cell in cells for kind in kinds[cell.protocol]}
    )
