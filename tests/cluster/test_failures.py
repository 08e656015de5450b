"""What goes wrong on a cluster costs time, and changes no result."""

import re

import pytest
import yaml

from tests.cluster.runs import (
    CELLS,
    assert_same_results,
    assert_same_table,
    copy_without,
    running,
    training_log,
)
from tests.cluster.slurm import call, drive_out

BASE = "results/smoke/score_base/model=tiny/split=mathematics/answers.parquet"
RETENTION = "results/smoke/score_base_retention/model=tiny/retention.parquet"


@pytest.fixture(scope="module")
def out_of_time(reference, tmp_path_factory):
    """A job that is slower than expected: it stands still until its minute is over. Runs beside the other tests."""
    project = copy_without(reference, tmp_path_factory.mktemp("time") / "project", "score_base")
    resources = {"models": {"tiny": {"resources": {"runtime": 1}}}}
    (project / "config/cluster.yaml").write_text(yaml.safe_dump(resources))
    with running(project, BASE) as run:
        run.hold("score_base")
        yield run


@pytest.fixture(scope="module")
def out_of_memory(reference, tmp_path_factory):
    """A job that needs more memory than expected."""
    project = copy_without(reference, tmp_path_factory.mktemp("memory") / "project", "score_base_retention")
    resources = {"models": {"tiny": {"resources": {"mem_mb": 350}}}}
    (project / "config/cluster.yaml").write_text(yaml.safe_dump(resources))
    with running(project, RETENTION) as run:
        yield run


@pytest.fixture(scope="module")
def disturbed(out_of_time, out_of_memory, reference, tmp_path_factory):  # noqa: ARG001
    """Both cells trained anew; each training, and a job after them, meets something else. Their jobs, in this order."""
    project = copy_without(reference, tmp_path_factory.mktemp("disturbed") / "project", "fine_tune")
    with running(project) as run:
        run.hold_training(*CELLS.values())
        jobs = {cell: job for job in run.jobs("fine_tune") for cell in CELLS if f"_{cell}_" in job.comment}
        drive_out(jobs["naive"].node)
        call("scancel", jobs["self_qa"].id)
        run.wait_until(lambda: _now(run, jobs["naive"]).restarts, "the preempted job is requeued")
        lost = run.wait_for_job("score_")
        call("scontrol", "update", f"nodename={lost.node}", "state=down", "reason=test")
        run.wait_until(lambda: _now(run, lost).restarts, "the lost job is requeued")
        call("scontrol", "update", f"nodename={lost.node}", "state=resume")
        run.wait()
        yield run, jobs, lost


def _now(run, job):
    return next(other for other in run.jobs() if other.id == job.id)


def test_preempted_training_is_requeued_and_goes_on_from_its_checkpoint(disturbed):
    run, jobs, _ = disturbed
    assert _now(run, jobs["naive"]).state == "COMPLETED", "SLURM started the same job again"
    assert _step_it_went_on_from(run, "naive") > 0


def test_a_cancelled_job_is_retried_and_goes_on_from_its_checkpoint(disturbed):
    run, jobs, _ = disturbed
    assert _now(run, jobs["self_qa"]).state == "CANCELLED"
    assert len(run.jobs("fine_tune")) == len(jobs) + 1, "Snakemake submitted another job"
    assert _step_it_went_on_from(run, "self_qa") > 0


def _step_it_went_on_from(run, cell: str) -> int:
    found = re.search(r"^going on after step (\d+)$", training_log(run.project, CELLS[cell]), re.MULTILINE)
    return int(found[1]) if found else 0


def test_a_job_whose_node_is_lost_is_requeued(disturbed):
    run, _, lost = disturbed
    assert _now(run, lost).state == "COMPLETED"


def test_results_are_those_of_an_undisturbed_run(disturbed, reference):
    run, *_ = disturbed
    run.finish()
    assert_same_results(run.project, reference)


def test_a_job_out_of_memory_succeeds_with_more(out_of_memory, reference):
    out_of_memory.finish()
    first, *_, last = out_of_memory.jobs("score_base_retention")
    assert (first.memory, first.state) == ("350M", "FAILED")
    assert (int(last.memory.rstrip("M")) > 350, last.state) == (True, "COMPLETED")
    assert_same_table(out_of_memory.project / RETENTION, reference / RETENTION)


def test_a_job_out_of_time_succeeds_with_more(out_of_time, reference):
    out_of_time.finish()
    first, last = out_of_time.jobs("score_base")
    assert (first.minutes, first.state) == ("1:00", "TIMEOUT")
    assert (last.minutes, last.state) == ("2:00", "COMPLETED")
    assert_same_table(out_of_time.project / BASE, reference / BASE)
