"""What the queries of `docs/reading-the-tables.md` are to find, by name, worked out in plain Python from the tables."""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from sys2ft.tables import TRAIN_LOG, read_rows

Row = Mapping[str, Any]
Tables = Mapping[str, list[dict[str, Any]]]


def grouped(rows: Iterable[Row], *names: str) -> list[tuple[tuple, list[Row]]]:
    """The rows of each value of some columns, in their order."""

    def key(row: Row) -> tuple:
        return tuple(row[name] for name in names)

    return [(values, list(some)) for values, some in groupby(sorted(rows, key=key), key=key)]


def gains(tables: Tables) -> list[tuple]:
    names = (
        "protocol",
        "teacher",
        "mode",
        "estimate",
        "low",
        "high",
        "net",
        "net_low",
        "net_high",
        "detectable",
        "verdict",
    )
    wanted = {"measure": "closed_book_gain", "control": "blank_question", "split": "all"}
    rows = [row for row in tables["effects"] if wanted.items() <= row.items()]
    rows.sort(key=lambda row: (-row["net"], row["protocol"], row["mode"]))
    return [tuple(row[name] for name in names) for row in rows]


def accuracies(tables: Tables) -> list[tuple]:
    wanted = {"split": "events", "condition": "closed_book", "control": "none", "milestone": False}
    rows = [
        row for row in tables["answers"] if wanted.items() <= row.items() and row["scores"] and row["method"] != "none"
    ]
    return [
        (*keys, fmean(row["correct"] or 0 for row in some), len(some))
        for keys, some in grouped(rows, "protocol", "split", "mode")
    ]


def learning(_: Tables) -> list[tuple]:
    paths = sorted(Path("results/fine_tune").glob("*/method=lora/*/*/split=events/*/train_log.parquet"))
    return [
        (*keys, some[0]["loss"], some[-1]["loss"], sum(row["tokens"] for row in some))
        for keys, some in grouped(read_rows(TRAIN_LOG, *paths), "protocol", "seed", "item")
    ]


def paired(tables: Tables) -> list[tuple]:
    wanted = {"condition": "closed_book", "control": "none", "mode": "cloze", "milestone": False}
    asked = [row for row in tables["answers"] if wanted.items() <= row.items()]
    base = {(row["split"], row["question_id"]): row["correct"] for row in asked if row["method"] == "none"}
    tuned = [{**row, "base": base[row["split"], row["question_id"]]} for row in asked if row["method"] != "none"]
    found = []
    for keys, some in grouped(tuned, "protocol", "kind"):
        means = fmean(row["correct"] for row in some), fmean(row["base"] for row in some)
        found.append((*keys, *means, means[0] - means[1]))
    return found


def left_out(tables: Tables) -> list[tuple]:
    names = ("rows", "kept", "unparsed", "leaked", "near_duplicate")
    return [
        (*keys, *(sum(row[name] for row in some) for name in names))
        for keys, some in grouped(tables["study_counts"], "teacher", "kind")
    ]


def studied(tables: Tables) -> list[tuple]:
    found = [
        (row["protocol"], row["split"], row["seed"], *study.values())
        for row in tables["cells"]
        for study in row["studies"] or ()
    ]
    return sorted(found)


def environments(tables: Tables) -> list[tuple]:
    used = [pair for row in tables["cells"] for pair in row["environment"]]
    return [(*keys, len(some)) for keys, some in grouped(used, "package", "version")]


QUERIES: dict[str, Callable[[Tables], list[tuple]]] = {
    "gains": gains, "accuracies": accuracies, "learning": learning, "paired": paired, "left out": left_out,
    "studied": studied, "environments": environments,
}  # fmt: skip
