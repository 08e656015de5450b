"""One job of the workflow, started by hand on the cluster: the same command, without Snakemake, for debugging.

submitit submits it, hands its output back, and requeues it when it is preempted or out of time; it then goes on from
its checkpoint.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sys2ft.cluster.preemption import requeue_preempted
from sys2ft.errors import InputError
from sys2ft.plan import Job, dry_run
from sys2ft.settings.resources import Launch

if TYPE_CHECKING:
    from submitit import Executor
    from submitit import Job as Submitted

# Signals that ask for a checkpoint, as exit statuses of who wrote one.
INTERRUPTED = {128 + signum for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
MANY = 10**6  # cores, more than any job asks for
PATIENCE = 600.0  # seconds that an interrupted task waits for its job's end


@dataclass
class ShellCommand:
    """A command that submitit runs in each task; what it takes to go on is in its own files.

    Attributes:
        command: for a shell, in the folder it was submitted from.
    """

    command: str
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __call__(self) -> int:
        """Run it.

        Raises:
            RuntimeError: it failed; its own words are in the task's log.
        """
        # The program itself gets the signals; a shell in between would die of them at once.
        command = f"exec {self.command}" if self.command.startswith("python ") else self.command
        self.child = subprocess.Popen(command, shell=True, executable="/bin/bash", env=_environment())
        if (code := _wait(self.child)) in INTERRUPTED:
            requeue_preempted()
            time.sleep(PATIENCE)  # whoever requeues the job, SLURM or the first task, ends this one
        if code:
            raise RuntimeError(f"the command ended with {code}: {self.command}")
        return code

    def checkpoint(self) -> Any:
        """Have the command write its checkpoint, and start it again when the job comes back."""
        from submitit.helpers import DelayedSubmission

        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            _wait(self.child)
        return DelayedSubmission(ShellCommand(self.command))


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Look for its end again and again: a signal's handler may have to wait for it too, in between."""
    while (code := child.poll()) is None:
        time.sleep(0.1)
    return 128 - code if code < 0 else code


def _environment() -> dict[str, str]:
    """As the workflow's rules have it."""
    path = os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def find_job(target: str, arguments: Sequence[str]) -> Job:
    """The job that makes a file, whether it is stale or not.

    Args:
        target: the file.
        arguments: of Snakemake: --configfile, --profile.

    Raises:
        InputError: Snakemake refuses, or what the job needs is not there yet.
    """
    # Without --cores a dry run has one, and no job more threads than that.
    jobs = dry_run([target, *arguments, "--force", "--cores", str(MANY)])
    job = next((job for job in jobs if target in job.output), None)
    if job is None:
        raise InputError("sys2ft submit", target, "no rule makes it", "see `sys2ft plan` for what there is")
    if before := [other for other in jobs if other is not job]:
        mend = f"make its inputs first: snakemake {' '.join(job.input)}"
        raise InputError("sys2ft submit", target, f"{before[0].name} comes before it, and is not up to date", mend)
    return job


def open_executor(job: Job, folder: Path, cluster: str, slurm: dict[str, Any]) -> "Executor":
    """submitit's executor, asking for what the workflow would ask for.

    On SLURM each process that trains is a task of the job; elsewhere the command starts them itself.

    Args:
        folder: of submitit's own files and the logs.
        cluster: `slurm`, or `local` for this machine.
        slurm: partition, account and the like.
    """
    from submitit import AutoExecutor

    told = job.resources
    launch = Launch.model_validate_json(told.get("launch", "{}"))
    nodes, processes = (launch.nodes, launch.processes) if cluster == "slurm" else (1, 1)
    executor = AutoExecutor(folder=folder, cluster=cluster)
    executor.update_parameters(
        name=f"sys2ft_{job.rule}", timeout_min=int(told.get("runtime", 60)), nodes=nodes, tasks_per_node=processes,
        cpus_per_task=max(1, job.threads // processes), mem_gb=told.get("mem_mb", 4000) / 1000,
        gpus_per_node=int(told.get("gpu") or str(told.get("gres") or "gpu:0").removeprefix("gpu:")),
        **{f"slurm_{name}": value for name, value in slurm.items() if value is not None},
    )  # fmt: skip
    return executor


def submit_job(job: Job, executor: "Executor") -> "Submitted[int]":
    """Submit it; its output goes to the task's own logs."""
    Path(executor.folder).mkdir(parents=True, exist_ok=True)
    return executor.submit(ShellCommand(re.sub(r">('[^']*'|\S+) 2>&1\s*$", "", job.command).strip()))


def follow(submitted: "Submitted[int]", every: float = 1.0) -> Iterator[str]:
    """What the first task writes, until the job ends."""
    shown = dict.fromkeys((submitted.paths.stdout, submitted.paths.stderr), 0)
    done = False
    while not done:
        done = submitted.done()
        for path in shown:
            if path.exists():
                with path.open(encoding="utf-8", errors="replace") as stream:
                    stream.seek(shown[path])
                    if text := stream.read():
                        yield text
                    shown[path] = stream.tell()
        time.sleep(0 if done else every)
