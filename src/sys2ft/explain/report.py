"""An account of a row as text for people, or as data."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sys2ft.explain.account import Account, count_rows, describe_cell
from sys2ft.explain.checks import Check
from sys2ft.explain.estimates import Part
from sys2ft.grid import AXES, NONE, Cell

LONG = 200


def as_data(account: Account) -> dict[str, Any]:
    """What `--format json` prints."""
    chosen, again = account.chosen, account.recomputed
    return {
        "table": str(chosen.path),
        "row": chosen.number,
        "values": chosen.row,
        "recomputed": {"why_not": account.why_not} if again is None else asdict(again),
        "answers": [
            {"who": table.who, "path": str(table.path), "holds": count_rows(str(table.path))}
            for table in account.tables
        ],
        "cells": [
            {**cell, "path": _cell(cell).path, "made_from": describe_cell(account, cell)} for cell in account.cells
        ],
        "checks": [asdict(check) for check in account.checks.values()],
        "code_versions": [{"stage": stage, "version": version} for stage, version in account.code_versions],
        "environments": account.environments,
        "damage": account.damage,
    }


def as_text(account: Account) -> Iterator[str]:
    """Lines for people."""
    chosen = account.chosen
    yield f"{chosen.path}, row {chosen.number}"
    for name, value in chosen.row.items():
        if value is not None and not isinstance(value, (list, dict)):
            yield f"  {name:<20} {f'{value:.6g}' if isinstance(value, float) else str(value)[:LONG]}"
    yield from _computed(account)
    yield from _heading("ANSWERS")
    for table in account.tables:
        check = account.checks[str(table.path)]
        yield f"  {check.status:<8} {table.who:<5} {count_rows(check.path)}  {table.path}"
    named = {str(table.path) for table in account.tables}
    for cell in account.cells:
        yield from _heading(f"CELL {_cell(cell).path}")
        for part in describe_cell(account, cell):
            named.add(part["path"])
            yield f"  {_status(account, part['path']):<8} {part['what']:<20} {part['known']}  {part['path']}"
    yield from _heading("ALSO ON THE WAY")
    for check in account.checks.values():
        if check.path not in named:
            yield f"  {check.status:<8} {check.path}"
    yield from _heading("CODE VERSIONS")
    yield "  " + (", ".join(f"{stage} {version}" for stage, version in account.code_versions) or "nobody kept them")
    yield from _heading(f"ENVIRONMENT it {'was trained' if account.cells else 'answered'} in")
    for told in account.environments:
        yield "  " + ", ".join(f"{name} {version}" for name, version in told.items())
    if not account.environments:
        yield "  nobody kept it"
    yield from _heading(_sum(account))
    yield from (f"  {line}" for line in account.damage)


def _computed(account: Account) -> Iterator[str]:
    again, row = account.recomputed, account.chosen.row
    if again is None:
        yield from _heading(f"COMPUTED AGAIN from the answers on disk: it {account.why_not}")
        return
    yield from _heading("COMPUTED AGAIN from the answers on disk")
    for part in again.parts:
        yield f"  {_part(part)}"
    for name, value in again.values.items():
        if row[name] is None:
            said = "the table leaves it undefined"
        else:
            said = f"the table says {row[name]:.6f}: " + ("DIFFERS" if name in again.differing else "agrees")
        yield f"  {name:<20} {value:.6f}; {said}"


def _part(part: Part) -> str:
    under = "" if part.control == NONE else f" under {part.control}"
    return f"{part.sign:+g} {part.who} {part.condition}{under}: {part.mean:.6f} over {part.answers} answers"


def _sum(account: Account) -> str:
    counts: dict[str, int] = {}
    for check in account.checks.values():
        counts[check.status] = counts.get(check.status, 0) + 1
    return f"{len(account.checks)} CHECKED: " + ", ".join(f"{count} {status}" for status, count in counts.items())


def _status(account: Account, path: str) -> str:
    check: Check | None = account.checks.get(path)
    return "" if check is None else check.status


def _cell(row: dict[str, Any]) -> Cell:
    return Cell(**{axis: row[axis] for axis in AXES})


def _heading(text: str) -> Iterator[str]:
    yield from ("", text)
