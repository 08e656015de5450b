"""Which jobs go back into the queue by themselves: those that are preempted, and no others."""

import pytest

from sys2ft.cluster.preemption import is_preempted, requeue_preempted

# As Slurm 22.05 prints it, shortened.
DESCRIPTION = """JobId=38 JobName=sys2ft_67f5e421
   JobState={state} Reason=None Dependency=(null)
   Requeue={requeue} Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=2026-11-21T23:33:48 EndTime=2026-11-21T23:38:48 Deadline=N/A
   PreemptEligibleTime=2026-11-21T23:33:48 PreemptTime={preempted}
   Command=/tmp/a b=c
"""
PREEMPTED = {"state": "RUNNING", "requeue": "1", "preempted": "2026-11-21T23:34:02"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"preempted": "None"}, False),  # it failed, or its time is almost up
        ({"preempted": "2026-11-21T20:00:00"}, False),  # before it was started again
        ({"state": "CANCELLED"}, False),
        ({"state": "COMPLETING"}, False),
        ({"requeue": "0"}, False),
    ],
)
def test_a_preempted_job_is_told_from_others(change, expected):
    assert is_preempted(DESCRIPTION.format(**PREEMPTED | change)) is expected
    assert not is_preempted("slurm_load_jobs error: Invalid job id specified")


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Stands in for SLURM's command; the folder holds what it is to say, and what it was asked."""
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\ncat {tmp_path}/says\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "38")
    return tmp_path


def test_a_preempted_job_is_requeued(scontrol):
    (scontrol / "says").write_text(DESCRIPTION.format(**PREEMPTED))
    assert requeue_preempted()
    assert (scontrol / "asked").read_text() == "show job 38\nrequeue 38\n"


def test_a_job_that_failed_is_not(scontrol):
    (scontrol / "says").write_text(DESCRIPTION.format(**PREEMPTED | {"preempted": "None"}))
    assert not requeue_preempted()
    assert (scontrol / "asked").read_text() == "show job 38\n"


def test_nothing_is_asked_outside_a_job(scontrol, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    assert not requeue_preempted()
    assert not (scontrol / "asked").exists()


def test_a_machine_without_slurm_answers_no(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "38")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not requeue_preempted()
