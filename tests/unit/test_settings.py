"""Settings: frozen, complete, and divided so that a change reaches the stages that depend on it and no others."""

import copy
import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sys2ft.errors import InputError
from sys2ft.grid import NONE
from sys2ft.news.items import NewsFile, read_yaml
from sys2ft.settings.base import Frozen, check_template
from sys2ft.settings.catalogue import KindSettings, MethodSettings, ProtocolSettings, TeacherSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.study import Study, load_study

ROOT = Path(__file__).parents[2]
SHIPPED = read_yaml(ROOT / "config/config.yaml")


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake merges configuration files: mappings are merged, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        merged[key] = merge(below[key], value) if both else value
    return merged


def changed(path: str, value: object) -> dict[str, Any]:
    """The shipped configuration with one dotted key changed."""
    config = copy.deepcopy(SHIPPED)
    *parents, last = path.split(".")
    place = config
    for parent in parents:
        place = place.setdefault(parent, {})
    assert place.get(last) != value, "nothing would change"
    place[last] = value
    return config


def stages(study: Study) -> dict[tuple, dict[str, Any]]:
    """What every job of a study is told, by stage and what it is asked for."""
    told: dict[tuple, Any] = {
        ("estimate_effects",): study.estimate_effects_stage(),
        ("build_tables",): study.build_tables_stage(),
    }
    for cell in study.cells():
        kind = study.protocols[cell.protocol].study
        told["prepare_model", cell.model] = study.prepare_model_stage(cell.model)
        told["validate_news", cell.split] = study.validate_news_stage(cell.split)
        told["score", cell.split] = study.score_stage(cell.split)
        told["compose_training", cell.protocol] = study.compose_training_stage(cell.protocol)
        told["fine_tune", cell.method] = study.fine_tune_stage(cell.method)
        if kind is not None:
            teacher = cell.resolved_teacher()
            told["generate_study", teacher, kind] = study.generate_study_stage(teacher, kind)
    return {key: stage.model_dump(mode="json") for key, stage in told.items()}


def differing(config: dict[str, Any]) -> set[tuple]:
    """The jobs that a changed configuration tells something else than the shipped one does."""
    before, after = stages(load_study(SHIPPED)), stages(load_study(config))
    assert set(before) == set(after)
    return {key for key in before if before[key] != after[key]}


# ------------------------------------------------------------------------------------------------------ shipped studies
# Cells counted by hand. config.yaml: (naive + 4 protocols with one teacher) x 2 splits x 1 seed.
# smoke.yaml: (naive + 5 protocols with one teacher) x 2 splits x 2 seeds.
EXPECTED_CELLS = {"config.yaml": 10, "smoke.yaml": 24}


def load_shipped(name: str) -> Study:
    path = ROOT / "config" / name
    if not path.exists():
        pytest.skip(f"{path.relative_to(ROOT)} is not there yet")
    return load_study(SHIPPED if name == "config.yaml" else merge(SHIPPED, read_yaml(path)), path)


@pytest.mark.parametrize(("name", "count"), EXPECTED_CELLS.items())
def test_a_shipped_configuration_has_the_expected_number_of_cells(name, count):
    cells = load_shipped(name).cells()
    assert len(cells) == len(set(cells)) == count


def test_the_embedded_study_runs_each_protocol_on_two_domains():
    cells = load_shipped("config.yaml").cells()
    assert sum(cell.protocol == "naive" for cell in cells) == 2
    assert {cell.teacher for cell in cells if cell.protocol == "naive"} == {NONE}
    assert {cell.teacher for cell in cells if cell.protocol != "naive"} == {"self"}
    assert {cell.model for cell in cells} == {"smollm2-135m"}


def test_a_procedural_split_is_put_in_cloze_and_a_split_may_choose_its_modes():
    config = copy.deepcopy(SHIPPED)
    config["splits"]["coding"]["modes"] = ["letter"]
    study = load_study(config)
    modes = {split: study.score_stage(split).scoring.modes for split in ("events", "coding", "syllogisms")}
    assert modes == {"events": ("letter", "cloze"), "coding": ("letter",), "syllogisms": ("cloze",)}


def test_the_smoke_study_needs_no_teacher_model():
    study = load_shipped("smoke.yaml")
    assert study.results == "results/smoke"
    assert study.build_tables_stage().teacher_models == {"recorded": None}
    assert {cell.model for cell in study.cells()} == {"tiny"}


