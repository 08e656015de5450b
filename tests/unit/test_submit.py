"""One job by hand: what is asked of the cluster, and the command that runs. tests/cluster does it on a real SLURM."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from submitit import LocalExecutor

from sys2ft.cluster import submit
from sys2ft.cluster.submit import ShellCommand, find_job, follow, open_executor, submit_job
from sys2ft.errors import InputError
from sys2ft.plan import Job
from tests.workflow.project import make_project

TRAP = """import signal, sys, time
def stop(*_): print("checkpoint", flush=True); sys.exit(143)
signal.signal(signal.SIGTERM, stop); print("started", flush=True); time.sleep(60)
"""


def job(command, **resources):
    return Job("fine_tune", {}, "forced", [], ["out"], {"runtime": 7, "mem_mb": 3000, **resources}, 4, command)


def test_the_command_is_the_rules_without_its_log(tmp_path):
    told = job("\n    python -c 'print(6 * 7)' \\\n     >results/logs/fine_tune/x.log 2>&1\n  ")
    submitted = submit_job(told, LocalExecutor(tmp_path / "logs"))
    assert "42" in "".join(follow(submitted, every=0.1))
    assert submitted.result() == 0


def test_a_command_that_fails_says_so(tmp_path):
    submitted = submit_job(job("python -c 'raise SystemExit(3)' >log 2>&1"), LocalExecutor(tmp_path / "logs"))
    list(follow(submitted, every=0.1))
    assert "the command ended with 3" in str(submitted.exception())


def test_what_is_asked_of_slurm_is_what_the_workflow_asks(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}")
    launch = '{"nodes": 2, "processes": 2, "deepspeed": "config/deepspeed/zero2.json"}'
    executor = open_executor(
        job("python x", gres="gpu:2", launch=launch), tmp_path, "slurm", {"partition": "p", "qos": None}
    )
    text = executor._executor._make_submission_file_text("run", "id")
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    expected = {"nodes": "2", "ntasks-per-node": "2", "gpus-per-node": "2", "cpus-per-task": "2", "time": "7",
                "mem": "3GB", "partition": "p", "job-name": "sys2ft_fine_tune"}  # fmt: skip
    assert {name: asked[name] for name in expected} == expected
    assert "qos" not in asked


def test_a_checkpoint_ends_the_command_by_its_signal_and_starts_it_again(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(submit, "PATIENCE", 0)
    (tmp_path / "trap.py").write_text(TRAP)
    command = ShellCommand(f"python {tmp_path / 'trap.py'}")
    with ThreadPoolExecutor() as threads:
        running = threads.submit(command)
        end, said = time.monotonic() + 20, ""
        while "started" not in said and time.monotonic() < end:
            time.sleep(0.05)
            said += capfd.readouterr().out
        again = command.checkpoint()
        assert "the command ended with 143" in str(running.exception())
    assert "checkpoint" in capfd.readouterr().out
    assert again.function.command == command.command
    assert again.function.child is None


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    return Path()


def test_a_job_has_the_threads_of_its_bill(project):
    """A dry run without --cores would leave it one."""
    (project / "config/threads.yaml").write_text("models: {tiny: {resources: {threads: 3}}}\n")
    found = find_job(
        "results/smoke/prepare_model/model=tiny/model.json",
        ["--configfile", "config/smoke.yaml", "config/threads.yaml", "--set-threads", "prepare_model=3"],
    )
    assert found.threads == 3


def test_a_job_whose_inputs_are_not_there_is_refused_with_what_makes_them(project):
    cell = "results/smoke/fine_tune/model=tiny/method=lora/protocol=naive/teacher=none/split=events/seed=0"
    with pytest.raises(
        InputError, match=r"comes before it, and is not up to date\. To mend: make its inputs first: snake"
    ):
        find_job(f"{cell}/train_log.parquet", ["--configfile", "config/smoke.yaml"])
    with pytest.raises(InputError, match="snakemake --dry-run: "):
        find_job("results/smoke/none.parquet", ["--configfile", "config/smoke.yaml"])
    assert project.exists()
