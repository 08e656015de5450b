"""Snakemake on the test cluster, what its jobs do, and what a study left."""

import fnmatch
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from tests.cluster.slurm import call
from tests.workflow.project import ROOT, make_project

PATIENCE = 500.0  # seconds; a run that hangs is interrupted
# Two cells. Training takes some seconds and writes a checkpoint twice a second, so that it can be met half-way.
STUDY = {
    "grid": {"protocol": ["naive", "self_qa"], "split": ["mathematics"], "seed": [0]},
    "budget": {"samples": 160},
    "training": {"checkpoint_minutes": 0.008},
}
# Where the cells run changes no result: on a cluster a job that holds the model has all GPUs of a node.
ON_GPUS = {"models": {"tiny": {"resources": {"gpu": 2, "processes": 1, "threads": 1}}}}
SITE = {
    "account": "tests",
    "partitions": {"cpu": {"max_nodes": 1}, "spot": {"max_gpu": 2, "max_nodes": 2}},
    "warning_seconds": 10,
}
CONFIGS = ("config/smoke.yaml", "config/small.yaml", "config/cluster.yaml")
CELL = "model=tiny/method=lora/protocol={}/teacher={}/split=mathematics/seed=0"
CELLS = {name: CELL.format(name, teacher) for name, teacher in {"naive": "none", "self_qa": "recorded"}.items()}
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED")
MEASURED = re.compile(r"second|tokens_per|created|^time")  # columns and metadata of measured time


@dataclass(frozen=True)
class Job:
    """A job in SLURM's queue, or one that was."""

    id: str
    state: str
    rule: str
    partition: str
    node: str
    minutes: str
    memory: str
    restarts: int
    comment: str


class Run:
    """Snakemake in a project, in the background.

    Args:
        project: that it runs in.
        process: `timeout`, at the head of a process group of its own; Snakemake is its child.
    """

    def __init__(self, project: Path, process: subprocess.Popen, log: Path):
        self.project, self.process, self.log = project, process, log

    @property
    def pid(self) -> int:
        """Of Snakemake itself, to be killed."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def wait(self) -> int:
        """Wait for its end; returns its exit status."""
        return self.process.wait(PATIENCE + 20)

    def finish(self) -> None:
        """Wait for its end, which has to be a good one."""
        assert self.wait() == 0, self.said()[-6000:]

    def end(self) -> None:
        """Kill it, where it has not ended, and all jobs of its project, stopped ones too."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if left := [job.id for job in self.jobs() if job.state not in ENDED]:
            call("scancel", *left)
            for process in _scripts(self.project):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text()

    def jobs(self, rule: str = "") -> list[Job]:
        """The jobs that it and others have submitted in this project, in this order, ended ones too."""
        told = call("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i|%T|%k|%P|%N|%l|%m|%Z")
        rows = [line.split("|") for line in told.splitlines()]
        return [
            Job(id, state, name, partition, node, minutes, memory, _restarts(id), comment)
            for id, state, comment, partition, node, minutes, memory, folder in rows
            if Path(folder) == self.project and (name := _rule(comment)).startswith(rule)
        ]

    def wait_for_job(self, rule: str, *states: str, after: int = 0) -> Job:
        """Wait until a rule's job is in one of some states (RUNNING, if none is named).

        Args:
            after: so many of the rule's jobs do not count, the oldest ones.

        Raises:
            AssertionError: Snakemake ended before.
        """
        found: list[Job] = []

        def is_there() -> bool:
            found[:] = [job for job in self.jobs(rule)[after:] if job.state in (states or ("RUNNING",))]
            return bool(found)

        self.wait_until(is_there, f"{rule} is {' or '.join(states or ('RUNNING',))}")
        return found[0]

    def wait_until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so.

        Raises:
            AssertionError: Snakemake ended before.
        """
        while not is_so():
            assert self.process.poll() is None, f"the run ended before {what}: {self.said()[-6000:]}"
            time.sleep(0.05)

    def hold_training(self, *cells: str) -> list[int]:
        """Stop cells' trainings (SIGSTOP), each once it has written a checkpoint, so that what comes finds it half-way.

        Returns:
            Their process numbers, in the order of the cells.
        """
        folders = {cell: self.project / f"results/smoke/fine_tune/{cell}/unfinished/checkpoints" for cell in cells}
        held: dict[str, int] = {}

        def all_are_held() -> bool:
            for cell in cells:
                if cell not in held and any(folders[cell].glob("step=*/manifest.json")):
                    held[cell] = self.hold("fine_tune", cell)
            return len(held) == len(cells)

        self.wait_until(all_are_held, f"{' and '.join(cells)} have checkpoints")
        return [held[cell] for cell in cells]

    def hold(self, rule: str, words: str = "") -> int:
        """Stop a rule's script (SIGSTOP) whose command line has some words in it; returns its process number."""
        found: list[int] = []
        self.wait_until(lambda: found.extend(_scripts(self.project, rule, words)) or found, f"{rule} runs")
        os.kill(found[0], signal.SIGSTOP)
        return found[0]


