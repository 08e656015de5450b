"""The table `cells`: what each cell studied, trained and cost, and where it comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from sys2ft.analysis.provenance import read_origins, summarise_origins
from sys2ft.cost import total, training_flops
from sys2ft.grid import Cell
from sys2ft.models import load_manifest
from sys2ft.paths import cell_path, study_path
from sys2ft.settings.stages import BuildTablesStage
from sys2ft.tables import QUESTIONS, STUDY_COUNTS, TRAIN_LOG, read_rows

Row = Mapping[str, Any]


def summarise_cell(
    questions: Sequence[Row],
    log: Sequence[Row],
    counts: Sequence[Row] | None,
    parameters: int,
    match: str,
    amount: float,
    method: str = "lora",
) -> dict[str, Any]:
    """One row of `cells`, without the cell's keys.

    Args:
        questions: rows of the split's `questions`.
        log: the cell's `train_log`.
        counts: its `study_counts`, of all kinds it trains; None without a teacher.
        parameters: of the learner.
        match: what protocols are matched by.
        amount: how many of it an item.
        method: what is updated, `lora` or `full`.
    """
    tokens = sum(row["tokens"] for row in log)
    # A step of a bank is a step of many items, and each item's row tells the whole step's cost: its share of it is that
    # of its tokens. Steps are not counted, as items taken over from an earlier run stand beside new ones.
    useful = [row["tokens"] - row["samples"] for row in log]  # nothing is predicted from a sequence's last token
    computed = [n / row["useful_share"] for n, row in zip(useful, log, strict=True)]
    firsts, lasts = {row["item"]: row["loss"] for row in reversed(log)}, {row["item"]: row["loss"] for row in log}
    study = summarise_study(counts)
    flops = training_flops(parameters, tokens, sum(row["context_tokens"] for row in log), method)
    return {
        "items": len({row["item"] for row in questions}),
        "questions": len(questions),
        **study,
        "match": match,
        "amount": amount,
        "samples_seen": sum(row["samples"] for row in log),
        "tokens_seen": tokens,
        "loss_tokens_seen": sum(row["loss_tokens"] for row in log),
        "train_flops": flops,
        "total_flops": None if study["teacher_flops"] is None else study["teacher_flops"] + flops,
        "first_loss": _mean([*firsts.values()]),
        "last_loss": _mean([*lasts.values()]),
        "train_seconds": sum(row["seconds"] * n / row["computed_tokens"] for n, row in zip(computed, log, strict=True)),
        "useful_share": sum(useful) / sum(computed),
    }


def summarise_study(counts: Sequence[Row] | None) -> dict[str, Any]:
    """What a cell studied, and what that cost; nothing, at no cost, without a teacher."""
    costs = ("teacher_prompt_tokens", "teacher_tokens", "teacher_flops")
    if counts is None:
        unknown = ("study_rows", "study_kept", "study_leaked", "largest_overlap", "leak_threshold")
        return dict.fromkeys(unknown) | dict.fromkeys(costs, 0)
    rows = sum(row["rows"] for row in counts)
    return {
        "study_rows": rows,
        "study_kept": sum(row["kept"] for row in counts) / rows,
        "study_leaked": sum(row["leaked"] for row in counts),
        "largest_overlap": max(row["largest_overlap"] for row in counts),
        "leak_threshold": max(row["leak_threshold"] for row in counts),
        **{name: total([row[name] for row in counts]) for name in costs},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def read_cell(results: str, cell: Cell, stage: BuildTablesStage) -> dict[str, Any]:
    """One row of `cells`, without the cell's keys, from the outputs of one cell."""
    kinds = stage.kinds[cell.protocol]
    counts = read_rows(STUDY_COUNTS, *(study_path(results, "study_counts", cell, kind) for kind in kinds))
    model = load_manifest(cell_path(results, "model", cell))
    row = summarise_cell(
        read_rows(QUESTIONS, cell_path(results, "questions", cell)),
        read_rows(TRAIN_LOG, cell_path(results, "train_log", cell)),
        counts if kinds else None,
        model["parameters"],
        stage.match,
        stage.amount,
        stage.methods[cell.method],
    )
    artefacts = (*stage.answers[cell.split], "retention")
    paths = [cell_path(results, before + name, cell) for before in ("", "base_") for name in artefacts]
    answered, *others = read_origins(paths)
    return {**row, "revision": model["revision"], **summarise_origins(kinds, counts, answered, others)}
