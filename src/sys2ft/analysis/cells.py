"""The table `cells`: what each cell studied, trained and cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from sys2ft.grid import Cell
from sys2ft.models import load_manifest
from sys2ft.paths import artefact_path, cell_path, study_path
from sys2ft.settings.stages import BuildTablesStage
from sys2ft.tables import read_rows

Row = Mapping[str, Any]


def summarise_cell(
    questions: Sequence[Row],
    log: Sequence[Row],
    study: Sequence[Row],
    completions: Sequence[Row],
    parameters: int,
    teacher_parameters: int,
) -> dict[str, Any]:
    """One row of `cells`, without the cell's keys.

    Args:
        questions: rows of the split's `questions`.
        log: the cell's `train_log`.
        study: its `study` rows; empty without a teacher.
        completions: the teacher's `completions`; empty without a teacher.
        parameters: of the learner.
        teacher_parameters: of the teacher; 0 for recorded study data.

    FLOPs are the usual counts a token: 2 x parameters forward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and
    as much again backward where the base is frozen and only activations need gradients.
    """
    read = sum(row["prompt_tokens"] or 0 for row in completions)
    written = sum(row["completion_tokens"] or 0 for row in completions)
    tokens = sum(row["tokens"] for row in log)
    steps = {row["step"]: row for row in log}
    last = max(steps)
    computed = sum(row["computed_tokens"] for row in steps.values())
    return {
        "items": len({row["item"] for row in questions}),
        "questions": len(questions),
        "study_rows": len(study) or None,
        "study_kept": sum(row["status"] == "kept" for row in study) / len(study) if study else None,
        "teacher_prompt_tokens": read,
        "teacher_tokens": written,
        "teacher_flops": 2.0 * teacher_parameters * (read + written),
        "samples_seen": sum(row["samples"] for row in log),
        "tokens_seen": tokens,
        "loss_tokens_seen": sum(row["loss_tokens"] for row in log),
        "train_flops": 4.0 * parameters * tokens,
        "first_loss": _mean([row["loss"] for row in log if row["step"] == 1]),
        "last_loss": _mean([row["loss"] for row in log if row["step"] == last]),
        "train_seconds": sum(row["seconds"] for row in steps.values()),
        "computed_share": computed / tokens,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def read_cell(results: str, cell: Cell, stage: BuildTablesStage) -> dict[str, Any]:
    """Read what `summarise_cell` needs of one cell."""
    kind = stage.kinds[cell.protocol]
    study, completions, teacher_parameters = [], [], 0
    if kind is not None:
        study = read_rows("study", study_path(results, "study", cell, kind))
        completions = read_rows("completions", study_path(results, "completions", cell, kind))
        if (writer := stage.teacher_models[cell.resolved_teacher()]) is not None:
            teacher_parameters = load_manifest(artefact_path(results, "model", model=writer))["parameters"]
    return summarise_cell(
        read_rows("questions", cell_path(results, "questions", cell)),
        read_rows("train_log", cell_path(results, "train_log", cell)),
        study,
        completions,
        load_manifest(cell_path(results, "model", cell))["parameters"],
        teacher_parameters,
    )