def make_cluster_project(folder: Path, study: dict[str, Any] = STUDY) -> Path:
    """A project whose site is the test cluster."""
    folder.mkdir()
    project = make_project(folder)
    (project / "profiles").unlink()
    for name in ("default", "local", "slurm"):
        (project / "profiles" / name).mkdir(parents=True)
        (project / "profiles" / name / "config.yaml").symlink_to(ROOT / "profiles" / name / "config.yaml")
    (project / "profiles/slurm/site.yaml").write_text(yaml.safe_dump(SITE))
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    (project / "config/cluster.yaml").write_text(yaml.safe_dump(ON_GPUS))
    return project


def copy_without(reference: Path, folder: Path, *removed: str) -> Path:
    """A copy of a finished project in which some results, as patterns below its results folder, are missing."""
    project = make_cluster_project(folder)
    shutil.copytree(reference / "results", project / "results")
    shutil.copytree(reference / ".snakemake/metadata", project / ".snakemake/metadata")
    for pattern in removed:
        for path in list((project / "results/smoke").glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return project


@contextmanager
def running(project: Path, *arguments: str, **environment: str) -> Iterator[Run]:
    """Snakemake on the cluster, as a user starts it, but that it looks at its jobs more often.

    Whatever comes of it, nothing of it is left in the end that would hold the nodes that other tests need.
    """
    run = start(project, *arguments, **environment)
    try:
        yield run
    finally:
        run.end()


def start(project: Path, *arguments: str, **environment: str) -> Run:
    """Start it; whoever does has to end it."""
    program = (sys.executable, ROOT / "tests/cluster/impatient_snakemake.py")
    often = ("--slurm-init-seconds-before-status-checks", "1")
    command = ["timeout", "--signal=INT", "--kill-after=10", str(PATIENCE), *program, "--profile", "profiles/slurm"]
    command += [*often, "--configfile", *CONFIGS, "--", *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log = project / f"run{len(list(project.glob('run*.log')))}.log"
    with log.open("w") as stream:
        told = {"cwd": project, "stdin": subprocess.DEVNULL, "stdout": stream, "stderr": subprocess.STDOUT}
        told["env"] = os.environ | {"PATH": path} | environment
        return Run(project, subprocess.Popen(command, **told, start_new_session=True), log)


def training_log(project: Path, cell: str) -> str:
    """What a cell's training, the last time it was started, has said; nothing while Snakemake clears the way for it."""
    path = project / f"results/smoke/logs/fine_tune/{cell}.log"
    with suppress(FileNotFoundError):
        return path.read_text(errors="replace")  # two jobs may write it at once
    return ""


def assert_same_results(project: Path, reference: Path) -> None:
    """Every adapter and every table is the reference's, but for measured times."""
    weights = {path.relative_to(reference): _sha256(path) for path in reference.glob("results/smoke/**/*.safetensors")}
    assert weights == {
        path.relative_to(project): _sha256(path) for path in project.glob("results/smoke/**/*.safetensors")
    }
    tables = sorted(path.relative_to(reference) for path in reference.glob("results/smoke/tables/*.parquet"))
    assert len(tables) == 7
    for path in tables:
        assert_same_table(project / path, reference / path)


def assert_same_table(path: Path, reference: Path) -> None:
    """Two tables have the same rows, but for measured times."""
    table, expected = (pq.ParquetFile(file).read() for file in (path, reference))
    assert table.schema.names == expected.schema.names
    assert table.num_rows == expected.num_rows > 0
    for name in table.schema.names:
        if not MEASURED.search(name):
            assert table[name].to_pylist() == expected[name].to_pylist(), f"{path.name}: {name}"


def _rule(comment: str) -> str:
    """The rule of a job, or the rules of a group, in what the executor says of it."""
    return comment.removeprefix("rule_").split("_wildcards_")[0]


def _restarts(job: str) -> int:
    found = re.search(r" Restarts=(\d+)", call("scontrol", "show", "job", job))
    return int(found[1]) if found else 0


def _scripts(project: Path, rule: str = "*", words: str = "") -> list[int]:
    """Processes of a rule's script in a project, or of all; those of other projects are no concern of a test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode().split("\0")
            if (
                fnmatch.filter(command[1:2], f"workflow/scripts/{rule}.py")
                and (folder / "cwd").resolve() == project.resolve()
            ):
                found += [int(folder.name)] * any(words in word for word in command)
        except OSError:  # it has just ended
            continue
    return sorted(found)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