def test_the_papers_study_has_as_many_cells_as_its_lists_span():
    study = load_shipped("paper.yaml")
    grid = merge(SHIPPED, read_yaml(ROOT / "config/paper.yaml"))["grid"]
    if grid.get("exclude"):
        pytest.skip("cells cannot be counted from the lists where some are excluded")
    protocols = sum(len(grid["teacher"]) if study.protocols[name].study else 1 for name in grid["protocol"])
    others = [len(grid[axis]) for axis in ("model", "method", "split", "seed")]
    assert len(study.cells()) == protocols * others[0] * others[1] * others[2] * others[3]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.relative_to(ROOT / "config").as_posix()
)
def test_every_shipped_configuration_loads(path):
    assert load_shipped(path.name).cells()


def test_the_tables_stage_lists_the_cells_of_the_study():
    study = load_shipped("smoke.yaml")
    assert study.build_tables_stage().cells() == study.cells()


# -------------------------------------------------------------------------------------------------------------- schemas
@pytest.mark.parametrize(("name", "model"), [("config", Study), ("news", NewsFile)])
def test_a_schema_agrees_with_the_models_that_it_was_written_from(name, model):
    schema = json.loads((ROOT / f"workflow/schemas/{name}.schema.json").read_text(encoding="utf-8"))
    assert schema == model.model_json_schema(), "run `make schemas`"


def test_the_schemas_can_be_written_again_byte_for_byte(tmp_path):
    spec = importlib.util.spec_from_file_location("write_schemas", ROOT / "workflow/schemas/write_schemas.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    writer.__file__ = str(tmp_path / "write_schemas.py")
    writer.main()
    for name in ("config", "news"):
        shipped = ROOT / f"workflow/schemas/{name}.schema.json"
        assert (tmp_path / shipped.name).read_bytes() == shipped.read_bytes()


# --------------------------------------------------------------------------------------------------------------- frozen
SETTINGS = ("catalogue", "choices", "stages", "study")
MODELS = [
    value
    for module in map(importlib.import_module, (f"sys2ft.settings.{part}" for part in SETTINGS))
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Frozen) and value.__module__ == module.__name__
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_of_settings_is_frozen_and_refuses_unknown_keys(model):
    assert model.model_config["frozen"] is True
    assert model.model_config["extra"] == "forbid"


def test_a_setting_cannot_be_changed_after_it_is_read():
    method = MethodSettings()
    with pytest.raises(ValidationError, match="frozen"):
        method.lr = 1.0  # type: ignore[misc]
    study = load_study(SHIPPED)
    with pytest.raises(ValidationError, match="frozen"):
        study.budget.samples = 1  # type: ignore[misc]


def test_an_unknown_key_is_refused_by_the_model_itself():
    with pytest.raises(ValidationError, match="Extra inputs"):
        MethodSettings.model_validate({"rnak": 8})


def test_reading_a_study_does_not_change_the_mapping_it_is_read_from():
    config = copy.deepcopy(SHIPPED)
    load_study(config)
    assert config == SHIPPED


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (MethodSettings, {"rank": 12}),
        (MethodSettings, {"lr": 0}),
        (MethodSettings, {"beta1": 1}),
        (MethodSettings, {"kind": "full"}),
        (TeacherSettings, {"temperature": 0}),
        (TeacherSettings, {"top_p": 1.1}),
        (KindSettings, {"instruction": "Rewrite.", "min_kept": 2}),
        (KindSettings, {"instruction": "Ask.", "parser": "questions"}),
        (KindSettings, {"instruction": "Ask.", "answer_instruction": "{question}"}),
        (ProtocolSettings, {"ask": "Tell.", "prefix_loss": True}),
        (ScoringSettings, {"conditions": ["in_context"]}),
        (ScoringSettings, {"modes": []}),
    ],
)
def test_values_out_of_range_are_refused(model, values):
    with pytest.raises(ValidationError):
        model.model_validate(values)


@pytest.mark.parametrize("results", ["", "/tmp/x", "../x", "~/x", "a b"])
def test_results_are_kept_in_a_plain_folder_of_the_project(results):
    with pytest.raises(InputError, match="results"):
        load_study(changed("results", results))


def test_a_template_may_double_a_brace_that_is_meant_as_text():
    assert check_template("{{x}} {title}", {"title"}, {"title"}) == "{{x}} {title}"


