"""Trains, kills what trains at random moments, and lets others go on; one folder a case.

In: a `model.json`, rows of sequences (JSON), a folder, the method (JSON), the number of processes. Out: for each case
`<case>/adapters`; the undisturbed run's is `whole/adapters`.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from processes import finish, start

from sys2ft.grid import Cell
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.stages import FineTuneStage
from sys2ft.training.cell import Run, fine_tune_cell

INTERRUPTIONS = 10


def newest(folder):
    """Steps of the newest checkpoint."""
    return max([0, *(int(path.name[5:]) for path in folder.glob("checkpoints/step=*"))])


def interrupt(children, folder, chance):
    """Wait for a random number of new checkpoints, then for a random moment, and send a random signal.

    Where this process gets no turn in time, the children have ended before it.
    """
    steps = newest(folder) + chance.randrange(1, 5)
    while newest(folder) < steps and not os.waitid(os.P_PID, children[0], os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.002)
    time.sleep(chance.random() * 0.05)
    kind = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
    for child in children if kind == signal.SIGKILL else children[-1:]:  # a signal to one stops all
        os.kill(child, kind)
    return kind


def main(manifest, rows_file, folder, method, world):
    """All cases of one method."""
    rows, world, folder = json.loads(Path(rows_file).read_text()), int(world), Path(folder)
    stage = FineTuneStage(method=MethodSettings.model_validate_json(method), milestones=True)
    cell = Cell("tiny", "m", "naive", "none", "events", 0)
    if world > 1:
        import deepspeed  # noqa: F401

    def begin(place):
        run = Run(place, 96, deepspeed=Path("config/deepspeed/zero2.json"), checkpoint_minutes=0)
        return start(lambda: fine_tune_cell(Path(manifest), rows, stage, cell, run), place, world)

    assert finish(begin(folder / "whole")) == [0] * world
    case = interruptions = 0
    while interruptions < INTERRUPTIONS:
        chance, place, kinds = random.Random(case), folder / f"case{case}", []
        for _ in range(chance.randrange(1, 3)):  # some are interrupted twice
            children = begin(place)
            kinds.append(interrupt(children, place, chance))
            statuses = finish(children)
            assert all(status in (0, -kinds[-1], 128 + kinds[-1]) for status in statuses), (case, kinds, statuses)
            interruptions += all(statuses)
        assert finish(begin(place)) == [0] * world, case
        print(case, [kind.name for kind in kinds], flush=True)
        case += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
