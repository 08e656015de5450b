"""A Snakemake that was killed: its jobs go on, and the next run neither starts their twins nor loses what they did."""

import os
import re
import signal
import time

from sys2ft.cluster.runs import list_jobs, list_runs
from tests.cluster.runs import (
    CELLS,
    CONFIGS,
    assert_same_results,
    assert_same_table,
    copy_without,
    running,
    training_log,
)
from tests.workflow.project import snakemake


def test_the_next_run_cancels_orphans_and_goes_on_from_their_checkpoints(reference, tmp_path):
    project = copy_without(reference, tmp_path / "project", "fine_tune")
    with running(project) as killed:
        killed.hold_training(*CELLS.values())
        (run,) = list_runs(project / "results/smoke/runs")
        kill(killed)
        orphans = [job for job in killed.jobs("fine_tune") if job.state == "RUNNING"]
        assert len(orphans) == 2, "they go on without it"
        assert run.ended
        assert {job.id for job in list_jobs(run.name)} == {job.id for job in orphans}
        with running(project) as again:
            again.finish()
            assert "cancelling 2 jobs that process" in again.said()
            states = {job.id: job.state for job in again.jobs("fine_tune")}
    assert [states[job.id] for job in orphans] == ["CANCELLED"] * 2
    assert len(states) == 4, "each cell was started again, once"
    for cell in CELLS.values():
        assert re.search(r"^going on after step [1-9]\d*$", training_log(project, cell), re.MULTILINE)
    assert list_runs(project / "results/smoke/runs") == []
    assert_same_results(project, reference)


def test_a_twin_waits_for_the_lease_and_trains_nothing_twice(reference, tmp_path):
    """Orphans that nobody cancelled: the run's record is lost, as after a crash of the file system."""
    cell = f"results/smoke/fine_tune/{CELLS['naive']}"
    project = copy_without(reference, tmp_path / "project", f"fine_tune/{CELLS['naive']}")
    with running(project, f"{cell}/train_log.parquet") as killed:
        (orphan,) = killed.hold_training(CELLS["naive"])
        kill(killed)
        for run in list_runs(project / "results/smoke/runs"):
            (project / "results/smoke/runs" / run.name).unlink()
        with running(project, f"{cell}/train_log.parquet") as again:
            again.wait_until(lambda: "waiting for its end" in training_log(project, CELLS["naive"]), "the twin waits")
            time.sleep(1)
            assert not (project / cell / "adapters").exists()
            os.kill(orphan, signal.SIGCONT)
            again.finish()
    assert "2 of 2 taken over" in training_log(project, CELLS["naive"])
    assert_same_table(project / cell / "train_log.parquet", reference / cell / "train_log.parquet")
    digests = [folder / cell / "adapters/digests.json" for folder in (project, reference)]
    assert digests[0].read_text() == digests[1].read_text()


def kill(run):
    """Kill Snakemake as nothing can prepare for, and take away the lock that it leaves."""
    os.kill(run.pid, signal.SIGKILL)
    run.process.wait()
    unlocked = snakemake(run.project, "--unlock", configs=CONFIGS)
    assert unlocked.returncode == 0, unlocked.stderr
