"""Forks that train together, for workers of the tests: started after the imports, a run takes a second and not ten.

Run by scripts of this folder, in an interpreter of their own: a process in which torch has computed cannot fork.
"""

import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}

import torch

from sys2ft.training.checkpoint import InterruptedTraining
from sys2ft.training.launch import join

torch.set_num_threads(1)


def start(work: Callable[[], object], folder: Path, world: int) -> list[int]:
    """Fork the processes of a run; what they print goes to `<folder>.log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            os._exit(_run(work, folder, world, rank, port))
        children.append(child)
    return children


def finish(children: list[int]) -> list[int]:
    """Their exit statuses."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _run(work: Callable[[], object], folder: Path, world: int, rank: int, port: int) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if world > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        join()
        work()
    except InterruptedTraining as stop:
        return 128 + stop.signum
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
