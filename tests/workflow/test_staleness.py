"""What an edit makes stale: the set of jobs, job by job, on a finished grid of 48 cells."""

import itertools
import os
import shutil
from pathlib import Path

import pytest
import yaml

from sys2ft.code_versions import declare, moved_stages
from sys2ft.plan import dry_run, stale_cells
from sys2ft.preflight import open_configured
from tests.workflow.project import ROOT, failures, make_project, snakemake

MODELS, METHODS, SPLITS = ("tiny", "other"), ("lora", "lora_joint"), ("mathematics", "events")
TAUGHT = ("paraphrase", "implication", "self_qa", "self_qa_shadowed", "self_qa_shadowed_loss")
PROTOCOLS = ("naive", *TAUGHT)
KINDS = ("paraphrase", "implication", "self_qa")
GRID = {"model": list(MODELS), "method": list(METHODS), "seed": [0]}
CONFIGS = ("config/smoke.yaml", "config/grid.yaml")
REPORT = {("draw_figures",), ("build_report",)}
TABLES = {("build_tables",), ("estimate_effects",), ("trace_learning",), ("fit_scaling_law",)} | REPORT

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The grid, run with stub scripts; its models are prepared for real, as the workflow reads what they are."""
    project = make_project(tmp_path_factory.mktemp("grid"))
    for name in ("workflow", "src"):
        (project / name).unlink()
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for script in (project / "workflow/scripts").glob("*.py"):
        if script.name != "prepare_model.py":
            shutil.copy(ROOT / "tests/workflow/stub_script.py", script)
    tiny = yaml.safe_load((project / "config/smoke.yaml").read_text())["models"]["tiny"]
    other = tiny | {"source": tiny["source"] | {"seed": 1}}
    joint = {"lora_joint": {"rank": 8, "alpha": 16, "lr": 1.0e-2, "batch_size": 2}}
    config = {"models": {"other": other}, "methods": joint, "grid": GRID}
    (project / "config/grid.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(project, configs=CONFIGS)
    assert run.returncode == 0, failures(run)
    assert len(list((project / "results/smoke/score_answers").rglob("answers.parquet"))) == 48
    return project


@pytest.fixture
def project(finished, monkeypatch):
    """The finished grid; whatever a test changes is put back."""
    monkeypatch.chdir(finished)
    kept = ("config", "data", "workflow", "src")
    saved = {path: path.read_bytes() for name in kept for path in (finished / name).rglob("*") if path.is_file()}
    yield finished
    for path, content in saved.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def jobs():
    """The jobs of a dry run: the rule and its wildcards' values."""
    return {(job.rule, *job.wildcards.values()) for job in dry_run(["--configfile", *CONFIGS])}


