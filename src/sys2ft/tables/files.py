"""Tables as files: written whole or not at all, and checked when they are read."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import BaseModel

from sys2ft.tables.columns import name_of


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it on success and removed on failure.

    A killed job thus leaves no half file under a name that anything reads. Works for files and directories.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary = folder / path.name
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            path.rename(folder / "old")
        os.replace(temporary, path)
    finally:
        for child in sorted(folder.rglob("*"), reverse=True):
            child.rmdir() if child.is_dir() else child.unlink()
        folder.rmdir()


def build_table(
    schema: pa.Schema, rows: Sequence[Mapping[str, Any]], keys: Mapping[str, Any] | None = None
) -> pa.Table:
    """Rows as a table; `keys` are columns that all rows share.

    Raises:
        KeyError: a row lacks a column or has one that the schema does not know.
    """
    full = [{**(keys or {}), **row} for row in rows]
    for row in full:
        if odd := set(row) ^ set(schema.names):
            raise KeyError(f"table '{name_of(schema)}': columns {sorted(odd)} do not match its schema")
    return pa.Table.from_pylist(full, schema=schema)


def write_table(
    table: pa.Table, path: str | Path, settings: Mapping[str, Any] | None = None, origin: BaseModel | None = None
) -> None:
    """Write Parquet (zstd), or CSV where the path says so; whole or not at all.

    Args:
        settings: what made the table; kept in the file's metadata under `sys2ft`.
        origin: where it comes from (`sys2ft.origins`); kept there under `origin`.
    """
    with atomic_path(path) as temporary:
        if str(path).endswith(".csv"):
            temporary.write_bytes(csv_bytes(table))
            return
        kept = {} if settings is None else {"sys2ft": json.dumps(settings, sort_keys=True)}
        if origin is not None:
            kept["origin"] = origin.model_dump_json(exclude_defaults=True)
        if kept:
            table = table.replace_schema_metadata(kept)
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def csv_bytes(table: pa.Table) -> bytes:
    """A table as CSV."""
    stream = pa.BufferOutputStream()
    pyarrow.csv.write_csv(_flatten(table), stream)
    return stream.getvalue().to_pybytes()


def _flatten(table: pa.Table) -> pa.Table:
    """Lists and structs as JSON text: CSV has neither."""
    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            text = [None if value is None else json.dumps(value) for value in table[field.name].to_pylist()]
            table = table.set_column(index, field.name, pa.array(text, pa.string()))
    return table


def read_table(schema: pa.Schema, path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, and check the sums of its pages and that it has the columns of its schema.

    Args:
        columns: those that are wanted, their texts as dictionaries, which takes far less memory; None: all as they are.

    Raises:
        ValueError: the file is damaged, or holds other columns and was written by another version.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found = file.schema_arrow
        table = file.read() if columns is None else _read_columns(path, schema, columns)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and run again") from error
    if found.remove_metadata() != schema.remove_metadata():
        raise ValueError(f"{path} does not have the columns of the table '{name_of(schema)}': delete it and run again")
    return table


def _read_columns(path: str | Path, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    texts = [name for name in columns if pa.types.is_string(schema.field(name).type)]
    return pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts).read(columns=list(columns))


def read_batches(
    schema: pa.Schema, path: str | Path, columns: Sequence[str], rows: int = 1_000_000
) -> Iterator[pa.RecordBatch]:
    """Some columns of a table, a number of rows at a time, with the checks of `read_table`.

    Raises:
        ValueError: as `read_table`.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if file.schema_arrow.remove_metadata() != schema.remove_metadata():
            raise ValueError(f"it does not have the columns of the table '{name_of(schema)}'")
        yield from file.iter_batches(batch_size=rows, columns=list(columns))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be used ({error}): delete it and run again") from error


def read_rows(schema: pa.Schema, *paths: str | Path) -> list[dict[str, Any]]:
    """The rows of one or more tables, in order."""
    return [row for path in paths for row in read_table(schema, path).to_pylist()]
