"""Whether all that a row was made from is still what it was: each digest computed again, and compared with each place
that tells it.

What is told: a table's origin (`sys2ft.origins`) tells the digests of what it was made from, `cells` those of a cell,
`digests.json` those of the weights beside it, an answer that of the adapter that gave it, and `tables/answers.parquet`
the answers themselves. A file that is not there any more is no damage: it may have been deleted to have room.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sys2ft.explain.behind import Behind
from sys2ft.grid import AXES, Cell
from sys2ft.learned import DIGESTS, damaged_weights
from sys2ft.models import damaged_files
from sys2ft.origins import MANIFEST, Origin, digest_of, read_origin
from sys2ft.paths import artefact_path, cell_path, study_path
from sys2ft.tables import ANSWERS, RETENTION, content_digest, read_table

Row = Mapping[str, Any]
OK, DAMAGED, GONE, EDITED, UNTOLD = "ok", "differs", "not there any more", "edited since", "nobody told its digest"
Told = dict[str, dict[str, list[str]]]
"""For each path the digests that are told of it, and who tells them."""


@dataclass
class Check:
    """One output or file that a row was made from.

    Attributes:
        path: from the project's folder.
        digest: of its content now; None where it is not there or cannot be read.
        status: `ok`; `differs`, which alone is damage; or why nothing can be said.
        problems: exactly what differs.
    """

    path: str
    digest: str | None = None
    status: str = OK
    problems: list[str] = field(default_factory=list)

    def damage(self, problem: str) -> None:
        """Note a difference."""
        self.status = DAMAGED
        self.problems.append(problem)


def check_all(results: str, tables: Iterable[Behind], cells: Iterable[Row]) -> tuple[list[Check], list[Origin]]:
    """Check the tables of answers behind a row and all before them; returns the origins too that were found.

    Args:
        results: the results folder.
        tables: of answers.
        cells: rows of `cells`.
    """
    tables, told = list(tables), Told()
    origins: list[Origin] = []
    for behind in tables:
        told.setdefault(str(behind.path), {})
        if behind.path.exists():
            try:
                origin = read_origin(behind.path)
            except (OSError, ValueError):  # said below: it cannot be read
                continue
            if origin is not None:
                origins.append(origin)
                _tell(told, origin, str(behind.path))
    for cell in cells:
        _tell_cell(told, results, cell)
    checks = {path: _check(path, some, results) for path, some in told.items()}
    gathered = _gather(results, tables)
    for behind in tables:
        _check_answers(checks[str(behind.path)], results, behind, gathered.get(_gathered_in(behind)))
    return list(checks.values()), origins


def _tell(told: Told, origin: Origin, by: str) -> None:
    for source in origin.sources():
        told.setdefault(source.path, {}).setdefault(source.digest, []).append(by)
        if source.origin is not None:
            _tell(told, source.origin, source.path)


def _tell_cell(told: Told, results: str, row: Row) -> None:
    cell = Cell(**{axis: row[axis] for axis in AXES})
    by = artefact_path(results, "cells_table")
    named = {name: row[f"{name}_digest"] for name in ("model", "items", "questions", "sequences", "adapters")}
    paths = {cell_path(results, name, cell): digest for name, digest in named.items()}
    for study in row["studies"] or ():
        paths[study_path(results, "study", cell, study["kind"])] = study["digest"]
    for path, digest in paths.items():
        some = told.setdefault(path, {})
        if digest is not None:
            some.setdefault(digest, []).append(by)


def _check(path: str, told: Mapping[str, list[str]], results: str) -> Check:
    """Content against all that is told of it, and files against their checksums."""
    check = Check(path)
    if not Path(path).exists():
        check.status = GONE
        return check
    try:
        check.digest = digest_of(Path(path))
        damaged = _damaged_files(Path(path))
    except (OSError, ValueError, KeyError) as error:
        check.damage(f"cannot be read ({error})")
        return check
    for name in damaged:
        check.damage(f"{name} is missing or damaged")
    ours = Path(path).is_relative_to(results)
    for digest, by in told.items():
        if digest != check.digest and ours:
            check.damage(f"its digest is {check.digest}, and {', '.join(dict.fromkeys(by))} tells {digest}")
        elif digest != check.digest:
            check.status = EDITED  # people may go on writing
    if check.status == OK and not told:
        check.status = UNTOLD
    return check


def _damaged_files(path: Path) -> list[str]:
    if path.name == MANIFEST:
        return damaged_files(path)
    return damaged_weights(path) if path.is_dir() else []


def _check_answers(check: Check, results: str, behind: Behind, gathered: pa.Table | None) -> None:
    """That the table of all answers holds these, and that the adapters that gave them are those that are there."""
    if check.digest is None:
        return
    table = read_table(*_schema_and_path(behind))
    if gathered is not None:
        check.status = OK if check.status == UNTOLD else check.status
        found = _of(gathered, behind, table)
        if content_digest(found) != check.digest:
            name = artefact_path(results, _gathered_in(behind))
            check.damage(f"its rows are not those that {name} has of it: {_differing(table, found)}")
    adapters = Path(cell_path(results, "adapters", Cell(**dict(behind.keys)))) if behind.trained else None
    if adapters is not None and (adapters / DIGESTS).exists():
        known = set(json.loads((adapters / DIGESTS).read_text(encoding="utf-8"))["digests"].values())
        for digest in sorted(set(pc.unique(table["adapter"]).to_pylist()) - known):
            check.damage(f"answers were given by an adapter {digest}, and {adapters / DIGESTS} knows none such")


def _gathered_in(behind: Behind) -> str:
    return "retention_table" if behind.artefact == "retention" else "answers_table"


def _schema_and_path(behind: Behind) -> tuple[pa.Schema, Path]:
    return RETENTION if behind.artefact == "retention" else ANSWERS, behind.path


def _gather(results: str, tables: Iterable[Behind]) -> dict[str, pa.Table]:
    """What the tables of the study hold of the models concerned, read once."""
    models = sorted({dict(behind.keys)["model"] for behind in tables})
    paths = {name: Path(artefact_path(results, name)) for name in {_gathered_in(behind) for behind in tables}}
    chosen = pc.field("model").isin(models)
    return {
        name: pq.read_table(path, filters=chosen, partitioning=None) for name, path in paths.items() if path.exists()
    }


def _of(gathered: pa.Table, behind: Behind, table: pa.Table) -> pa.Table:
    """The rows of one table of answers."""
    chosen = pc.scalar(True)
    for name, value in behind.keys:
        chosen &= pc.field(name).is_null() if value is None else pc.field(name) == value
    if behind.artefact != "retention":
        chosen &= pc.field("mode").isin(pc.unique(table["mode"]).to_pylist())
    return gathered.filter(chosen)


def _differing(table: pa.Table, gathered: pa.Table) -> str:
    if table.num_rows != gathered.num_rows:
        return f"{table.num_rows} rows, and {gathered.num_rows} there"
    names = [name for name in table.schema.names if not table[name].equals(gathered[name])]
    return f"columns {', '.join(names)}"


def damages(checks: Iterable[Check]) -> Iterator[str]:
    """What is damaged, a line each."""
    for check in checks:
        yield from (f"{check.path}: {problem}" for problem in check.problems)
