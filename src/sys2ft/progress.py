"""Progress of long work: a bar on a terminal, a line a minute in a log."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, unit: str, description: str = "") -> "tqdm[Any]":
    """A `tqdm` bar that suits where it is shown."""
    terminal = sys.stderr.isatty()
    return tqdm(total=total, unit=unit, desc=description, mininterval=0.2 if terminal else 60, ascii=not terminal)
