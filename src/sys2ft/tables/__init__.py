"""The tables between the stages: one schema each, written whole or not at all.

Keys of the path are columns too, so that a table can be read apart from its place. A missing value is null.
"""

from sys2ft.tables.columns import name_of
from sys2ft.tables.digests import content_digest
from sys2ft.tables.files import (
    atomic_path,
    build_table,
    csv_bytes,
    read_batches,
    read_rows,
    read_table,
    write_table,
)
from sys2ft.tables.findings import ANSWERS, AUDIT, CELLS, DYNAMICS, EFFECTS, PROVENANCE, RETENTION, SCALING
from sys2ft.tables.stages import COMPLETIONS, ITEMS, QUESTIONS, REPLAY, SEQUENCES, STUDY, STUDY_COUNTS, TRAIN_LOG

SCHEMAS = {
    name_of(schema): schema
    for schema in (
        ITEMS, QUESTIONS, COMPLETIONS, STUDY, STUDY_COUNTS, REPLAY, SEQUENCES, TRAIN_LOG, ANSWERS, RETENTION, CELLS,
        AUDIT, EFFECTS, DYNAMICS, SCALING,
    )
}  # fmt: skip

__all__ = [
    "ANSWERS", "AUDIT", "CELLS", "COMPLETIONS", "DYNAMICS", "EFFECTS", "ITEMS", "PROVENANCE", "QUESTIONS", "REPLAY",
    "RETENTION", "SCALING", "SCHEMAS", "SEQUENCES", "STUDY", "STUDY_COUNTS", "TRAIN_LOG", "atomic_path", "build_table",
    "content_digest", "csv_bytes", "name_of", "read_batches", "read_rows", "read_table", "write_table",
]  # fmt: skip
