"""The cells and the tables of answers that a row is made of: enumerated from `cells`, not searched for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sys2ft.errors import InputError
from sys2ft.examples import settings_of
from sys2ft.explain.estimates import Voices, voices_of
from sys2ft.explain.rows import Chosen
from sys2ft.grid import AXES, NONE, Cell
from sys2ft.paths import artefact_path
from sys2ft.settings.base import WRITTEN
from sys2ft.tables import ANSWERS, CELLS, RETENTION, read_rows

Row = Mapping[str, Any]
ALL = "all"  # of the splits, or the tasks' questions


@dataclass(frozen=True)
class Behind:
    """A table of answers that a row is made of.

    Attributes:
        who: base, tuned or other (who is compared with; where sizes are, tuned and other may be bases).
        artefact: `answers`, `written` or `retention`.
        keys: the columns that all of its rows share.
    """

    who: str
    artefact: str
    path: Path
    keys: tuple[tuple[str, Any], ...]

    @property
    def trained(self) -> bool:
        """Whether a trained model answered, and not a base."""
        return dict(self.keys)["method"] != NONE


def cells_behind(chosen: Chosen) -> dict[str, list[dict[str, Any]]]:
    """The rows of `cells` that a row is about: those of the tuned model, and of who it is compared with.

    Raises:
        InputError: there is no table `cells`, or it has none of them.
    """
    path, row = Path(artefact_path(chosen.results, "cells_table")), chosen.row
    if not path.is_file():
        raise InputError(path, "", "missing", "make it again: snakemake ... tables")
    splits = _splits_in_mode(chosen)
    cells = [cell for cell in read_rows(CELLS, path) if splits is None or cell["split"] in splits]
    keys = {axis: row[axis] for axis in AXES if row.get(axis) is not None}
    keys = {axis: value for axis, value in keys.items() if (axis, value) != ("split", ALL)}
    if row["method"] == NONE:  # a base has no cell of its own
        keys = {axis: value for axis, value in keys.items() if value != NONE and axis in ("model", "split")}
    found = {"tuned": [cell for cell in cells if keys.items() <= cell.items()]}
    if row.get("versus") is not None:
        other = {**keys, "model" if row["measure"] == "size_contrast" else "protocol": row["versus"]}
        teachers = (other.pop("teacher", NONE), NONE)
        fitting = [cell for cell in cells if other.items() <= cell.items()]
        found["other"] = [cell for cell in fitting if row["method"] == NONE or cell["teacher"] in teachers]
    for several in found.values():
        if not several:
            raise InputError(path, "", f"has no cell of {chosen.path}, row {chosen.number}", "make both tables again")
    return found


def _splits_in_mode(chosen: Chosen) -> set[str] | None:
    """The splits whose questions were put in the row's mode; None where that is not known, or all are meant."""
    path = Path(artefact_path(chosen.results, "answers_table"))
    if _artefacts(chosen) not in (("answers",), ("written",)) or not path.is_file():
        return None
    asked = pq.read_table(path, columns=["split"], filters=[("mode", "=", chosen.row["mode"])], partitioning=None)
    return set(asked["split"].to_pylist())


def tables_behind(chosen: Chosen, cells: Mapping[str, Iterable[Row]]) -> list[Behind]:
    """The tables of answers that a row is made of, each once; of those of a whole cell the ones that are there."""
    results, whose, artefacts = chosen.results, _voices(chosen), _artefacts(chosen)
    made = settings_of(artefact_path(results, "cells_table"))["answers"]
    found: dict[Behind, None] = {}
    for who, several in cells.items():
        for row in several:
            cell = Cell(**{axis: row[axis] for axis in AXES})
            for artefact in artefacts:
                if artefact not in ("retention", *made[cell.split]):
                    continue  # of modes that the study does not ask in any more
                told = []
                if chosen.row["method"] == NONE:
                    told.append(_of_base(who if who in whose else "base", artefact, results, cell))
                elif who in whose:
                    path = Path(artefact_path(results, artefact, **cell.keys()))
                    told.append(Behind(who, artefact, path, tuple(cell.keys().items())))
                if "base" in whose and who == "tuned":
                    told.append(_of_base("base", artefact, results, cell))
                found |= {behind: None for behind in told if len(artefacts) == 1 or behind.path.exists()}
    return sorted(found, key=lambda behind: ("base", "tuned", "other").index(behind.who))


def _of_base(who: str, artefact: str, results: str, cell: Cell) -> Behind:
    """The answers of a cell's base, which was asked the tasks of retention once for all splits."""
    keys = {**dict.fromkeys(AXES, NONE), "model": cell.model, "seed": None}
    keys |= {} if artefact == "retention" else {"split": cell.split}
    path = Path(artefact_path(results, f"base_{artefact}", **cell.keys()))
    return Behind(who, artefact, path, tuple(keys.items()))


def _voices(chosen: Chosen) -> set[str]:
    if chosen.table == "effects":
        return voices_of(chosen.row)
    if chosen.table in ("answers", "retention"):
        return {"base" if chosen.row["method"] == NONE else "tuned"}
    return {"base", "tuned"}


def _artefacts(chosen: Chosen) -> tuple[str, ...]:
    row = chosen.row
    if chosen.table == "retention" or row.get("measure") == "retention_change":
        return ("retention",)
    if row.get("mode", NONE) == NONE:
        return ("answers", "written", "retention")
    return ("written",) if row["mode"] in WRITTEN else ("answers",)


def read_voices(chosen: Chosen, tables: Iterable[Behind]) -> Voices:
    """The answers behind a row of `effects`, in its mode, without those of milestones.

    Raises:
        ValueError: a table is damaged.
    """
    mode, voices = chosen.row["mode"], Voices()
    for behind in tables:
        schema = RETENTION if behind.artefact == "retention" else ANSWERS
        rows = read_rows(schema, behind.path)
        if behind.artefact == "retention":
            rows = [_as_answer(row) for row in rows]
        chosen_rows = [row for row in rows if row["mode"] == mode and not row["milestone"]]
        voices.setdefault(behind.who, []).extend(chosen_rows)
    if chosen.row["measure"] == "retention_change":  # the base was asked once, for all that are compared with it
        readers = {(row["split"], row["item"]) for row in voices["tuned"]}
        voices["base"] = [
            {**row, "split": split, "item": item, "question_id": (item, row["question_id"][1])}
            for row in voices["base"]
            for split, item in readers
        ]
    return voices


def _as_answer(row: Row) -> dict[str, Any]:
    """A row of `retention` in the words of `answers`: its mode is task, metric and, of several, the filter."""
    mode = "/".join([row["task"], row["metric"], *([] if row["filter"] == NONE else [row["filter"]])])
    told = {"mode": mode, "condition": "general", "control": NONE, "milestone": False, "correct": row["value"]}
    return {**row, **told, "question_id": (row["item"], row["document"])}
