"""A study on a cluster: the same results as on one machine, and every job where it belongs."""

from collections import Counter

from tests.cluster.runs import ON_GPUS, SITE, assert_same_results, make_cluster_project
from tests.workflow.project import snakemake

CONFIGS = ("config/smoke.yaml", "config/small.yaml", "config/cluster.yaml")


def test_a_study_on_the_cluster_ends_as_on_one_machine(undisturbed, reference):
    undisturbed.finish()
    assert_same_results(undisturbed.project, reference)


def test_jobs_go_to_the_partition_that_fits_them(undisturbed):
    undisturbed.finish()
    found = {(job.rule, job.partition) for job in undisturbed.jobs()}
    with_model = {"score_base", "score_base_retention", "fine_tune", "score_answers", "score_retention"}
    assert found == {(rule, "spot") for rule in with_model} | {
        ("generate_study", "cpu"),  # recorded study data are read, no model runs
        ("filter_study_filter_study", "cpu"),
        ("compose_training_compose_training", "cpu"),
        ("fit_scaling_law", "cpu"),
    }


def test_small_jobs_are_one_job_of_slurm_for_each_rule(undisturbed):
    undisturbed.finish()
    counts = Counter(job.rule for job in undisturbed.jobs())
    assert counts["compose_training_compose_training"] == 1, "of two cells"
    assert counts["fine_tune"] == counts["score_answers"] == counts["score_retention"] == 2, "one a cell"
    assert {job.state for job in undisturbed.jobs()} == {"COMPLETED"}


def test_a_dry_run_prints_what_every_job_asks_for(tmp_path):
    project = make_cluster_project(tmp_path / "project")
    run = snakemake(project, "--dry-run", "--profile", "profiles/slurm", configs=CONFIGS)
    assert run.returncode == 0, run.stderr
    blocks = run.stdout.split("\nrule ")[1:] + run.stdout.split("\n    rule ")[1:]
    assert len(blocks) >= 15
    assert any(block.startswith("fine_tune") for block in blocks)
    for block in blocks:
        (line,) = [line for line in block.splitlines() if line.strip().startswith("resources: ")][:1]
        asked = dict(part.split("=", 1) for part in line.strip().removeprefix("resources: ").split(", ") if "=" in part)
        assert int(asked["mem_mb"]) > 0
        assert int(asked["runtime"]) > 0
        assert asked.get("nodes") == "1" or "gpu" not in asked, "GPUs of one job are on one node"
        if block.startswith("fine_tune"):
            assert asked["slurm_extra"] == f"--signal=TERM@{SITE['warning_seconds']}"
            assert int(asked["gpu"]) == ON_GPUS["models"]["tiny"]["resources"]["gpu"]