# ------------------------------------------------------------------------------------------------------------ staleness
def test_the_same_configuration_tells_every_job_the_same():
    assert differing(copy.deepcopy(SHIPPED)) == set()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.other", {"source": {"kind": "directory", "path": "nowhere"}}),
        ("methods.other", {"rank": 8}),
        ("methods.lora_small", {"rank": 8, "lr": 1e-5}),
        ("protocols.other", {"ask": "Tell me."}),
        ("protocols.other_shadowed", {"study": "self_qa", "ask": "{question}", "prefix": "own_news"}),
        ("protocols.naive_shadowed.ask", "Another wording."),
        ("kinds.other", {"instruction": "Write."}),
        ("teachers.recorded", {"engine": "recorded", "path": "nowhere.yaml"}),
        ("teachers.big", {"model": "smollm2-135m", "temperature": 0.1}),
        ("splits.other", {"path": "nowhere.yaml"}),
    ],
)
def test_an_entry_of_the_catalogue_that_is_not_selected_reaches_no_job(path, value):
    assert differing(changed(path, value)) == set()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.smollm2-135m.resources", {"threads": 4}),
        ("models.smollm2-135m.licence", "MIT"),
        ("results", "elsewhere"),
        ("splits.events.path", "elsewhere.yaml"),
    ],
)
def test_what_no_result_depends_on_reaches_no_job(path, value):
    assert differing(changed(path, value)) == set()


SELF = "smollm2-135m"
SCORED = {("score", "mathematics"), ("score", "events")}
COMPOSED = {("compose_training", name) for name in SHIPPED["grid"]["protocol"]}
GENERATED = {("generate_study", SELF, kind) for kind in SHIPPED["kinds"]}


@pytest.mark.parametrize(
    ("path", "value", "told_otherwise"),
    [
        ("protocols.paraphrase.ask", "Say it.", {("compose_training", "paraphrase")}),
        ("protocols.naive.ask", "Say it.", {("compose_training", "naive")}),
        ("protocols.self_qa_shadowed.prefix_loss", True, {("compose_training", "self_qa_shadowed")}),
        ("kinds.paraphrase.min_kept", 0.5, {("generate_study", SELF, "paraphrase")}),
        ("kinds.self_qa.max_new_tokens", 32, {("generate_study", SELF, "self_qa")}),
        ("teachers.self.temperature", 0.5, GENERATED),
        ("methods.lora.lr", 1e-5, {("fine_tune", "lora")}),
        ("models.smollm2-135m.dtype", "float32", {("prepare_model", SELF)}),
        ("budget.study_rows", 3, GENERATED),
        ("budget.samples", 3, COMPOSED),
        ("budget.items", 3, {("validate_news", "mathematics"), ("validate_news", "events")}),
        ("splits.events.modes", ["cloze"], {("score", "events")}),
        ("prompts.context", "News: {news}\n", GENERATED | COMPOSED | SCORED),
        ("scoring.neutral_question", "Answer.", SCORED),
        ("statistics.draws", 500, {("estimate_effects",)}),
    ],
)
def test_a_changed_setting_reaches_the_jobs_that_depend_on_it_and_no_others(path, value, told_otherwise):
    assert differing(changed(path, value)) == told_otherwise


# ----------------------------------------------------------------------------------------------- what is read of others
def test_a_model_without_an_entry_as_a_teacher_teaches_as_self_does():
    study = load_study(changed("teachers.self.temperature", 0.3))
    teacher = study.teacher(SELF)
    assert (teacher.model, teacher.temperature, teacher.engine) == (SELF, 0.3, "transformers")


def test_a_teacher_of_its_own_entry_keeps_its_model_and_its_settings():
    config = changed("teachers.cool", {"model": SELF, "temperature": 0.1})
    teacher = load_study(config).teacher("cool")
    assert (teacher.model, teacher.temperature) == (SELF, 0.1)


def test_a_protocol_is_paired_with_itself_shadowed():
    assert load_study(SHIPPED).estimate_effects_stage().shadow_pairs == (("self_qa", "self_qa_shadowed"),)


def test_a_protocol_that_asks_otherwise_is_no_shadow_of_another():
    config = changed("protocols.self_qa_shadowed.ask", "Well: {question}")
    assert load_study(config).estimate_effects_stage().shadow_pairs == ()
