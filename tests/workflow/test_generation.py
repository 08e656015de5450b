"""Study data are generated through the workflow, by vLLM too, and a killed job goes on where it stopped."""

import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.engines.test_serving import ToyServer, answer
from tests.workflow.project import ROOT, failures, make_project, snakemake

# vLLM's CPU kernels know heads of 32 and more.
WIDE = {
    "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip
STUDY = {
    "models": {"wide": {"source": {"kind": "random", "architecture": "llama", "shape": WIDE}, "dtype": "float32"}},
    "teachers": {"wide": {"engine": "transformers", "batch_size": 4}},
    "kinds": {"paraphrase": {"min_kept": 0, "max_new_tokens": 60}},
    "budget": {"study_rows": 32},
    "grid": {"teacher": ["wide"], "protocol": ["paraphrase"], "split": ["events"], "seed": [0]},
}
FOLDER = "results/smoke/generate_study/teacher=wide/kind=paraphrase/split=events/seed=0"
SHARD = f"{FOLDER}/shard=0/completions.parquet"


def completions(path: Path) -> list[dict]:
    return pq.ParquetFile(path).read().to_pylist()


def kept_requests(project: Path) -> int:
    """Requests that are on disk already."""
    count = 0
    for path in (project / FOLDER / "requests").glob("*.sqlite"):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                count += database.execute("SELECT count(*) FROM samples").fetchone()[0]
        except sqlite3.OperationalError:  # it is being made
            continue
    return count


@pytest.fixture
def project(tmp_path):
    project = make_project(tmp_path)
    (project / "config/small.yaml").write_text(yaml.safe_dump(STUDY))
    return project


def test_a_killed_job_goes_on_where_it_stopped_and_ends_as_an_undisturbed_one(project):
    assert (run := snakemake(project, SHARD)).returncode == 0, failures(run)
    undisturbed = completions(project / SHARD)
    subprocess.run(["rm", "-r", project / FOLDER], check=True)
    script = snakemake(project, SHARD, "--printshellcmds", "--dry-run").stdout
    start = script.index("python workflow/scripts/generate_study.py")
    shell = script[start : script.index("2>&1", start)] + "2>&1"
    (project / Path(SHARD).parent).mkdir(parents=True, exist_ok=True)
    for kill_after in (4, 20):
        process = subprocess.Popen(["bash", "-c", f"export PYTHONPATH=src; exec {shell}"], cwd=project)
        while kept_requests(project) < kill_after and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (project / SHARD).exists()
    kept = kept_requests(project)
    assert 20 <= kept < len(undisturbed) == 64
    assert (run := snakemake(project, SHARD)).returncode == 0, failures(run)
    log = (project / "results/smoke/logs").rglob("generate_study/**/*.log")
    assert f"{kept} requests were answered before, {64 - kept} made" in next(log).read_text()
    assert completions(project / SHARD) == undisturbed


def test_a_larger_budget_asks_for_the_rest_only_and_shards_make_the_same(project):
    small = STUDY | {"budget": {"study_rows": 8}}
    (project / "config/small.yaml").write_text(yaml.safe_dump(small))
    assert (run := snakemake(project, SHARD)).returncode == 0, failures(run)
    first = completions(project / SHARD)
    (project / "config/small.yaml").write_text(yaml.safe_dump(STUDY | {"budget": {"study_rows": 12}}))
    assert (run := snakemake(project, SHARD)).returncode == 0, failures(run)
    log = next((project / "results/smoke/logs").rglob("generate_study/**/*.log"))
    assert "16 requests were answered before, 8 made" in log.read_text()
    larger = completions(project / SHARD)
    assert [row for row in larger if row["number"] < 8] == first
    subprocess.run(["rm", "-r", project / FOLDER], check=True)
    shards = STUDY | {"budget": {"study_rows": 12}, "teachers": {"wide": {"batch_size": 4, "shards": 2}}}
    (project / "config/small.yaml").write_text(yaml.safe_dump(shards))
    targets = [f"{FOLDER}/shard={shard}/completions.parquet" for shard in (0, 1)]
    assert (run := snakemake(project, *targets)).returncode == 0, failures(run)
    assert [row for target in targets for row in completions(project / target)] == larger


@pytest.mark.skipif(
    not (ROOT / ".venv-generate/bin/vllm").exists(), reason="vLLM could not be installed: see `make generate`"
)
def test_vllm_teaches_through_the_workflow(project):
    (project / ".venv-generate").symlink_to(ROOT / ".venv-generate")
    teacher = {"wide": {"engine": "vllm", "batch_size": 8}}
    (project / "config/small.yaml").write_text(yaml.safe_dump(STUDY | {"teachers": teacher}))
    assert (run := snakemake(project, SHARD)).returncode == 0, failures(run)
    rows = completions(project / SHARD)
    assert [row["number"] for row in rows] == [*range(32)] * 2
    assert {row["engine"] for row in rows} == {"vllm"}
    assert len({row["completion"] for row in rows}) > 60
    log = next((project / "results/smoke/logs").rglob("generate_study/**/*.log")).read_text()
    assert "of the prompt tokens came from the prefix cache" in log


@pytest.mark.skipif(
    not (ROOT / ".venv-generate/bin/vllm").exists(), reason="vLLM could not be installed: see `make generate`"
)
def test_vllm_writes_answers_through_the_workflow(project):
    (project / ".venv-generate").symlink_to(ROOT / ".venv-generate")
    cell = "model=wide/method=lora/protocol=naive/teacher=none/split=events/seed=0"
    targets = [
        f"results/smoke/write_base/{'/'.join(part for part in cell.split('/') if part[:5] in ('model', 'split'))}",
        f"results/smoke/write_answers/{cell}",
    ]
    grid = STUDY["grid"] | {"model": ["wide"], "protocol": ["naive"]}
    study = STUDY | {"grid": grid, "writing": {"engine": "vllm", "max_new_tokens": 12}}
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    run = snakemake(project, *(f"{target}/answers.parquet" for target in targets))
    assert run.returncode == 0, failures(run)
    written = [row for target in targets for row in completions(project / target / "answers.parquet")]
    assert {row["mode"] for row in written} == {"generate"}
    assert len({row["completion"] for row in written}) > 5
    assert len({row["adapter"] for row in written}) == 3, "the base and two adapters"


def test_a_served_model_teaches_through_the_workflow_and_checks_what_it_wrote(project):
    def reply(number: int) -> tuple[int, dict]:
        asked = server.asked[number]["messages"][0]["content"]
        text = f"Text {number} of the ferry."
        if "yes or no" in asked:
            text = "No." if "Text 3" in asked else "Yes."
        return answer(text, prompt_tokens=9, completion_tokens=4, total_tokens=13)

    server = ToyServer(reply)
    try:
        served = {"engine": "openai", "served_model": "toy", "revision": "1", "parameters": 1000, "batch_size": 1}
        study = {
            "teachers": {"served": served},
            "filters": {"check_support": True, "near_duplicate": 1.0},
            "budget": {"study_rows": 4, "match": "flops", "flops": 1e9, "count_teacher": True},
            "grid": {"teacher": ["served"], "protocol": ["paraphrase"], "split": ["events"], "seed": [0]},
        }
        (project / "config/small.yaml").write_text(yaml.safe_dump(study))
        run = snakemake(project, "tables", OPENAI_BASE_URL=server.settings.endpoint)
        assert run.returncode == 0, failures(run)
    finally:
        server.shutdown()
        server.server_close()
    counts = pq.ParquetFile(project / "results/smoke/tables/study_counts.parquet").read().to_pylist()
    assert [(row["kept"], row["unsupported"], row["teacher_flops"]) for row in counts] == [
        (3, 1, 8 * 2.0 * 1000 * 13), (4, 0, 8 * 2.0 * 1000 * 13),
    ]  # fmt: skip
    (cell,) = pq.ParquetFile(project / "results/smoke/tables/cells.parquet").read().to_pylist()
    assert cell["teacher_flops"] == 2 * 8 * 2.0 * 1000 * 13
    assert cell["total_flops"] == pytest.approx(2e9, rel=0.05)
