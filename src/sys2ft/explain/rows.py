"""Which row of which table is explained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sys2ft.errors import InputError, suggest_name
from sys2ft.tables import SCHEMAS, read_table

ABOUT_CELLS = ("model", "method", "protocol", "teacher", "split")
SHOWN = 12
"""Candidates that an error lists."""


@dataclass(frozen=True)
class Chosen:
    """A row.

    Attributes:
        path: of its table.
        number: of the row in it, from 0.
        row: column to value.
    """

    path: Path
    number: int
    row: dict[str, Any]

    @property
    def table(self) -> str:
        """What its table is called."""
        return self.path.stem

    @property
    def results(self) -> str:
        """The results folder of its study."""
        return str(self.path.parent.parent)


def choose_row(path: Path, number: int | None, keys: Sequence[str]) -> Chosen:
    """The row of a number, or the one that has all of some values.

    Args:
        path: a table below `results/.../tables`, whose rows are about cells.
        number: from 0.
        keys: `column=value`; a value that is null is written as nothing.

    Raises:
        InputError: there is no such table, column or row, or several rows are meant; names the candidates.
    """
    table = _read(path)
    if number is not None:
        if not 0 <= number < table.num_rows:
            raise InputError(path, "row", f"there is no row {number}", f"write a number from 0 to {table.num_rows - 1}")
        return Chosen(path, number, table.slice(number, 1).to_pylist()[0])
    numbers = pa.array(range(table.num_rows))
    for key in keys:
        column, _, value = key.partition("=")
        told = _texts(table, column, path)
        left = pc.filter(numbers, pc.equal(pc.take(told, numbers), value))
        if not len(left):
            known = pc.unique(pc.take(told, numbers)).to_pylist()
            before = " among the rows that the other keys leave" if key != keys[0] else ""
            raise InputError(path, column, f"no row has '{value}'{before}", suggest_name(value, known))
        numbers = left
    if len(numbers) > 1:
        raise InputError(path, "key", *_ask(table, numbers))
    (found,) = numbers.to_pylist()
    return Chosen(path, found, table.slice(found, 1).to_pylist()[0])


def _read(path: Path) -> pa.Table:
    known = [name for name, schema in SCHEMAS.items() if set(ABOUT_CELLS) <= set(schema.names)]
    if not path.is_file():
        raise InputError(path, "", "no such table", "run the study first, or correct the path")
    if path.stem not in known or path.parent.name != "tables":
        mend = f"name one of {', '.join(f'tables/{name}.parquet' for name in known)} below the results folder"
        raise InputError(path, "", "is no table of results whose rows are about cells", mend)
    table = read_table(SCHEMAS[path.stem], path)
    if not table.num_rows:
        raise InputError(path, "", "has no rows", "run the study first")
    return table


def _texts(table: pa.Table, column: str, path: Path) -> pa.ChunkedArray:
    """A column's values as text; null as nothing."""
    named = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    if column not in named:
        raise InputError(path, "key", f"there is no column '{column}' to choose by", suggest_name(column, named))
    return pc.fill_null(pc.cast(table[column], pa.string()), "")


def _ask(table: pa.Table, numbers: pa.Array) -> tuple[str, str]:
    """A problem and its mend: several rows are meant; they are told apart by the columns in which they differ."""
    rows = table.take(numbers[:SHOWN]).to_pylist()
    kinds = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean)
    names = [field.name for field in table.schema if any(kind(field.type) for kind in kinds)]
    differing = [
        name for name in names if len({row[name] for row in rows}) > 1 and name not in ("completion", "verdict")
    ]
    lines = [
        f"  --row {number}: " + " ".join(f"{name}={'' if row[name] is None else row[name]}" for name in differing)
        for number, row in zip(numbers.to_pylist(), rows, strict=False)
    ]
    more = [f"  and {len(numbers) - SHOWN} more"] if len(numbers) > SHOWN else []
    problem = "\n".join([f"{len(numbers)} rows are meant:", *lines, *more]) + "\n"
    return problem, "add keys, or name a row"
