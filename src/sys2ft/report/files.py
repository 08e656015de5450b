"""Figures and page as files, with digests beside them: `sys2ft verify` finds one that is not what was written."""

import json
from collections.abc import Iterable
from pathlib import Path

from sys2ft.models import file_sha256
from sys2ft.tables import atomic_path

DIGESTS = "digests.json"


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_digests(folder: Path, paths: Iterable[Path]) -> None:
    """Write, beside files, what they are."""
    told = {path.name: file_sha256(path) for path in paths}
    write_file(folder / DIGESTS, json.dumps(told, indent=1).encode())


def is_damaged(path: Path) -> bool:
    """Whether a file is not what was written; the file of digests itself cannot be told, but by its neighbours.

    Raises:
        OSError, ValueError: the digests cannot be read.
    """
    digests = json.loads((path.parent / DIGESTS).read_text(encoding="utf-8"))
    return path.name != DIGESTS and file_sha256(path) != digests.get(path.name)
