"""What is stale and why, and what it costs to bring up to date: Snakemake's dry run, told by cells.

Snakemake decides what runs; a logger plugin (`workflow/plugins`) hands its decisions on as data.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sys2ft.cost.bill import RULES, Bill, Charge
from sys2ft.cost.calibration import Actual, benchmark_path, read_actual
from sys2ft.errors import InputError
from sys2ft.grid import AXES, Cell
from sys2ft.schedule import Task, simulate

PLUGINS = "workflow/plugins"
# What Snakemake says of a job, and what is said here. One that only follows another has that one's reasons.
FOLLOWS = "Input files updated by another job"
REASONS = {
    "Missing output files": "not there yet",
    "Incomplete output files": "was killed while it ran",
    "Updated input files": "edited:",
    "Params have changed since last execution": "settings changed:",
    "Set of input files has changed since last execution": "other inputs",
    "Software environment definition has changed since last execution": "environment changed",
    "Code has changed since last execution": "rule changed",
    "Forced execution": "forced",
}
BETWEEN = f"; (?={'|'.join(map(re.escape, (FOLLOWS, *REASONS)))})"


@dataclass(frozen=True)
class Job:
    """A job that Snakemake would run.

    Attributes:
        rule: its name.
        wildcards: name to value.
        reason: in Snakemake's words.
        input, output: files.
        resources: name to value, as the executor is told them.
        threads: how many.
        command: what would be run, for a shell.
    """

    rule: str
    wildcards: dict[str, str]
    reason: str
    input: list[str]
    output: list[str]
    resources: dict[str, Any]
    threads: int
    command: str

    @cached_property
    def cell(self) -> Cell | None:
        """The cell that it belongs to alone, where there is one."""
        if set(self.wildcards) != set(AXES):
            return None
        return Cell(**{**self.wildcards, "seed": int(self.wildcards["seed"])})  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Rule and wildcards."""
        return " ".join([self.rule, *(f"{name}={value}" for name, value in self.wildcards.items())])

    def own_reasons(self) -> Iterator[str]:
        """Why it runs, apart from what another job does before it."""
        for told in re.split(BETWEEN, self.reason):
            start, _, rest = told.partition(": ")
            if start in REASONS:
                rest = rest if start == "Updated input files" else _changed(rest) if start.startswith("Params") else ""
                yield f"{REASONS[start]} {rest}".strip()


@dataclass
class StaleCell:
    """A cell that is not up to date: its own jobs, and why they run."""

    cell: Cell
    jobs: list[Job] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def dry_run(arguments: Sequence[str]) -> list[Job]:
    """The jobs that Snakemake would run, in the order of a dry run, without the last one that only collects.

    Args:
        arguments: of Snakemake: targets, --configfile, --profile, ...

    Raises:
        InputError: Snakemake refuses; its own words are kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.jsonl"
        command = [sys.executable, "-m", "snakemake", *arguments, "--dry-run", "--quiet", "rules", "host"]
        command += ["--logger", "jobs", "--logger-jobs-path", str(path)]
        plugins = os.pathsep.join(filter(None, [str(Path(PLUGINS).resolve()), os.environ.get("PYTHONPATH")]))
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": plugins}
        )
        if run.returncode:
            said = (run.stderr + run.stdout).strip() or f"it ended with {run.returncode}"
            raise InputError("snakemake --dry-run", "", said, "mend what it names")
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [job for job in (Job(**json.loads(line)) for line in lines) if job.output]


def dependencies(jobs: Sequence[Job]) -> list[list[int]]:
    """For each job the numbers of those that it waits for."""
    made_by = {path: number for number, job in enumerate(jobs) for path in job.output}
    return [sorted({made_by[path] for path in job.input if path in made_by}) for job in jobs]


def stale_cells(jobs: Sequence[Job], cells: Sequence[Cell]) -> list[StaleCell]:
    """The stale cells in the order of the grid, each with its own jobs and all that made them stale."""
    causes = _causes(jobs)
    found: dict[Cell, StaleCell] = {}
    for number, job in enumerate(jobs):
        for cell in [job.cell] if job.cell is not None else ():
            stale = found.setdefault(cell, StaleCell(cell))
            stale.jobs.append(job)
            stale.reasons += [reason for reason in causes[number] if reason not in stale.reasons]
    return [found[cell] for cell in cells if cell in found]


def _causes(jobs: Sequence[Job]) -> list[list[str]]:
    """For each job its own reasons under its rule's name, and those of the jobs before it."""
    before = dependencies(jobs)
    found: dict[int, list[str]] = {}

    def causes(number: int) -> list[str]:
        if number not in found:
            job = jobs[number]
            own = [f"{job.rule}: {reason}" for reason in job.own_reasons()]
            found[number] = list(dict.fromkeys(reason for n in before[number] for reason in causes(n))) + own
        return found[number]

    return [causes(number) for number in range(len(jobs))]


LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?""")


def _changed(told: str) -> str:
    """Which settings changed, from Snakemake's words: the values of parameters that were there before, and are now."""
    before, _, now = told.partition("before: ")[2].rpartition(" now: ")
    old, new = ([literal_eval(text) for text in LITERAL.findall(part)] for part in (before, now))
    if any(isinstance(value, int) for value in (*old, *new)):
        versions = [next((str(v) for v in values if isinstance(v, int)), "none") for values in (old, new)]
        parts = [f"code version {versions[0]} -> {versions[1]}"]
    else:
        parts = []
    trees = [[tree for v in values if isinstance(v, str) and (tree := _as_tree(v))] for values in (old, new)]
    for one in trees[0]:
        alike = sorted(trees[1], key=lambda tree: len(set(tree) ^ set(one)))
        parts += _differences(one, alike[0] if alike else {})
    return ", ".join(parts) or "parameters"


def _as_tree(text: str) -> dict[str, Any]:
    """A mapping told as JSON; an empty one where it is something else."""
    try:
        tree = json.loads(text)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Dotted keys of two trees that differ, with both values where they are short."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [
            part
            for key in keys
            if one.get(key) != other.get(key)
            for part in _differences(one.get(key), other.get(key), f"{where}.{key}" if where else key)
        ]
    if "/" in where:  # a digest of what a file says
        return [f"{where} (edited)"]
    values = f" {json.dumps(one)} -> {json.dumps(other)}"
    return [where + (values if len(values) <= 60 else "")]


# ------------------------------------------------------------------------------------------------------------- the bill
SMALL_JOB = 5.0
"""ASSUME: seconds of a job that holds no model."""


def estimate(jobs: Sequence[Job], stale: Sequence[StaleCell], bill: Bill, gpus: int, cores: int) -> dict[str, Any]:
    """What it costs to bring stale cells up to date.

    Args:
        jobs: that would run.
        stale: the cells among them.
        gpus, cores: how many there are; a job that needs more has them all the same.

    Returns:
        `cells` (each with `cell`, `jobs`, `reasons`, `gpu_hours`, `seconds` of its own jobs), `jobs` by rule,
        `gpu_hours`, `core_hours`, `written_bytes`, `wall_seconds` and the `gpus` and `cores` it was simulated on.
    """
    tasks = make_tasks(jobs, bill)
    of_job = dict(zip((job.name for job in jobs), tasks, strict=True))
    written = [charge.work.written for job in jobs if (charge := _charge(job, bill)) and charge.work]
    gpus, cores = max([gpus, *(t.gpus for t in tasks)]), max([cores, *(t.cores for t in tasks)])
    return {
        "cells": [_cell_row(cell, [of_job[job.name] for job in cell.jobs]) for cell in stale],
        "jobs": dict(Counter(job.rule for job in jobs)),
        "gpu_hours": sum(t.gpus * t.seconds for t in tasks) / 3600,
        "core_hours": sum(t.cores * t.seconds for t in tasks) / 3600,
        "written_bytes": sum(written),
        "wall_seconds": simulate(tasks, gpus, cores)[0],
        "gpus": gpus,
        "cores": cores,
    }


def make_tasks(jobs: Sequence[Job], bill: Bill) -> list[Task]:
    """Jobs as tasks of a cluster: the seconds, GPUs and cores of the bill."""
    return [_task(_charge(job, bill), after) for job, after in zip(jobs, dependencies(jobs), strict=True)]


def _charge(job: Job, bill: Bill) -> Charge | None:
    return bill.charge(job.rule, job.wildcards) if job.rule in RULES else None


def _task(charge: Charge | None, after: Sequence[int]) -> Task:
    if charge is None or charge.seconds is None:
        return Task(SMALL_JOB, 0, 1, after)
    return Task(charge.seconds, charge.needs.all_gpus, charge.needs.threads * charge.needs.nodes, after)


def _cell_row(stale: StaleCell, tasks: Sequence[Task]) -> dict[str, Any]:
    return {
        "cell": stale.cell.path,
        "jobs": len(stale.jobs),
        "reasons": stale.reasons,
        "gpu_hours": sum(t.gpus * t.seconds for t in tasks) / 3600,
        "seconds": sum(t.seconds for t in tasks),
    }


def compare_with_actuals(bill: Bill) -> list[dict[str, Any]]:
    """For each rule and model how many jobs have run, and what they were expected to take and took.

    Expected values are not calibrated: the point is how well they foretell.
    """
    found: dict[tuple[str, str], list[tuple[float, Actual]]] = {}
    for rule, keys in bill.jobs():
        actual, expected = read_actual(benchmark_path(bill.study.results, rule, keys)), bill.expected(rule, keys)
        if actual is not None and expected is not None:
            model = str(keys.get("model") or keys["teacher"])
            found.setdefault((rule, model), []).append((expected, actual))
    return [
        {
            "rule": rule,
            "model": model,
            "jobs": len(several),
            "expected_seconds": sum(expected for expected, _ in several),
            "actual_seconds": sum(actual.seconds for _, actual in several),
            "ratio": sum(actual.seconds for _, actual in several) / sum(expected for expected, _ in several),
            "most_memory_mb": max((actual.memory or 0) / 1e6 for _, actual in several),
        }
        for (rule, model), several in found.items()
    ]
