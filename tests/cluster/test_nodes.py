"""A cell that several nodes train together, started by srun within one job of Snakemake's."""

import pyarrow.parquet as pq
import pytest
import yaml

from tests.cluster.runs import CELLS, copy_without, running, training_log

CELL = CELLS["self_qa"]
LOG = f"results/smoke/fine_tune/{CELL}/train_log.parquet"
STEPS = 20  # then rounding in another order has grown beyond 1e-5, at the smoke study's learning rate
TWO_BY_TWO = {
    "models": {"tiny": {"resources": {"gpu": 2, "nodes": 2, "processes": 2, "threads": 2, "mem_mb": 4000}}},
    "training": {"checkpoint_minutes": 10},
}


@pytest.fixture(scope="module")
def run(reference, tmp_path_factory):
    """The cell, trained on two nodes with two processes each."""
    pytest.importorskip("deepspeed")
    project = copy_without(reference, tmp_path_factory.mktemp("nodes") / "project", f"fine_tune/{CELL}")
    (project / "config/cluster.yaml").write_text(yaml.safe_dump(TWO_BY_TWO))
    # The nodes are this machine, and their names are not known to it; the GPUs are none.
    with running(project, LOG, MASTER_ADDR="127.0.0.1", DS_ACCELERATOR="cpu") as run:
        run.finish()
        yield run


def test_the_job_has_two_nodes_with_two_processes_each(run, cluster):
    (job,) = run.jobs("fine_tune")
    assert (job.partition, job.node, job.state) == ("spot", "gpu[1-2]", "COMPLETED")
    assert cluster.nodes_of_steps(job.id) == {"gpu1", "gpu2"}
    assert training_log(run.project, CELL).count("Loading weights: 100%") == 4, "each process reads the model"


def test_it_learns_what_one_process_learns(run, reference):
    found, expected = (pq.ParquetFile(project / LOG).read().to_pylist() for project in (run.project, reference))
    assert [(row["item"], row["step"]) for row in found] == [(row["item"], row["step"]) for row in expected]
    first = [[row["loss"] for row in rows if row["step"] <= STEPS] for rows in (found, expected)]
    assert first[0] == pytest.approx(first[1], abs=1e-5)
