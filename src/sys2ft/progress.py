"""Progress of long work: a bar on a terminal, a line a minute in a log."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, unit: str, description: str = "", done: int = 0) -> "tqdm[Any]":
    """A `tqdm` bar that suits where it is shown; `done` was done by an earlier run."""
    terminal = sys.stderr.isatty()
    line = None if terminal else "{l_bar}{bar:20}{r_bar}\n"
    return tqdm(
        total=total, unit=unit, desc=description, initial=done, mininterval=0.2 if terminal else 60,
        ascii=not terminal, bar_format=line,
    )  # fmt: skip


class StepProgress:
    """Steps of training: loss, tokens a second, time left."""

    bar: "tqdm[Any]"

    def start(self, total: int, done: int) -> None:
        """Show the bar; `done` steps were done by an earlier run."""
        self.bar = progress_bar(total, "steps", "fine_tune", done)

    def advance(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show a step, given its rows of the table `train_log`."""
        loss = sum(row["loss"] for row in rows) / len(rows)
        speed = sum(row["tokens"] for row in rows) / rows[0]["seconds"]
        self.bar.set_postfix_str(f"loss {loss:.3f}, {speed:.0f} tokens/s", refresh=False)
        self.bar.update(1)
        if self.bar.n == self.bar.total:
            self.bar.close()