def edit(file, old, new):
    path = Path(file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cells(models=MODELS, methods=METHODS, protocols=PROTOCOLS, splits=SPLITS, seeds=(0,)):
    """Wildcards of cells, in the order of the axes."""
    for model, method, protocol, split, seed in itertools.product(models, methods, protocols, splits, seeds):
        yield model, method, protocol, "none" if protocol == "naive" else "recorded", split, str(seed)


def trained(**which):
    """A cell's own jobs but the first one."""
    return {
        (rule, *cell)
        for cell in cells(**which)
        for rule in ("fine_tune", "score_answers", "score_retention", "write_answers")
        if rule != "write_answers" or cell[4] == "events"
    }


def composed(**which):
    return {("compose_training", model, *rest) for model, _, *rest in cells(**which)}


def taught(kinds=KINDS, splits=SPLITS, seeds=(0,)):
    """Study data, from the teacher's words to what is kept of them."""
    told = [("recorded", kind, split, str(seed)) for kind in kinds for split in splits for seed in seeds]
    return {("generate_study", *keys, "0") for keys in told} | {("filter_study", *keys) for keys in told}


def based(models=MODELS, splits=SPLITS):
    """Answers of bases."""
    both = set(itertools.product(models, splits))
    return {("score_base", *keys) for keys in both} | {("write_base", *keys) for keys in both if keys[1] == "events"}


def test_a_finished_grid_has_nothing_to_do():
    assert jobs() == set()


def test_one_item_reruns_its_split():
    edit("data/new_news/mathematics.yaml", "twice the left number", "thrice the left number")
    split = {"splits": ["mathematics"]}
    expected = {("validate_news", "mathematics")} | taught(**split) | based(**split)
    assert jobs() == expected | composed(**split) | trained(**split) | TABLES


def test_one_setting_of_one_protocol_reruns_its_cells():
    edit("config/config.yaml", 'self_qa_shadowed: {study: self_qa, ask: "{question}"',
         'self_qa_shadowed: {study: self_qa, ask: "Well: {question}"')  # fmt: skip
    which = {"protocols": ["self_qa_shadowed"]}
    assert jobs() == composed(**which) | trained(**which) | TABLES


def test_one_setting_of_one_method_trains_its_cells_on_the_same_sequences():
    edit("config/grid.yaml", "lr: 0.01", "lr: 0.02")
    assert jobs() == trained(methods=["lora_joint"]) | TABLES


def test_one_prompt_version_reruns_what_it_asked_for():
    path = Path("config/prompts/paraphrase.yaml")
    version = yaml.safe_load(path.read_text())["version"]
    edit(path, f"version: {version}", f"version: {version + 1}")
    which = {"protocols": ["paraphrase"]}
    assert jobs() == taught(kinds=["paraphrase"]) | composed(**which) | trained(**which) | TABLES


def test_one_model_revision_reruns_that_model():
    edit("config/grid.yaml", "seed: 1", "seed: 2")
    which = {"models": ["other"]}
    expected = {("prepare_model", "other"), ("score_base_retention", "other")} | based(**which)
    assert jobs() == expected | composed(**which) | trained(**which) | TABLES


def test_one_more_seed_runs_its_cells_alone():
    edit("config/grid.yaml", "- 0", "- 0\n  - 1")
    assert jobs() == taught(seeds=[1]) | composed(seeds=[1]) | trained(seeds=[1]) | TABLES


def test_an_entry_of_the_catalogue_that_nobody_selected_reruns_nothing():
    edit("config/config.yaml", "lora_joint: {kind: lora, per: split", "lora_wide: {kind: lora, per: split, lr: 1.0e-3}\n  lora_joint: {kind: lora, per: split")  # noqa: E501  # fmt: skip
    edit(
        "config/config.yaml", "entigraph: {study: entigraph, ask:", "entigraph: {study: entigraph, prefix: filler, ask:"
    )
    edit("data/new_news/coding.yaml", "version 6", "version 7")
    assert jobs() == set()


def test_touching_every_file_reruns_nothing():
    for path in Path().rglob("*"):
        if path.is_file() and not path.is_symlink() and ".snakemake" not in path.parts:
            os.utime(path)
    for path in Path().glob("results/smoke/fine_tune/**/adapters/.snakemake_timestamp"):
        os.utime(path)  # later than the answers
    assert jobs() == set()


def reordered(tree):
    """The same mappings with their keys the other way round."""
    if isinstance(tree, dict):
        return {key: reordered(tree[key]) for key in reversed(tree)}
    return [reordered(entry) for entry in tree] if isinstance(tree, list) else tree


def test_comments_and_the_order_of_keys_rerun_nothing():
    for path in map(Path, (*CONFIGS, "config/config.yaml")):
        content = reordered(yaml.safe_load(path.read_text()))
        path.write_text("# written anew\n" + yaml.safe_dump(content, sort_keys=False))
    for path in Path("data/new_news").glob("*.yaml"):
        path.write_text("# a comment\n" + path.read_text())
    assert jobs() == set()


def test_a_comment_in_the_code_and_white_space_in_a_rule_rerun_nothing():
    for path in (*Path("src").rglob("*.py"), *Path("workflow/scripts").glob("*.py")):
        path.write_text(f"# a comment\n{path.read_text()}\n\n# another one\n")
    for path in Path("workflow/rules").glob("*.smk"):
        path.write_text(path.read_text().replace("\nrule ", "\n\n# a comment\nrule "))
    assert jobs() == set()


@pytest.mark.parametrize(
    ("stage", "rerun"),
    [
        ("fine_tune", trained() | TABLES),
        ("filter_study", {job for job in taught() if job[0] == "filter_study"} | composed(protocols=TAUGHT) | trained(protocols=TAUGHT) | TABLES),  # noqa: E501
        ("estimate_effects", {("estimate_effects",)} | REPORT),
        ("fit_scaling_law", {("fit_scaling_law",)} | REPORT),
        ("draw_figures", REPORT),
    ],
)  # fmt: skip
def test_a_code_version_reruns_its_stage_and_what_follows(stage, rerun):
    declare(Path(), stage, "changed")
    assert jobs() == rerun


def test_code_that_was_said_to_give_the_same_results_reruns_nothing():
    edit("src/sys2ft/training/fine_tune.py", "method.warmup_steps + 1", "1 + method.warmup_steps")
    shutil.copy(ROOT / "workflow/scripts/fine_tune.py", "workflow/scripts/fine_tune.py")
    assert "fine_tune" in moved_stages(Path())
    declare(Path(), "fine_tune", "same")
    assert jobs() == set()


def cell_of(rule, artefact, cell):
    path = Path("results/smoke", rule, *(f"{k}={v}" for k, v in zip(
        ("model", "method", "protocol", "teacher", "split", "seed"), cell, strict=True)), artefact)  # fmt: skip
    assert path.exists()
    return path


@pytest.mark.parametrize("rule", ["score_answers", "fine_tune"])
def test_a_deleted_output_is_made_again(rule):
    cell = ("tiny", "lora", "self_qa", "recorded", "events", "0")
    path = cell_of(rule, {"score_answers": "answers.parquet", "fine_tune": "adapters"}[rule], cell)
    aside = path.with_name("aside")
    path.rename(aside)
    try:
        found = jobs()
    finally:
        aside.rename(path)
    own = {job for job in trained() if job[1:] == cell}
    assert found == (own if rule == "fine_tune" else {("score_answers", *cell)}) | TABLES


def test_a_deleted_twin_of_a_table_is_made_again():
    twin = Path("results/smoke/tables/effects.csv")
    content = twin.read_bytes()
    twin.unlink()
    try:
        assert jobs() == {("estimate_effects",)} | REPORT
    finally:
        twin.write_bytes(content)


def test_the_plan_tells_each_stale_cell_and_why():
    edit("data/new_news/mathematics.yaml", "twice the left number", "thrice the left number")
    edit("config/grid.yaml", "lr: 0.01", "lr: 0.02")
    found = stale_cells(dry_run(["--configfile", *CONFIGS]), open_configured(CONFIGS).cells())
    told = {tuple(map(str, stale.cell.keys().values())): stale for stale in found}
    edited = "validate_news: settings changed: data/new_news/mathematics.yaml (edited)"
    changed = "fine_tune: settings changed: method.lr 0.01 -> 0.02"
    assert set(told) == {*cells(splits=["mathematics"]), *cells(methods=["lora_joint"])}
    for cell, stale in told.items():
        assert (edited in stale.reasons) == (cell[4] == "mathematics")
        # Of a job after a stale one Snakemake does not ask further.
        assert (changed in stale.reasons) == (cell[1] == "lora_joint" and cell[4] == "events")
        assert len(stale.jobs) == 3 + (cell[4] == "events")
