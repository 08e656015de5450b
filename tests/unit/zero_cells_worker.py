"""Trains cells by two processes under every ZeRO stage, and by one; one folder a case.

In: a folder with `cases.json` (name, model.json, rows, method, ZeRO stage or 0 for one process). Out: for each case
`<name>/adapters` and, from one process, `<name>/finished.json`.
"""

import json
import sys
from pathlib import Path

from processes import finish, start

from sys2ft.grid import Cell
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.stages import FineTuneStage
from sys2ft.training.cell import Run, fine_tune_cell


def main(folder):
    """All cases, one after the other."""
    import deepspeed  # noqa: F401

    cell = Cell("tiny", "m", "naive", "none", "events", 0)
    for name, manifest, rows, method, zero in json.loads((Path(folder) / "cases.json").read_text()):
        stage = FineTuneStage(method=MethodSettings.model_validate(method), milestones=True)
        place, world = Path(folder) / name, 2 if zero else 1
        run = Run(place, 150, bool(zero == 3), Path(f"config/deepspeed/zero{zero}.json"))
        work = lambda: fine_tune_cell(Path(manifest), rows, stage, cell, run)  # noqa: B023, E731  (called at once)
        assert finish(start(work, place, world)) == [0] * world, name


if __name__ == "__main__":
    main(*sys.argv[1:])
