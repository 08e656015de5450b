"""Runs of Snakemake on a cluster: whose jobs are orphans, and what is done with them.

`squeue` and `scancel` are stood for by scripts here; tests/cluster asks the same of a real SLURM.
"""

import json
import os
import subprocess
import sys

import pytest

from sys2ft.cli import main as cli
from sys2ft.cluster.runs import begin_run, cancel_run, list_jobs, list_runs
from sys2ft.errors import InputError
from sys2ft.lease import _process

SQUEUE = """#!/bin/bash
[ -e "$QUEUE/broken" ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
for told in "$@"; do case $told in --name=*) name=${told#--name=};; esac; done
cat "$QUEUE/$name" 2>/dev/null; exit 0
"""
SCANCEL = """#!/bin/bash
echo "$@" >>"$QUEUE/cancelled"
[ -e "$QUEUE/stubborn" ] || rm -f "$QUEUE/${1#--name=}"
"""
ELSEWHERE = {"host": "login2 pid:[1]", "pid": 17, "started": "5", "job": None, "token": "x"}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A queue: a file for each run, with a line for each of its jobs."""
    folder = tmp_path / "queue"
    folder.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("QUEUE", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def results(tmp_path):
    (tmp_path / "results/runs").mkdir(parents=True)
    return tmp_path / "results"


def killed():
    """A process of this machine that is no more."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    holder = _process(process.pid) | {"job": None, "token": "x"}
    process.kill()
    process.wait()
    return holder


def add_run(queue, results, name, holder, jobs=("7|RUNNING|rule_fine_tune", "8|PENDING|rule_score_answers")):
    (results / "runs" / name).write_text(json.dumps(holder))
    (queue / name).write_text("".join(f"{job}\n" for job in jobs))


def test_a_new_run_cancels_the_jobs_of_killed_ones_and_leaves_those_of_others(queue, results, capsys):
    add_run(queue, results, "sys2ft_killed", killed())
    add_run(queue, results, "sys2ft_here", _process(os.getpid()) | {"job": None, "token": "x"})
    add_run(queue, results, "sys2ft_elsewhere", ELSEWHERE)
    begin_run(str(results), None)
    assert (queue / "cancelled").read_text() == "--name=sys2ft_killed\n"
    assert [run.name for run in list_runs(results / "runs")] == ["sys2ft_elsewhere", "sys2ft_here"]
    out = capsys.readouterr().out
    assert "cancelling 2 jobs that process" in out
    assert "7 (rule_fine_tune), 8 (rule_score_answers)" in out
    assert "process 17 on login2 may wait for this run's jobs; they are left alone" in out


def test_a_run_holds_a_lease_until_its_process_ends(queue, results):
    code = f"from sys2ft.cluster.runs import begin_run, list_runs; begin_run({str(results)!r}, 'sys2ft_new'); "
    code += f"from pathlib import Path; (run,) = list_runs(Path({str(results / 'runs')!r})); print(run.ended)"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == "False\n"
    assert os.listdir(results / "runs") == []
    assert os.listdir(queue) == sorted(["squeue", "scancel"], key=os.listdir(queue).index), (
        "SLURM was asked for nothing"
    )


def test_jobs_are_told_with_what_they_do(queue, results):
    add_run(queue, results, "sys2ft_a", ELSEWHERE, ["12|RUNNING|rule_fine_tune_wildcards_tiny|lora"])
    (job,) = list_jobs("sys2ft_a")
    assert (job.id, job.state, job.comment) == ("12", "RUNNING", "rule_fine_tune_wildcards_tiny|lora")
    assert list_jobs("sys2ft_b") == []


def test_jobs_that_do_not_end_are_named(queue, results):
    add_run(queue, results, "sys2ft_a", killed(), [f"{n}|RUNNING|rule" for n in range(7)])
    (queue / "stubborn").touch()
    (run,) = list_runs(results / "runs")
    with pytest.raises(InputError, match=r"sys2ft_a: jobs that were cancelled do not end: 0 .* and 2 others"):
        cancel_run(results / "runs", run, patience=0)
    assert list_runs(results / "runs") == [run], "its jobs may run, and it was forgotten"


def test_a_cluster_that_does_not_answer_stops_the_run_with_its_own_words(queue, results):
    add_run(queue, results, "sys2ft_a", killed())
    (queue / "broken").touch()
    with pytest.raises(InputError, match=r"squeue: does not answer .*Unable to contact slurm controller"):
        begin_run(str(results), None)


def test_without_slurm_only_killed_runs_are_missed(results, monkeypatch):
    monkeypatch.setenv("PATH", "")
    begin_run(str(results), None)
    (results / "runs/sys2ft_a").write_text(json.dumps(killed()))
    with pytest.raises(InputError, match="squeue: is not installed here"):
        begin_run(str(results), None)


def test_orphans_are_listed_and_cancelled_from_the_command_line(queue, results, capsys):
    add_run(queue, results, "sys2ft_a", killed())
    add_run(queue, results, "sys2ft_b", ELSEWHERE, ["9|RUNNING|rule_x"])
    told = ["orphans", "--results", str(results)]
    cli(told)
    out = capsys.readouterr().out
    assert "was killed\n  7 RUNNING rule_fine_tune" in out
    assert "is at work, or was killed on its machine\n  9 RUNNING rule_x" in out
    assert not (queue / "cancelled").exists()
    cli([*told, "--cancel"])
    assert (queue / "cancelled").read_text() == "--name=sys2ft_a\n"
    cli([*told, "--cancel", "sys2ft_b"])
    assert "cancelled: 1 jobs" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="there is no such run"):
        cli([*told, "--cancel", "sys2ft_b"])
    cli(told)
    assert "every run came to its end" in capsys.readouterr().out
