"""Whether what a study has written is still what was written: checksums of all of its outputs.

Tables carry checksums of their pages; adapters, models, figures and the report their digests. A file that is missing is
no matter of this: the workflow makes it again.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sys2ft import tables
from sys2ft.learned import damaged_weights
from sys2ft.models import damaged_files
from sys2ft.outputs import list_outputs
from sys2ft.progress import progress_bar
from sys2ft.report.files import is_damaged
from sys2ft.settings.study import Study

MANIFEST = "model.json"


@dataclass(frozen=True)
class Damage:
    """An output that is not what was written."""

    path: Path
    problem: str


def verify_outputs(study: Study) -> tuple[int, list[Damage]]:
    """Check every output of a study that exists; returns how many there are, and what is wrong."""
    outputs = [(Path(path), schema) for path, schema in list_outputs(study).items() if Path(path).exists()]
    found: list[Damage] = []
    bar = progress_bar(len(outputs), "outputs", "verify")
    for path, schema in outputs:
        if schema is not None:
            found += _check_table(path, schema)
        elif path.suffix != ".csv" and path.name != "weights":  # of these a table tells, and model.json
            found += _check_other(path)
        bar.update(1)
    bar.close()
    return len(outputs), found


def remove(damage: Damage) -> None:
    """Remove a damaged output, so that the workflow makes it again."""
    if damage.path.is_dir():
        shutil.rmtree(damage.path)
    else:
        damage.path.unlink(missing_ok=True)


def _check_table(path: Path, schema: pa.Schema) -> Iterator[Damage]:
    try:
        table = tables.read_table(schema, path)
    except ValueError as error:
        yield Damage(path, str(error))
        return
    twin = path.with_suffix(".csv")
    if twin.exists() and twin.read_bytes() != tables.csv_bytes(table):
        yield Damage(twin, f"{twin} does not hold what {path.name} holds: delete it and run again")


def _check_other(path: Path) -> Iterator[Damage]:
    """`adapters`, a model by its `model.json`, or a figure or page by the digests beside it."""
    mend = "delete the folder and run again"
    try:
        if path.is_dir():
            damaged = damaged_weights(path)
        elif path.name == MANIFEST:
            damaged = damaged_files(path)
        else:
            damaged, mend = ["it"] if is_damaged(path) else [], "delete it and run again"
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        yield Damage(path, f"{path} cannot be read ({error}): delete it and run again")
        return
    for name in damaged:
        yield Damage(path, f"{path}: {name} is missing or damaged: {mend}")
