"""All that a study writes."""

from collections.abc import Iterator

import pyarrow as pa

from sys2ft import tables
from sys2ft.grid import Cell
from sys2ft.paths import answer_paths, artefact_path, cell_path, figure_paths, study_path, study_paths
from sys2ft.settings.study import Study


def list_outputs(study: Study) -> dict[str, pa.Schema | None]:
    """Where a study's outputs are, each once, in the order of the workflow; a Parquet table's with its schema."""
    results, cells, stage = study.results, study.cells(), study.build_tables_stage()
    teachers = {cell.resolved_teacher() for cell in cells} - {"none"}
    found: dict[str, pa.Schema | None] = {}
    for artefact in ("model", "weights", "items", "questions"):
        schema = {"items": tables.ITEMS, "questions": tables.QUESTIONS}.get(artefact)
        found |= {cell_path(results, artefact, cell): schema for cell in cells}
    taught_by = sorted({model for teacher in teachers if (model := study.teacher(teacher).model) is not None})
    found |= {artefact_path(results, name, model=model): None for model in taught_by for name in ("model", "weights")}
    for teacher in sorted(teachers):
        writes = [cell for cell in cells if cell.resolved_teacher() == teacher]
        for shard in study.shards(teacher):
            paths = study_paths(results, "completions", writes, stage.kinds, shard=shard)
            found |= dict.fromkeys(paths, tables.COMPLETIONS)
        for artefact, schema in (("study", tables.STUDY), ("study_counts", tables.STUDY_COUNTS)):
            found |= dict.fromkeys(study_paths(results, artefact, writes, stage.kinds), schema)
    sets = {name for cell in cells for name in study.replay_of(cell.protocol)}
    found |= {artefact_path(results, "replay", replay=name): tables.REPLAY for name in sorted(sets)}
    for artefact, schema in (("sequences", tables.SEQUENCES), ("train_log", tables.TRAIN_LOG), ("adapters", None)):
        found |= {cell_path(results, artefact, cell): schema for cell in cells}
    found |= dict.fromkeys(answer_paths(results, cells, stage.answers), tables.ANSWERS)
    for artefact in ("base_retention", "retention"):
        found |= {cell_path(results, artefact, cell): tables.RETENTION for cell in cells}
    for name in ("answers", "retention", "study_counts", "cells", "effects", "dynamics", "scaling"):
        path = artefact_path(results, f"{name}_table")
        found |= {path: tables.SCHEMAS[name], csv_twin(path): None}
    found |= dict.fromkeys(figure_paths(results))
    found |= {artefact_path(results, name): None for name in ("report", "report_digests")}
    return found


def shown_paths(study: Study) -> list[str]:
    """The tables that the report reads of the cells that can be looked at in it."""
    return list(dict.fromkeys(path for cell in study.shown_cells() for path in _shown_of(study, cell)))


def _shown_of(study: Study, cell: Cell) -> Iterator[str]:
    answers = study.answers(cell.split)
    for name in ("items", "questions", "sequences", "train_log", *answers, *(f"base_{name}" for name in answers)):
        yield cell_path(study.results, name, cell)
    for kind in study.kinds_of(cell.protocol):
        yield study_path(study.results, "study", cell, kind)
        for shard in study.shards(cell.resolved_teacher()):
            yield study_path(study.results, "completions", cell, kind, shard=shard)


def csv_twin(path: str) -> str:
    """The same table as CSV, beside it."""
    return path.removesuffix(".parquet") + ".csv"
