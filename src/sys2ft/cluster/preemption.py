"""A job that another one drives from its node goes back into the queue by itself.

SLURM requeues a preempted job if it has to kill it. One that obeys, and ends before its grace is over, counts as failed
and would use up one of Snakemake's retries. So a command that fails on a cluster asks here whether that was the reason
(`workflow/rules/common.smk`).
"""

import os
import re
import subprocess
from datetime import datetime


def requeue_preempted() -> bool:
    """Put this job back into the queue if it is being preempted; SLURM then ends it and starts it again later.

    Jobs that failed, were cancelled or ran out of time are left alone.

    Returns:
        Whether SLURM took it back.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or not is_preempted(_scontrol("show", "job", job) or ""):
        return False
    return _scontrol("requeue", job) is not None


def is_preempted(description: str) -> bool:
    """Whether a job is asked to leave and may come back.

    Args:
        description: of the job, by `scontrol show job`.
    """
    fields = dict(re.findall(r"(\S+?)=(\S+)", description))
    if fields.get("JobState") != "RUNNING" or fields.get("Requeue") != "1":
        return False
    try:  # the time of an earlier preemption may stand there still
        return datetime.fromisoformat(fields["PreemptTime"]) >= datetime.fromisoformat(fields["StartTime"])
    except (KeyError, ValueError):
        return False


def _scontrol(*arguments: str) -> str | None:
    """What it prints; None where it refuses, or does not exist."""
    try:
        done = subprocess.run(["scontrol", *arguments], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


if __name__ == "__main__":
    if requeue_preempted():
        print("This job is being preempted; it goes back into the queue.", flush=True)
