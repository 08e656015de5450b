"""One cluster, one study run on it, and the same study run without it, for all tests of this folder."""

import pytest

from tests import debian
from tests.cluster.runs import make_cluster_project, running
from tests.cluster.slurm import PACKAGES, Cluster, why_not
from tests.workflow.project import failures, snakemake


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A running cluster."""
    if reason := why_not():
        pytest.skip(f"no SLURM here: {reason}")
    debian.install(PACKAGES)
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def undisturbed(cluster, tmp_path_factory):  # noqa: ARG001
    """The study as it runs on the cluster, in the background."""
    with running(make_cluster_project(tmp_path_factory.mktemp("undisturbed") / "project")) as run:
        yield run


@pytest.fixture(scope="session")
def reference(undisturbed, tmp_path_factory):  # noqa: ARG001
    """The project with the study as it ran on this machine without SLURM, beside the other to save time."""
    project = make_cluster_project(tmp_path_factory.mktemp("reference") / "project")
    run = snakemake(project)
    assert run.returncode == 0, failures(run)
    return project
