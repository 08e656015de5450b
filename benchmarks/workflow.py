"""Seconds and memory of Snakemake on large grids: dry runs, a run that has nothing to do, and what a cluster waits for.

In: the paper's grid (config/paper.yaml), and the same with more seeds until it has 10,000 cells.
Out: a table, and as the last line a JSON object with `paper_jobs`, `paper_dry_run_s`, `noop_s`, `dry_run_10k_s`, and
ratios to a bare workflow of as many jobs, whose rules have one input and one output and nothing else.

For the run that has nothing to do the grid is finished first, in a copy of the project whose rules call a stub in
place of every program: it writes their outputs, so that Snakemake's own records are what a finished grid has.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from measuring import ROOT, Others, warn_of_others

PAPER = "config/paper.yaml"
STUB = """#!/bin/sh
# Stands for `python`: writes the outputs of a command line of the workflow.
while [ $# -gt 1 ]; do
    case $1 in
    --output-adapters) mkdir -p "$2" ;;
    --output-weights) mkdir -p "$2" ;;
    --output-manifest) cp "$STUBS/$(basename "$(dirname "$2")").json" "$2" ;;
    --output*) mkdir -p "${2%/*}"; echo "$2" >"$2"; case $2 in */tables/*) echo "$2" >"${2%.parquet}.csv" ;; esac ;;
    esac
    shift
done
"""
BARE = """
NUMBERS = range({count})
rule all:
    input: expand("{folder}/c/{{n}}.txt", n=NUMBERS)
rule a:
    output: "{folder}/a/{{n}}.txt"
    shell: "echo {{wildcards.n}} >{{output}}"
rule b:
    input: rules.a.output
    output: "{folder}/b/{{n}}.txt"
    shell: "cp {{input}} {{output}}"
rule c:
    input: rules.b.output
    output: "{folder}/c/{{n}}.txt"
    shell: "cp {{input}} {{output}}"
"""


@dataclass(frozen=True)
class Run:
    """What a run of Snakemake took.

    Attributes:
        seconds: wall time.
        memory: the most that it held, in GB.
        jobs: that it would run.
    """

    seconds: float
    memory: float
    jobs: int


def make_project(folder: Path) -> Path:
    """A copy of the project, so that no results of the user's are touched."""
    ignored = shutil.ignore_patterns(".*", "results", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored, symlinks=True)
    return folder


def measure(command: Sequence[str], folder: Path, repeats: int, environment: dict[str, str] | None = None) -> Run:
    """The best of several runs of a command of Snakemake."""
    runs = [_measure(command, folder, environment or {}) for _ in range(repeats)]
    return min(runs, key=lambda run: run.seconds)


def _measure(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Run:
    """One run, told by a process between, whose only child it is."""
    between = "import json, resource, subprocess, sys, time; began = time.perf_counter(); "
    between += "done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
    between += "seconds = time.perf_counter() - began; used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    between += "print(json.dumps([done.returncode, seconds, used.ru_maxrss, done.stdout + done.stderr]))"
    told = subprocess.run(
        [sys.executable, "-c", between, *command], cwd=folder, check=True, capture_output=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip
    code, seconds, memory, text = json.loads(told.stdout)
    if code:
        sys.exit(f"{' '.join(command)} failed:\n{text[-3000:]}")
    totals = [line.split()[1] for line in text.splitlines() if line.startswith("total ")]
    return Run(seconds, memory * 1024 / 1e9, int(totals[0]) if totals else 0)


def snakemake(*arguments: str) -> list[str]:
    """A command of Snakemake, as a user would give it."""
    return [sys.executable, "-m", "snakemake", "--profile", "profiles/local", *arguments]


def dry_run(configs: Sequence[str], *quiet: str) -> list[str]:
    """The command of a dry run: with `rules` it counts the jobs of each rule, without it only finds them."""
    return snakemake("--dry-run", "--quiet", *quiet, "--configfile", *configs)


def measure_bare(folder: Path, jobs: int, repeats: int) -> Run:
    """A dry run of a workflow of about as many jobs, each with one input and one output."""
    bare = folder / f"bare-{jobs}"
    bare.mkdir()
    (bare / "Snakefile").write_text(BARE.format(count=jobs // 3, folder="out"))
    return measure([sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "--cores", "1"], bare, repeats)


def finish_grid(project: Path, configs: Sequence[str]) -> dict[str, str]:
    """Run the grid with the stub in place of every program; returns the environment that does so."""
    from sys2ft.cost.bill import Bill
    from sys2ft.cost.shape import count_parameters
    from sys2ft.preflight import open_configured

    stubs = project / "stubs"
    stubs.mkdir()
    (stubs / "python").write_text(STUB)
    (stubs / "python").chmod(0o755)
    os.chdir(project)
    study = open_configured(configs)
    for name in study.grid.model:
        shape = Bill(study).shape(name)
        assert shape is not None
        told = {"weights": None, "hub_revision": None, "revision": "0", "dtype": study.models[name].dtype}
        (stubs / f"model={name}.json").write_text(json.dumps({**told, "parameters": count_parameters(shape)}))
    environment = {"PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}", "STUBS": str(stubs)}
    began = time.perf_counter()
    command = snakemake(
        "--quiet",
        "--no-hooks",
        "--cores",
        "64",
        "--resources",
        "gpu=1000",
        "mem_mb=100000000",
        "--configfile",
        *configs,
    )
    run = _measure(command, project, environment)
    print(f"the grid was finished by stubs in {time.perf_counter() - began:.0f} s ({run.memory:.1f} GB)", flush=True)
    return environment


def simulate_cluster(configs: Sequence[str], gpus: int) -> dict[str, Any]:
    """What a cluster would wait for: hours in all and a job's mean wait for a place, by rule."""
    from sys2ft.cost.bill import Bill
    from sys2ft.plan import dry_run as stale_jobs
    from sys2ft.plan import make_tasks
    from sys2ft.preflight import open_configured
    from sys2ft.schedule import simulate

    jobs = stale_jobs(["--configfile", *configs])
    tasks = make_tasks(jobs, Bill(open_configured(configs)))
    wall, waits = simulate(tasks, gpus, 16 * gpus)
    by_rule: dict[str, list[float]] = {}
    for job, wait in zip(jobs, waits, strict=True):
        by_rule.setdefault(job.rule, []).append(wait / 3600)
    busy = sum(task.gpus * task.seconds for task in tasks) / (gpus * wall)
    return {
        "gpus": gpus,
        "wall_hours": wall / 3600,
        "gpu_hours": sum(task.gpus * task.seconds for task in tasks) / 3600,
        "gpus_busy": busy,
        "mean_wait_hours": {rule: sum(some) / len(some) for rule, some in by_rule.items()},
    }


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=PAPER, help="the grid (default: %(default)s)")
    parser.add_argument("--cells", type=int, default=10_000, help="of the larger grid (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=100, help="of the simulated cluster (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="of which the best counts (default: %(default)s)")
    args = parser.parse_args(argv)
    others = Others()
    with tempfile.TemporaryDirectory() as temporary:
        project = make_project(Path(temporary) / "project")
        os.chdir(project)
        from sys2ft.preflight import open_configured

        study = open_configured([args.config])
        cells = len(study.cells())
        paper = measure(dry_run([args.config]), project, args.repeats)
        counted = measure(dry_run([args.config], "rules"), project, args.repeats)
        bare = measure_bare(Path(temporary), counted.jobs, args.repeats)
        seeds = list(range(-(-args.cells * len(study.grid.seed) // cells)))
        (project / "config/large.yaml").write_text(yaml.safe_dump({"grid": {"seed": seeds}}))
        large_cells = len(open_configured([args.config, "config/large.yaml"]).cells())
        large = measure(dry_run([args.config, "config/large.yaml"]), project, 1)
        large_jobs = counted.jobs * large_cells // cells  # what cells share counts a little too much
        bare_large = measure_bare(Path(temporary), large_jobs, 1)
        waits = simulate_cluster([args.config], args.gpus)
        environment = finish_grid(project, [args.config])
        noop = measure(snakemake("--configfile", args.config), project, args.repeats, environment)
        assert noop.jobs == 0, f"{noop.jobs} jobs ran where there was nothing to do"
        os.chdir(ROOT)
    print(f"{'':28} cells    jobs  seconds  GB    a bare workflow of as many jobs: seconds")
    for name, count, jobs, run, peer in (
        ("paper, dry run", cells, counted.jobs, paper, bare.seconds),
        ("paper, dry run that counts", cells, counted.jobs, counted, None),
        ("large, dry run", large_cells, large_jobs, large, bare_large.seconds),
        ("paper, nothing to do", cells, 0, noop, None),
    ):
        beside = "" if peer is None else f"{peer:8.1f}"
        print(f"{name:28} {count:5} {jobs:7} {run.seconds:8.1f} {run.memory:5.2f} {beside}")
    print(f"a cluster of {args.gpus} GPUs: {json.dumps(waits)}")
    warn_of_others(others.cores() - 1)
    found = {
        "paper_jobs": counted.jobs,
        "paper_dry_run_s": paper.seconds,
        "paper_dry_run_counted_s": counted.seconds,
        "noop_s": noop.seconds,
        "dry_run_10k_s": large.seconds,
        "paper_vs_bare": paper.seconds / bare.seconds,
        "large_vs_bare": large.seconds / bare_large.seconds,
        "jobs_a_cell": counted.jobs / cells,
        "ms_a_job": 1000 * paper.seconds / counted.jobs,
        "ms_a_job_10k": 1000 * large.seconds / large_jobs,
        "wall_hours": waits["wall_hours"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
