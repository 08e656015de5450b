"""What a table holds, as a digest: the same however its file is compressed, split into pages or described."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def content_digest(table: pa.Table) -> str:
    """16 hexadecimal digits of the names of a table's columns and all of their values, in order.

    Not of its file: that also holds settings, statistics and what another version of Parquet's writer does otherwise.
    """
    told = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        told.update(f"{name}\0".encode())
        _tell(told, column.combine_chunks())
    return told.hexdigest()[:16]


def _tell(told: Any, array: pa.Array) -> None:
    """How many values there are, which of them are null, and those that are not, column by column."""
    told.update(len(array).to_bytes(8, "little") + np.packbits(_numpy(array.is_valid())).tobytes())
    values = array.drop_null()
    if pa.types.is_struct(array.type):
        for child in values.flatten():
            _tell(told, child)
    elif pa.types.is_list(array.type):
        told.update(_numpy(pc.list_value_length(values)).tobytes())
        _tell(told, values.flatten())
    elif pa.types.is_string(array.type):
        told.update(_numpy(pc.binary_length(values)).tobytes())
        told.update("".join(values.to_pylist()).encode())
    else:
        told.update(_numpy(values).tobytes())


def _numpy(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)
