"""The workflow: what a study runs, what it leaves, and what an edit makes stale."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from sys2ft.cli import main as cli
from sys2ft.explain.account import explain
from sys2ft.grid import AXES
from sys2ft.origins import describe_environment
from sys2ft.tables import PROVENANCE, SCHEMAS, read_rows
from tests.workflow.guide_queries import QUERIES
from tests.workflow.project import ROOT, SMALL, failures, make_project, snakemake

EXPECTED = {
    "prepare_model": 1, "validate_news": 2, "generate_study": 2, "filter_study": 2,
    "compose_training": 6, "score_base": 2, "fine_tune": 6, "score_answers": 6,
    "write_base": 1, "write_answers": 3, "score_base_retention": 1, "score_retention": 6,
    "build_tables": 1, "estimate_effects": 1, "trace_learning": 1, "fit_scaling_law": 1, "draw_figures": 1,
    "build_report": 1, "all": 1, "total": 45,
}  # fmt: skip


def job_counts(project: Path, *arguments: str, **options) -> dict[str, int]:
    """Rule to number of jobs, from a dry run."""
    run = snakemake(project, "--dry-run", *arguments, **options)
    assert run.returncode == 0, run.stderr[-3000:] + run.stdout[-3000:]
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)}


def edit(project: Path, file: str, old: str, new: str) -> None:
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new, 1))


@pytest.fixture
def finished(finished_smoke):
    """The smoke study, run once for real."""
    return finished_smoke


def test_the_smoke_study_runs_these_jobs(tmp_path):
    assert job_counts(make_project(tmp_path)) == EXPECTED


@pytest.fixture
def project(finished):
    """The finished study; every edit is taken back after the test."""
    saved = {path: path.read_bytes() for folder in ("config", "data") for path in (finished / folder).rglob("*.yaml")}
    yield finished
    for path, content in saved.items():
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("configs", "cells"),
    [
        ((), 10),
        (("config/smoke.yaml",), 24),
        (("config/paper.yaml",), 1080),
        (("config/audit.yaml",), 5),
        (("config/embedded.yaml",), 45),
        (("config/paper.yaml", "config/teachers.yaml"), 190),
    ],
)
def test_every_shipped_config_dry_runs_with_its_number_of_cells(tmp_path, configs, cells):
    counts = job_counts(make_project(tmp_path), configs=configs)
    assert counts["fine_tune"] == counts["score_answers"] == cells


def test_second_run_has_nothing_to_do(project):
    assert job_counts(project) == {}


def test_tables_have_their_schema_and_keys_agree_with_paths(project):
    results = project / "results/smoke"
    for name in ("answers", "retention", "study_counts", "cells", "effects", "dynamics", "scaling"):
        table = pq.ParquetFile(results / f"tables/{name}.parquet").read()
        assert table.schema.names == SCHEMAS[name].names
        assert table.num_rows > 0
        assert len((results / f"tables/{name}.csv").read_text().splitlines()) >= table.num_rows + 1
    for path in results.glob("score_answers/**/answers.parquet"):
        keys = dict(part.split("=") for part in path.parent.relative_to(results / "score_answers").parts)
        assert list(keys) == list(AXES)
        for row in pq.ParquetFile(path).read().to_pylist():
            assert {axis: str(row[axis]) for axis in AXES} == keys
    assert not [path for path in results.rglob("*") if path.name.startswith(".") and "snakemake" not in path.name], (
        "a temporary file was left"
    )


CELL = "model=tiny/method=lora/protocol=naive/teacher=none/split=mathematics/seed=0"


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished study, whose results a test may change."""
    return shutil.copytree(finished, tmp_path / "copy", symlinks=True)


def test_of_an_edited_split_the_edited_item_alone_is_trained(copied):
    told = copied / "results/smoke/fine_tune" / CELL / "adapters/digests.json"
    before = json.loads(told.read_text())["digests"]
    edit(copied, "data/new_news/mathematics.yaml", "twice the left number", "thrice the left number")
    target = f"results/smoke/score_answers/{CELL}/answers.parquet"
    plan = ["plan", target, "--configfile", "config/smoke.yaml", "config/small.yaml", "--format", "json"]
    planned = subprocess.run([sys.executable, "-m", "sys2ft", *plan], cwd=copied, capture_output=True, text=True)
    found = json.loads(planned.stdout)
    (row,) = found["cells"]
    assert (row["cell"], row["jobs"]) == (CELL, 2)
    assert row["reasons"] == ["validate_news: settings changed: data/new_news/mathematics.yaml (edited)"]
    run = snakemake(copied, target)
    assert run.returncode == 0, failures(run)
    ran = Counter(re.findall(r"^(?:local)?rule (\w+):", run.stderr, re.MULTILINE))
    assert ran == found["jobs"], "the plan and the run differ"
    assert "1 of 2 taken over" in (copied / f"results/smoke/logs/fine_tune/{CELL}.log").read_text()
    after = json.loads(told.read_text())["digests"]
    assert [before[item] == after[item] for item in before] == [False, True]
    assert job_counts(copied, target) == {}


