"""How long jobs take together, on so many GPUs and cores: a simulation of a cluster that starts what it can."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A job to be simulated.

    Attributes:
        seconds: how long it takes.
        gpus: how many it holds.
        cores: how many it holds.
        after: numbers of the tasks that must have ended before.
    """

    seconds: float
    gpus: int = 0
    cores: int = 1
    after: Sequence[int] = ()


def simulate(tasks: Sequence[Task], gpus: int, cores: int) -> tuple[float, list[float]]:
    """The time until all tasks have ended, and each task's wait from when it was ready until it started, in seconds.

    Whatever is ready starts in the order of becoming so, as soon as there is room; one that does not fit yet lets later
    ones pass, as a cluster with backfill does.

    Raises:
        ValueError: a task needs more than there is, or tasks wait for each other.
    """
    if too_large := [task for task in tasks if task.gpus > gpus or task.cores > cores]:
        worst = too_large[0]
        raise ValueError(f"a job needs {worst.gpus} GPUs and {worst.cores} cores, and there are {gpus} and {cores}")
    waits_for = [len(task.after) for task in tasks]
    followers: Mapping[int, list[int]] = {number: [] for number in range(len(tasks))}
    for number, task in enumerate(tasks):
        for before in task.after:
            followers[before].append(number)
    now, free = 0.0, [gpus, cores]
    ready = {number: 0.0 for number, count in enumerate(waits_for) if not count}
    running: list[tuple[float, int]] = []
    waited = [0.0] * len(tasks)
    ended = 0
    while ended < len(tasks):
        for number in _fitting(tasks, ready, free):
            waited[number] = now - ready.pop(number)
            heapq.heappush(running, (now + tasks[number].seconds, number))
        if not running:
            raise ValueError("tasks wait for each other")
        now = running[0][0]
        while running and running[0][0] <= now:
            number = heapq.heappop(running)[1]
            ended += 1
            free[0] += tasks[number].gpus
            free[1] += tasks[number].cores
            for follower in followers[number]:
                waits_for[follower] -= 1
                if not waits_for[follower]:
                    ready[follower] = now
    return now, waited


def _fitting(tasks: Sequence[Task], ready: Mapping[int, float], free: list[int]) -> list[int]:
    """The ready tasks that start now, oldest first; takes what they need from `free`."""
    found = []
    for number in ready:
        if tasks[number].gpus <= free[0] and tasks[number].cores <= free[1]:
            free[0] -= tasks[number].gpus
            free[1] -= tasks[number].cores
            found.append(number)
        elif free[1] <= 0:
            break
    return found
