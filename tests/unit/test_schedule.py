"""The simulated cluster: it starts what it can, and nothing that it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sys2ft.schedule import Task, simulate


def test_tasks_that_fit_run_side_by_side_and_others_wait():
    tasks = [Task(10, gpus=1), Task(10, gpus=1), Task(10, gpus=1)]
    assert simulate(tasks, gpus=2, cores=8) == (20, [0, 0, 10])
    assert simulate(tasks, gpus=3, cores=8) == (10, [0, 0, 0])
    assert simulate(tasks, gpus=3, cores=1) == (30, [0, 10, 20])


def test_a_task_starts_when_all_before_it_have_ended_and_waits_from_then():
    tasks = [Task(5), Task(9), Task(1, after=[0, 1]), Task(1, after=[0])]
    assert simulate(tasks, gpus=0, cores=3) == (10, [0, 0, 0, 0])
    assert simulate(tasks, gpus=0, cores=1) == (16, [0, 5, 1, 9])


def test_a_small_task_passes_a_large_one_that_does_not_fit_yet():
    tasks = [Task(10, gpus=1), Task(5, gpus=2), Task(3, gpus=1)]
    assert simulate(tasks, gpus=2, cores=8) == (15, [0, 10, 0])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([Task(1, gpus=3)], "a job needs 3 GPUs and 1 cores, and there are 2 and 4"),
        ([Task(1, cores=5)], "a job needs 0 GPUs and 5 cores"),
        ([Task(1, after=[1]), Task(1, after=[0])], "wait for each other"),
    ],
)
def test_what_can_never_start_is_refused(tasks, message):
    with pytest.raises(ValueError, match=message):
        simulate(tasks, gpus=2, cores=4)


def test_nothing_takes_no_time():
    assert simulate([], 1, 1) == (0, [])


@st.composite
def graphs(draw):
    """Tasks that wait for earlier ones only."""
    count = draw(st.integers(1, 12))
    return [
        Task(
            draw(st.integers(1, 20)),
            draw(st.integers(0, 3)),
            draw(st.integers(1, 3)),
            draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else [],
        )
        for number in range(count)
    ]


@given(graphs())
def test_the_time_lies_between_its_bounds(tasks):
    wall, waits = simulate(tasks, gpus=3, cores=3)
    ends: list[float] = []
    for task in tasks:
        ends.append(task.seconds + max((ends[before] for before in task.after), default=0))
    assert max(ends) <= wall <= sum(task.seconds for task in tasks)
    assert wall >= max(sum(t.gpus * t.seconds for t in tasks), sum(t.cores * t.seconds for t in tasks)) / 3
    assert all(wait >= 0 for wait in waits)
    without_limits, none = simulate(tasks, gpus=99, cores=99)
    assert (without_limits, none) == (max(ends), [0] * len(tasks))