def test_damaged_outputs_are_found_and_made_again(copied, monkeypatch, capsys):
    monkeypatch.chdir(copied)
    study = ["verify", "--configfile", "config/smoke.yaml", "config/small.yaml"]
    cli(study)
    assert re.search(r"^\d{2,3} outputs, 0 damaged$", capsys.readouterr().out, re.MULTILINE)
    results = copied / "results/smoke"
    damaged = [
        results / f"score_answers/{CELL}/answers.parquet",
        results / "prepare_model/model=tiny/weights/config.json",
    ]
    damaged += list((results / f"fine_tune/{CELL}/adapters").glob("*/adapter_model.safetensors"))[:1]
    for path in damaged:
        content, time = bytearray(path.read_bytes()), path.stat().st_mtime_ns
        # Of a table the second half may be settings and origins, which no row depends on.
        content[len(content) // (8 if path.suffix == ".parquet" else 2)] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
    assert job_counts(copied) == {}, "Snakemake itself does not see it"
    with pytest.raises(SystemExit, match="run with --delete"):
        cli(study)
    assert "3 damaged" in (told := capsys.readouterr().out)
    assert all(
        part in told for part in (f"score_answers/{CELL}/answers.parquet", "weights/config.json", f"{CELL}/adapters")
    )
    damaged[1].write_bytes(damaged[1].read_bytes()[:-1])
    cli([*study, "--delete"])
    assert "3 damaged, removed" in capsys.readouterr().out
    counts = job_counts(copied)
    assert counts["prepare_model"] == 1
    assert counts["fine_tune"] == 6, "the model is made anew"


# ------------------------------------------------------------------------------- where figures come from, and queries
EFFECTS = Path("results/smoke/tables/effects.parquet")


def test_cells_hold_where_each_comes_from(project):
    told = {name for name, _, _ in PROVENANCE}
    cells = read_rows(SCHEMAS["cells"], project / "results/smoke/tables/cells.parquet")
    for row in cells:
        lacking = {name for name in told if row[name] is None}
        assert lacking == ({"studies"} if row["teacher"] == "none" else set())
        assert {pair["package"]: pair["version"] for pair in row["environment"]} == describe_environment()
    (study,) = next(row["studies"] for row in cells if row["teacher"] != "none")
    recorded = hashlib.sha256((ROOT / "tests/data/recorded_study.yaml").read_bytes()).hexdigest()
    assert (study["kind"], study["teacher_revision"]) == ("self_qa", recorded)
    written = {pair["stage"] for row in cells if row["split"] == "events" for pair in row["code_versions"]}
    after = {"build_tables", "estimate_effects", "trace_learning", "fit_scaling_law", "draw_figures", "build_report"}
    assert written == set(EXPECTED) - after - {"all", "total"}


def test_a_figure_is_explained_and_what_is_damaged_is_named(copied, monkeypatch, capsys):
    monkeypatch.chdir(copied)
    effects = read_rows(SCHEMAS["effects"], EFFECTS)
    first = {(row["measure"], row["mode"]): number for number, row in reversed(list(enumerate(effects)))}
    for number in first.values():
        account = explain(EFFECTS, number, ())
        assert account.damage == []
        assert {check.status for check in account.checks.values()} == {"ok"}
        assert account.recomputed is not None, account.why_not
        assert account.recomputed.values or account.chosen.row["estimate"] is None
    which = [f"{axis}={value}" for axis, value in (part.split("=") for part in CELL.split("/")) if axis != "seed"]
    which += ["mode=cloze", "measure=closed_book_gain", "control=other_adapter"]
    cli(["explain", str(EFFECTS), "--key", *which])
    assert ": agrees" in capsys.readouterr().out

    (weights, *_) = sorted((copied / f"results/smoke/fine_tune/{CELL}/adapters").glob("*/adapter_model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    sequences = next(
        (copied / "results/smoke/compose_training").glob("*/protocol=naive/*/split=mathematics/*/*.parquet")
    )
    table = pq.ParquetFile(sequences).read()
    pq.write_table(table.slice(1), sequences)
    with pytest.raises(SystemExit, match="2 differ from what was written"):
        cli(["explain", str(EFFECTS), "--key", *which, "--format", "json"])
    damage = sorted(json.loads(capsys.readouterr().out)["damage"])
    assert damage[0].startswith(f"{sequences.relative_to(copied)}: its digest is ")
    assert damage[1] == f"results/smoke/fine_tune/{CELL}/adapters: {weights.parent.name} is missing or damaged"


def test_the_queries_of_the_guide_run_as_they_stand_there(project, tmp_path, monkeypatch):
    (tmp_path / "results").symlink_to(project / "results/smoke")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/reading-the-tables.md").read_text()
    queries = re.findall(r"```sql\n-- (.+?)\n(.+?)```", page, re.DOTALL)
    names = ("answers", "study_counts", "cells", "effects")
    tables = {name: read_rows(SCHEMAS[name], f"results/tables/{name}.parquet") for name in names}
    assert [name for name, _ in queries] == list(QUERIES)
    for name, query in queries:
        found, expected = duckdb.sql(query).fetchall(), QUERIES[name](tables)
        assert len(found) == len(expected) > 0, name
        for row, other in zip(found, expected, strict=True):
            assert row == pytest.approx(other), name


def test_what_changes_no_result_reruns_nothing(project):
    config = project / "config/config.yaml"
    edit(project, "config/config.yaml", "  implication_shadowed:", "  # a comment\n  implication_shadowed:")
    edit(project, "config/config.yaml", "max_new_tokens: 160", "max_new_tokens: 170")  # a kind nobody selected
    edit(project, "data/new_news/coding.yaml", "version 6", "version 7")  # a split nobody selected
    for path in (config, project / "data/new_news/mathematics.yaml", *(project / "results").rglob("*.parquet")):
        path.touch()
    assert job_counts(project) == {}


def test_one_more_mode_that_writes_asks_for_its_texts_only(project):
    edit(
        project,
        "config/config.yaml",
        "modes: [letter, cloze, statement]",
        "modes: [letter, cloze, statement, generate]",
    )
    tables = ("build_tables", "estimate_effects", "trace_learning", "fit_scaling_law", "draw_figures", "build_report")
    expected = {"write_base": 1, "write_answers": 3, **dict.fromkeys(tables, 1), "all": 1, "total": 11}
    assert job_counts(project) == expected


def test_texts_stand_beside_scores_and_say_who_wrote_them(project):
    tables = project / "results/smoke/tables"
    answers = pq.ParquetFile(tables / "answers.parquet").read().to_pylist()
    written = [row for row in answers if row["mode"] == "generate"]
    assert {row["split"] for row in written} == {"events"}
    scored = {(row["protocol"], row["question_id"], row["condition"], row["control"], row["adapter"]) for row in answers
              if row["mode"] == "cloze" and row["split"] == "events"}  # fmt: skip
    told = [(row["protocol"], row["question_id"], row["condition"], row["control"], row["adapter"]) for row in written]
    assert len(told) == len(set(told))
    assert set(told) == scored
    assert all((row["choice"] is None) == (row["unread"] is not None) for row in written)
    assert all(row["completion"] is not None for row in written)
    effects = pq.ParquetFile(tables / "effects.parquet").read().to_pylist()
    unread = {row["unread_share"] for row in effects if row["mode"] == "generate"}
    assert unread
    assert max(unread) > 0.5, "random weights name no option"
    assert {row["unread_share"] for row in effects if row["mode"] == "cloze"} == {0.0}


def test_one_more_seed_adds_its_cells_only(project):
    (project / "config/small.yaml").write_text(yaml.safe_dump({"grid": {**SMALL["grid"], "seed": [0, 1]}}))
    counts = job_counts(project)
    assert counts["fine_tune"] == counts["score_answers"] == 6
    assert counts["generate_study"] == 2
    assert not {"score_base", "prepare_model", "validate_news"} & set(counts)


def test_bad_input_stops_before_any_job_with_one_message(project):
    edit(project, "config/smoke.yaml", "teacher: [recorded]", "teacher: [recordet]")
    run = snakemake(project, "--dry-run")
    assert run.returncode != 0
    assert "grid.teacher: there is no teacher 'recordet'. To mend: write 'recorded'" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    assert "Job stats" not in run.stdout


def test_worked_example_and_tables_are_printed(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    cell = "model=tiny/method=lora/protocol=self_qa_shadowed/teacher=recorded/split=events/seed=0"
    cli(["show", cell, "--results", "results/smoke", "--question", "all"])
    shown = capsys.readouterr().out
    for part in ("NEWS hallorsund-ferry-rotation", "TEACHER PROMPT (write", "COMPLETION", "4 of 4 kept", "⟦",
                 "control other_adapter, mode letter", "other_news, mode cloze", "base:", "tuned:", "mode generate",
                 "Answer in a few words.", "unread (none)"):  # fmt: skip
        assert part in shown
    cli(["table", "effects", "--results", "results/smoke"])
    assert "shadowing" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is not a cell"):
        cli(["show", "model=tiny", "--results", "results/smoke"])


def test_study_that_cannot_be_used_fails_its_cell_with_the_count(project):
    recorded = yaml.safe_load((ROOT / "tests/data/recorded_study.yaml").read_text())
    for rows in recorded["study"].values():
        rows["paraphrase"] = ["I'm sorry, but I cannot do that."] * len(rows["paraphrase"])
    (project / "data/unreadable.yaml").write_text(yaml.safe_dump(recorded))
    edit(project, "config/smoke.yaml", "tests/data/recorded_study.yaml", "data/unreadable.yaml")
    target = "results/smoke/filter_study/teacher=recorded/kind=paraphrase/split=events/seed=7/study.parquet"
    run = snakemake(project, target)
    assert run.returncode != 0
    assert "0 of 4 study rows are left (4 refusal)" in run.stdout + run.stderr
    assert not (project / target).exists()
    assert list(project.glob("results/smoke/generate_study/*/kind=paraphrase/split=events/seed=7/shard=0/*.parquet"))


def test_a_changed_prompt_or_filter_reruns_what_it_touches_only(project):
    edit(project, "config/prompts/self_qa.yaml", "one or two sentences", "one sentence")
    counts = job_counts(project)
    assert counts["generate_study"] == counts["filter_study"] == 2
    assert counts["compose_training"] == counts["fine_tune"] == 4
    edit(project, "config/prompts/self_qa.yaml", "one sentence", "one or two sentences")
    assert job_counts(project) == {}
    edit(project, "config/prompts/self_qa.yaml", "Does the news support", "Is it in the news:")  # nobody is asked
    edit(project, "config/prompts/entigraph.yaml", "version: 1", "version: 2")  # a kind nobody selected
    assert job_counts(project) == {}
    edit(project, "config/config.yaml", "leak_overlap: 0.5", "leak_overlap: 0.6")
    counts = job_counts(project)
    assert counts["filter_study"] == 2
    assert "generate_study" not in counts


def test_the_study_data_of_a_teacher_are_generated_once_and_serve_every_learner(tmp_path):
    project = make_project(tmp_path)
    source = yaml.safe_load((project / "config/smoke.yaml").read_text())["models"]["tiny"]
    study = {
        "models": {"second": source, "third": source},
        "teachers": {"third": {"engine": "transformers", "shards": 2}},
        "grid": {"model": ["tiny", "second"], "protocol": ["self_qa"], "teacher": ["self", "recorded", "third"]},
    }
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    counts = job_counts(project)
    assert counts["fine_tune"] == 2 * 3 * 2 * 2  # learners, teachers, splits, seeds
    assert counts["filter_study"] == 4 * 2 * 2  # both learners, recorded, third
    assert counts["generate_study"] == 3 * 2 * 2 + 2 * 2 * 2  # third has two shards
    assert counts["prepare_model"] == 3


OTHER_KINDS = ("local_inference", "global_inference", "active_reading", "entigraph")


def test_every_protocol_trains_from_recorded_study_data(tmp_path):
    project = make_project(tmp_path)
    recorded = yaml.safe_load((project / "tests/data/recorded_study.yaml").read_text())
    for kinds in recorded["study"].values():
        for kind in OTHER_KINDS:
            kinds[kind] = [{"question": f"{kind} {n}", "answer": row} for n, row in enumerate(kinds["paraphrase"])]
    (project / "data/recorded.yaml").write_text(yaml.safe_dump(recorded))
    protocols = list(yaml.safe_load((project / "config/config.yaml").read_text())["protocols"])
    study = {
        "teachers": {"recorded": {"path": "data/recorded.yaml"}},
        "budget": {"match": "tokens", "tokens": 300},
        "grid": {"protocol": protocols, "split": ["events"], "seed": [0]},
    }
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    run = snakemake(project, "--until", "compose_training")
    assert run.returncode == 0, failures(run)
    for protocol in protocols:
        (path,) = (project / "results/smoke/compose_training").glob(f"*/protocol={protocol}/*/*/*/sequences.parquet")
        rows = pq.ParquetFile(path).read().to_pylist()
        for item in {row["item"] for row in rows}:
            own = [row["n_loss_tokens"] for row in rows if row["item"] == item]
            assert abs(sum(own) - 300) <= max(own) / 2 or len(own) == 1


def test_a_procedural_split_and_an_audit_run_as_any_other(tmp_path):
    project = make_project(tmp_path)
    study = {
        "splits": {"reversals": {"generator": "reversal_curse", "size": 8}, "logic": {"generator": "syllogisms"}},
        "grid": {"protocol": ["naive"], "split": ["reversals", "logic"], "seed": [0]},
    }
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    run = snakemake(project, "tables")
    assert run.returncode == 0, failures(run)
    cells = pq.ParquetFile(project / "results/smoke/tables/cells.parquet").read().to_pylist()
    assert {(row["split"], row["items"], row["questions"]) for row in cells} == {("reversals", 2, 16), ("logic", 2, 2)}
    audited = snakemake(project, "audit_dataset")
    assert "words in common" in (project / "results/smoke/logs/audit_dataset.log").read_text()
    assert (audited.returncode == 0) == (project / "results/smoke/tables/audit.parquet").exists()
    study["splits"]["reversals"]["seed"] = 5
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    counts = job_counts(project)
    assert counts["validate_news"] == counts["fine_tune"] == counts["score_answers"] == 1


def test_several_processes_train_whole_models_and_their_milestones(tmp_path):
    pytest.importorskip("deepspeed")
    project = make_project(tmp_path)
    study = {
        "models": {"tiny": {"resources": {"processes": 2, "deepspeed": "config/deepspeed/zero3.json"}}},
        "training": {"tensorboard": True},
        "budget": {"milestones": True},
        "methods": {"lora_joint": {"lr": 1.0e-2, "rank": 8, "batch_size": 2}, "full": {"lr": 1.0e-3, "batch_size": 2}},
        "grid": {"method": ["lora_joint", "full"], "protocol": ["self_qa_distilled"], "split": ["events"], "seed": [0]},
    }
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    run = snakemake(project, "tables")
    assert run.returncode == 0, failures(run)
    tables = project / "results/smoke/tables"
    answers = pq.ParquetFile(tables / "answers.parquet").read().to_pylist()
    seen = {(row["method"], row["samples_seen"], row["milestone"]) for row in answers}
    points = {(2, True), (4, True), (8, False)}  # of 2 items x 4 sequences, two a step
    assert seen == {(method, *point) for method in ("lora_joint", "full") for point in points} | {("none", 0, False)}
    assert not any(row["control"] == "other_adapter" for row in answers), "one learner has all items"
    adapters = {row["adapter"] for row in answers if row["method"] == "full"}
    assert len(adapters) == len(points), "every milestone is a model of its own"
    cells = {row["method"]: row for row in pq.ParquetFile(tables / "cells.parquet").read().to_pylist()}
    assert cells["full"]["train_flops"] > cells["lora_joint"]["train_flops"]
    assert all(row["useful_share"] >= 0.95 for row in cells.values())
    (cell,) = (project / "results/smoke/fine_tune/model=tiny/method=full").glob("*/*/*/*")
    assert sorted(path.name for path in cell.iterdir()) == ["adapters", "kept", "tensorboard", "train_log.parquet"]

    study["models"]["tiny"]["resources"] = {"processes": 1, "tokens_per_pass": 512, "activation_checkpointing": True}
    study["training"] = {"checkpoint_minutes": 1}
    (project / "config/small.yaml").write_text(yaml.safe_dump(study))
    assert job_counts(project, "tables") == {}, "how a cell is trained makes nothing stale"
