"""Runs of Snakemake on a SLURM cluster, and the jobs that a killed one leaves behind.

SLURM goes on with the jobs of a Snakemake that was killed, and the next one would start their twins. Every run
therefore holds a lease `<results>/runs/<run>`, where <run> is the name that its jobs have in the queue; a run whose
process has ended left orphans.
"""

import atexit
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sys2ft.errors import InputError
from sys2ft.lease import Holder, describe_holder, has_ended, hold_lease, read_lease

PATIENCE = 300.0  # seconds that cancelled jobs are given to write their checkpoints and go


@dataclass(frozen=True)
class Job:
    """A job in SLURM's queue."""

    id: str
    state: str
    run: str
    comment: str
    """The rule and the wildcards, in the words of Snakemake's executor."""


@dataclass(frozen=True)
class Run:
    """A run of Snakemake that has not come to its end in good order, or not yet."""

    name: str
    holder: Holder | None

    @property
    def ended(self) -> bool:
        """Whether its process is known to be gone; of another machine's that is not known."""
        return has_ended(self.holder)


def begin_run(results: str, name: str | None) -> None:
    """Cancel the jobs of killed runs of this study, and say that this process waits for those of a new one.

    Args:
        results: the study's folder.
        name: what the new run's jobs are called in the queue; None where they are no cluster's.
    """
    folder = Path(results) / "runs"
    for run in list_runs(folder):
        if run.ended:
            cancel_run(folder, run)
        else:
            print(
                f"{folder / run.name}: {describe_holder(run.holder)} may wait for this run's jobs; they are left alone"
            )
    if name is not None:
        lease = ExitStack()
        lease.enter_context(hold_lease(folder / name))
        atexit.register(lease.close)


def list_runs(folder: Path) -> list[Run]:
    """The runs of a study that hold a lease, or held one when they were killed."""
    paths = sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    return [Run(path.name, read_lease(path)) for path in paths]


def list_jobs(run: str) -> list[Job]:
    """The jobs of a run that wait, run or end.

    Raises:
        InputError: SLURM does not answer.
    """
    lines = _slurm("squeue", "--noheader", f"--name={run}", "--format=%i|%T|%k").splitlines()
    return [Job(id, state, run, comment) for id, state, comment in (line.split("|", 2) for line in lines)]


def cancel_run(folder: Path, run: Run, patience: float = PATIENCE) -> list[Job]:
    """Cancel a run's jobs, wait until they are gone, and forget the run. Training writes its checkpoint before it ends.

    Raises:
        InputError: SLURM does not answer, or a job does not end.
    """
    jobs = list_jobs(run.name)
    if jobs:
        print(
            f"cancelling {len(jobs)} jobs that {describe_holder(run.holder)} left behind: {_shorten(jobs)}", flush=True
        )
        _slurm("scancel", f"--name={run.name}")
    end = time.monotonic() + patience
    while left := list_jobs(run.name):
        if time.monotonic() > end:
            mend = f"look at them with squeue --name={run.name}"
            raise InputError("squeue", run.name, f"jobs that were cancelled do not end: {_shorten(left)}", mend)
        time.sleep(1)
    (folder / run.name).unlink(missing_ok=True)
    return jobs


def _shorten(jobs: Sequence[Job]) -> str:
    named = ", ".join(f"{job.id} ({job.comment})" for job in jobs[:5])
    return f"{named} and {len(jobs) - 5} others" if len(jobs) > 5 else named


def _slurm(*command: str) -> str:
    """What a command of SLURM prints."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    except FileNotFoundError:
        raise InputError(command[0], "", "is not installed here", "run this on the cluster") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(getattr(error, "stderr", None) or error).strip()
        raise InputError(command[0], "", f"does not answer ({said})", "see whether the cluster is up") from None
