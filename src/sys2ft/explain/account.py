"""The whole account of a row: what it says, what it is computed from, and whether all of that is still what it was."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sys2ft.explain.behind import Behind, cells_behind, read_voices, tables_behind
from sys2ft.explain.checks import Check, check_all, damages
from sys2ft.explain.estimates import Recomputed, recompute
from sys2ft.explain.rows import Chosen, choose_row
from sys2ft.grid import AXES, Cell
from sys2ft.origins import Origin, read_origin
from sys2ft.paths import cell_path, study_path

Row = Mapping[str, Any]
NOT_COMPUTED = "is computed again for rows of effects only"


@dataclass(frozen=True)
class Account:
    """All that is known of a row.

    Attributes:
        chosen: the row.
        recomputed: its estimates once more; None where that cannot be.
        why_not: then why.
        tables: of the answers that it is made of.
        cells: rows of `cells` that it is about; none of a base's.
        checks: of all that it was made from, by path.
        code_versions: of each stage's code on the way, as they were.
        environments: where it was trained, or where a base answered; the same one stands once.
        damage: what differs from what was written, a line each.
    """

    chosen: Chosen
    recomputed: Recomputed | None
    why_not: str
    tables: list[Behind]
    cells: list[dict[str, Any]]
    checks: dict[str, Check]
    code_versions: list[tuple[str, int]]
    environments: list[dict[str, str]]
    damage: list[str]


def explain(path: Path, number: int | None, keys: Sequence[str]) -> Account:
    """Go back from a row to all that it was made from, and check that.

    Args:
        path: of a table below `results/.../tables`.
        number: of the row, from 0; None: the one that the keys tell.
        keys: `column=value`.

    Raises:
        InputError: no row is meant, or several are; or the table `cells` does not fit.
    """
    chosen = choose_row(Path(os.path.relpath(path)), number, keys)  # paths in origins are from the project's folder
    grouped = cells_behind(chosen)
    tables = tables_behind(chosen, grouped)
    trained = any(table.trained for table in tables)
    cells = [cell for several in grouped.values() for cell in several if trained]
    checks, origins = check_all(chosen.results, tables, cells)
    again, why_not = _recompute(chosen, tables)
    damage = list(damages(checks))
    if again is not None and again.differing:
        damage.append(f"{path}, row {chosen.number}: the answers give another {', '.join(again.differing)}")
    by_path = {check.path: check for check in checks}
    versions = _versions(origins, path)
    environments = _environments(cells, origins)
    return Account(chosen, again, why_not, tables, cells, by_path, versions, environments, damage)


def _recompute(chosen: Chosen, tables: Sequence[Behind]) -> tuple[Recomputed | None, str]:
    if chosen.table != "effects":
        return None, NOT_COMPUTED
    if gone := [table.path for table in tables if not table.path.exists()]:
        return None, f"cannot be computed again: {gone[0]} is not there any more"
    try:
        return recompute(chosen.row, read_voices(chosen, tables)), ""
    except (ValueError, ZeroDivisionError, KeyError) as error:
        return None, f"cannot be computed again: {error}"


def _versions(origins: Iterable[Origin], path: Path) -> list[tuple[str, int]]:
    own = read_origin(path)
    return sorted({(o.stage, o.version) for told in (*origins, *([own] if own else [])) for o in told.walk()})


def _environments(cells: Sequence[Row], origins: Iterable[Origin]) -> list[dict[str, str]]:
    trained = [{pair["package"]: pair["version"] for pair in cell["environment"] or ()} for cell in cells]
    found: list[dict[str, str]] = []
    for told in trained if cells else [origin.environment for origin in origins]:
        found += [told] if told and told not in found else []
    return found


def describe_cell(account: Account, row: Row) -> list[dict[str, Any]]:
    """What a cell was made from, in the order of the workflow: what it is, where, and what is known of it."""
    cell, results = Cell(**{axis: row[axis] for axis in AXES}), account.chosen.results
    told = [("learner", cell_path(results, "model", cell), f"{cell.model}, revision {row['revision']}")]
    told += [
        (name, cell_path(results, name, cell), count_rows(cell_path(results, name, cell)))
        for name in ("items", "questions")
    ]
    for study in row["studies"] or ():
        path, kind = study_path(results, "study", cell, study["kind"]), study["kind"]
        teacher = f"teacher {cell.resolved_teacher()}, revision {study['teacher_revision']}"
        told.append((f"study ({kind})", path, f"{_kept(path)}, {teacher}; prompts version {study['prompts_version']}"))
    told += [("sequences", cell_path(results, "sequences", cell), count_rows(cell_path(results, "sequences", cell)))]
    told += [("adapters", cell_path(results, "adapters", cell), f"digest {row['adapters_digest']}")]
    return [{"what": what, "path": path, "known": known} for what, path, known in told]


def count_rows(path: str) -> str:
    """How many rows a table has, in words."""
    try:
        return f"{pq.read_metadata(path).num_rows} rows"
    except (OSError, ValueError):
        return "unreadable"


def _kept(path: str) -> str:
    try:
        statuses = pq.ParquetFile(path).read(["status"])["status"].to_pylist()
    except (OSError, ValueError):
        return "unreadable"
    return f"{statuses.count('kept')} of {len(statuses)} rows kept"
