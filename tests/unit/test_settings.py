"""Settings: frozen, complete, and divided so that a change reaches the stages that depend on it and no others."""

import copy
import importlib
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sys2ft.errors import InputError
from sys2ft.grid import NONE
from sys2ft.news.items import NewsFile
from sys2ft.settings.base import Frozen, check_template
from sys2ft.settings.catalogue import (
    KindSettings,
    MethodSettings,
    ModelResources,
    ProtocolSettings,
    ReplaySettings,
    TeacherSettings,
)
from sys2ft.settings.choices import BudgetSettings, ScoringSettings
from sys2ft.settings.prompts import KindPrompts, load_prompts
from sys2ft.settings.stages import Part
from sys2ft.settings.study import Study, load_study
from sys2ft.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
FILE = "config/mine.yaml"
SHIPPED = read_yaml(ROOT / "config/config.yaml")
SERVED = {"engine": "openai", "served_model": "big", "revision": "2027-01-01"}


@pytest.fixture(autouse=True)
def project(monkeypatch):
    """The files with prompts are named from the project's folder."""
    monkeypatch.chdir(ROOT)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake merges configuration files: mappings are merged, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        merged[key] = merge(below[key], value) if both else value
    return merged


def changed(path: str, value: object, base: Mapping[str, Any] = SHIPPED) -> dict[str, Any]:
    """The shipped configuration, or another one, with one dotted key changed."""
    config = copy.deepcopy(dict(base))
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
        ("trace_learning",): study.trace_learning_stage(),
        ("fit_scaling_law",): study.fit_scaling_law_stage(),
        ("build_tables",): study.build_tables_stage(),
        ("score_retention",): study.score_retention_stage(),
    }
    for cell in study.cells():
        told["prepare_model", cell.model] = study.prepare_model_stage(cell.model)
        told["validate_news", cell.split] = study.validate_news_stage(cell.split)
        if "answers" in study.answers(cell.split):
            told["score", cell.split] = study.score_stage(cell.split)
        if "written" in study.answers(cell.split):
            told["write", cell.split] = study.write_stage(cell.split)
        told["compose_training", cell.protocol] = study.compose_training_stage(cell.protocol)
        told["fine_tune", cell.method] = study.fine_tune_stage(cell.method)
        told["score_answers", cell.method] = study.fine_tune_stage(cell.method)
        told["score_retention", cell.method] = study.fine_tune_stage(cell.method)
        for replay in study.replay_of(cell.protocol):
            told["prepare_replay", replay] = study.prepare_replay_stage(replay)
        for kind in study.kinds_of(cell.protocol):
            teacher = cell.resolved_teacher()
            told["generate_study", teacher, kind] = study.generate_study_stage(teacher, kind)
            told["filter_study", teacher, kind] = study.filter_study_stage(teacher, kind, cell.split)
    return {key: stage.model_dump(mode="json") for key, stage in told.items()}


def differing(config: Mapping[str, Any], base: Mapping[str, Any] = SHIPPED) -> set[tuple]:
    """The jobs that a changed configuration tells something else than the one that it was made from."""
    before, after = stages(load_study(base)), stages(load_study(config))
    assert set(before) == set(after)
    return {key for key in before if before[key] != after[key]}


def refusal(config: Mapping[str, Any]) -> str:
    """The one message that a configuration is refused with."""
    with pytest.raises(InputError) as caught:
        load_study(config, FILE)
    message = str(caught.value)
    assert message.count(" To mend: ") == 1, message
    return message


# ------------------------------------------------------------------------------------------------------ shipped studies
# Cells counted by hand. config.yaml: (naive + 4 protocols with one teacher) x 2 splits x 1 seed.
# smoke.yaml: (naive + 5 protocols with one teacher) x 2 splits x 2 seeds.
# teachers.yaml: (naive + 2 protocols with three teachers) x 6 models x 5 splits, less 2 x 2 x 5 that `self` is already.
EXPECTED_CELLS = {"config.yaml": 10, "smoke.yaml": 24, "teachers.yaml": 190}
# What a file stands on, beside config.yaml.
BELOW = {"teachers.yaml": "paper.yaml"}


def load_shipped(name: str) -> Study:
    path = ROOT / "config" / name
    if not path.exists():
        pytest.skip(f"{path.relative_to(ROOT)} is not there yet")
    config = SHIPPED
    for file in dict.fromkeys(("config.yaml", BELOW.get(name, "config.yaml"), name)):
        config = merge(config, read_yaml(ROOT / "config" / file))
    return load_study(config, path)


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
    assert modes == {"events": ("letter", "cloze", "statement"), "coding": ("letter",), "syllogisms": ("cloze",)}


def test_modes_that_write_are_no_business_of_the_scorer_and_the_other_way_round():
    config = copy.deepcopy(SHIPPED)
    config["splits"]["coding"]["modes"] = ["generate", "cloze"]
    config["splits"]["events"]["modes"] = ["generate_reasoned"]
    study = load_study(config)
    assert study.score_stage("coding").scoring.modes == ("cloze",)
    assert study.write_stage("coding").scoring.modes == ("generate",)
    told = {split: study.answers(split) for split in ("coding", "events", "mathematics")}
    assert told == {"coding": ("answers", "written"), "events": ("written",), "mathematics": ("answers",)}


def test_the_smoke_study_needs_no_teacher_model():
    study = load_shipped("smoke.yaml")
    assert study.results == "results/smoke"
    assert {cell.teacher for cell in study.cells()} == {NONE, "recorded"}
    assert study.teacher("recorded").model is None
    assert {cell.model for cell in study.cells()} == {"tiny"}


def test_the_papers_study_has_as_many_cells_as_its_lists_span():
    study = load_shipped("paper.yaml")
    grid = merge(SHIPPED, read_yaml(ROOT / "config/paper.yaml"))["grid"]
    if grid.get("exclude"):
        pytest.skip("cells cannot be counted from the lists where some are excluded")
    protocols = sum(len(grid["teacher"]) if study.kinds_of(name) else 1 for name in grid["protocol"])
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
SETTINGS = ("catalogue", "choices", "methods", "prompts", "stages", "study")
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
        (MethodSettings, {"kind": "half"}),
        (MethodSettings, {"per": "model"}),
        (MethodSettings, {"targets": "all"}),
        (MethodSettings, {"distill_top_k": 0}),
        (MethodSettings, {"kind": "full", "half": {}}),
        (MethodSettings, {"kind": "full", "lift": {"density": 0}}),
        (MethodSettings, {"masked_input": {"share": 1.1}}),
        (MethodSettings, {"lines": {"alpha": -0.1}}),
        (MethodSettings, {"lines": {"alpha": 0, "beta": 0}}),
        (TeacherSettings, {"temperature": 0}),
        (TeacherSettings, {"top_p": 1.1}),
        (TeacherSettings, {"shards": 0}),
        (TeacherSettings, {"engine": "llama.cpp"}),
        (KindSettings, {"prompts": "p.yaml", "min_kept": 2}),
        (KindSettings, {"prompts": "p.yaml", "list_calls": 0}),
        (KindSettings, {"per_call": 3}),
        (KindPrompts, {"version": 0, "write": "Write."}),
        (KindPrompts, {"version": 1, "write": "Write.", "context": "domain"}),
        (ProtocolSettings, {"ask": "Tell.", "prefix_loss": True}),
        (ProtocolSettings, {"ask": "Tell.", "prefix": "next_news"}),
        (ProtocolSettings, {"ask": "Tell.", "objective": "distil"}),
        (ModelResources, {"processes": 0}),
        (ModelResources, {"tokens_per_pass": 8}),
        (ReplaySettings, {"path": "replay.yaml", "rows": 0}),
        (BudgetSettings, {"match": "seconds"}),
        (BudgetSettings, {"match": "flops", "flops": 0}),
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


# ------------------------------------------------------------------------------------------------------------ protocols
@pytest.mark.parametrize(
    ("protocol", "field", "mend"),
    [
        ({}, "", "write what the user asks"),
        ({"study": "self_qa"}, "", "write what the user asks"),
        ({"mix": {"naive": 1, "self_qaa": 1}}, ".mix", "write 'self_qa'"),
        ({"mix": {"naive": 1, "augmented": 1}}, ".mix", "name the protocols it mixes"),
        ({"mix": {"naive": 1, "mine": 1}}, ".mix", "name the protocols it mixes"),
        ({"mix": {"naive": 1, "self_qa": 0}}, ".mix.self_qa", "replace 0"),
        ({"mix": {"naive": -1, "self_qa": 1}}, ".mix.naive", "replace -1"),
        ({"mix": {"naive": float("nan"), "self_qa": 1}}, ".mix.naive", "replace nan"),
        ({"mix": {"naive": float("inf"), "self_qa": 1}}, ".mix.naive", "replace inf"),
        ({"mix": {"naive": "half", "self_qa": 1}}, ".mix.naive", "replace 'half'"),
        ({"mix": {"naive": 1}}, ".mix", "replace {'naive': 1}"),
        ({"mix": {}}, ".mix", "replace {}"),
        ({"mix": ["naive", "self_qa"]}, ".mix", "replace ['naive', 'self_qa']"),
        ({"mix": {"naive": 1, "self_qa": 1}, "ask": "Tell me."}, "", "remove them here"),
        ({"mix": {"naive": 1, "self_qa": 1}, "prefix": "own_news"}, "", "remove them here"),
        ({"mix": {"naive": 1, "self_qa": 1}, "study": "paraphrase"}, "", "give one of them"),
        ({"mix": {"naive": 1, "self_qa": 1}, "replay": "general"}, "", "give one of them"),
        ({"study": "self_qa", "replay": "general", "ask": "{question}"}, "", "give one of them"),
        ({"replay": "general"}, "", "write what the user asks"),
        ({"replay": "general", "ask": "Tell me."}, "", 'write ask: "{question}" and no prefix'),
        ({"replay": "general", "ask": "Well: {question}"}, "", 'write ask: "{question}" and no prefix'),
        ({"replay": "general", "ask": "{question}", "prefix": "own_news"}, "", "and no prefix"),
        ({"replay": "generl", "ask": "{question}"}, ".replay", "write 'general'"),
        ({"study": "self_qaa", "ask": "{question}"}, ".study", "write 'self_qa'"),
        ({"study": "self_qa", "ask": "Tell me."}, ".ask", "write {question} where it is to stand"),
        ({"study": "entigraph", "ask": "{question}"}, ".ask", "remove {question}"),
        ({"study": "active_reading", "ask": "{question}"}, ".ask", "remove {question}"),
        ({"ask": "Tell me.", "mixture": {}}, ".mixture", "write 'mix'"),
        ({"ask": "Tell me.", "objective": "distill", "prefix": "own_news"}, "", "remove prefix and replay"),
        ({"ask": "{question}", "objective": "distill", "replay": "general"}, "", "remove prefix and replay"),
        ({"mix": {"naive": 1, "self_qa": 1}, "objective": "distill"}, "", "remove them here"),
        ({"ask": "Tell me.", "objective": "distil"}, ".objective", "replace 'distil'"),
        ({"objective": "distill"}, "", "write what the user asks"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused_with_the_field_and_the_mend(protocol, field, mend):
    message = refusal(changed("protocols.mine", protocol))
    assert message.startswith(f"{FILE}: protocols.mine{field}: "), message
    assert mend in message.split(" To mend: ")[1], message


# What each protocol of config.yaml trains: kinds of study data, sets of general text, whether it has filler.
TRAINS = {
    "naive": ([], [], False),
    "self_qa": (["self_qa"], [], False),
    "replay": ([], ["general"], False),
    "self_qa_paraphrase": (["self_qa", "paraphrase"], [], False),
    "augmented": (["local_inference", "global_inference"], [], False),
    "self_qa_replay": (["self_qa"], ["general"], False),
    "naive_shadowed": ([], [], False),
    "self_qa_other_news": (["self_qa"], [], False),
    "self_qa_filler": (["self_qa"], [], True),
}


@pytest.mark.parametrize(("protocol", "trained"), TRAINS.items())
def test_what_a_protocol_trains_is_that_of_its_parts(protocol, trained):
    study = load_study(SHIPPED)
    kinds, replay, filler = trained
    assert list(study.kinds_of(protocol)) == kinds
    assert list(study.replay_of(protocol)) == replay
    assert study.filler_of(protocol) == (["data/filler.txt"] if filler else [])


def test_a_kind_that_two_parts_study_and_a_set_that_two_parts_train_are_named_once():
    config = changed("protocols.again", {"replay": "general", "ask": "{question}"})
    parts = dict.fromkeys(
        ["self_qa", "self_qa_filler", "self_qa_shadowed", "replay", "again", "self_qa_filler_loss"], 1
    )
    config["protocols"]["mine"] = {"mix": parts}
    study = load_study(config)
    assert study.kinds_of("mine") == ("self_qa",)
    assert study.replay_of("mine") == ("general",)
    assert study.filler_of("mine") == ["data/filler.txt"]


def test_a_mix_has_its_protocols_as_parts_and_any_other_has_itself():
    study = load_study(SHIPPED)
    assert study.parts("naive") == (Part(name="naive", weight=1, protocol=study.protocols["naive"]),)
    assert [(part.name, part.weight) for part in study.parts("self_qa_replay")] == [("self_qa", 3), ("replay", 1)]
    assert [part.protocol for part in study.parts("self_qa_replay")] == [
        study.protocols["self_qa"], study.protocols["replay"],
    ]  # fmt: skip


def test_a_mix_needs_a_teacher_just_when_one_of_its_parts_does():
    config = changed("protocols.news_and_replay", {"mix": {"naive": 1, "replay": 1}})
    config["grid"] |= {"protocol": ["replay", "news_and_replay", "self_qa_replay", "augmented"], "split": ["events"]}
    study = load_study(config)
    assert [(cell.protocol, cell.teacher) for cell in study.cells()] == [
        ("replay", NONE), ("news_and_replay", NONE), ("self_qa_replay", "self"), ("augmented", "self"),
    ]  # fmt: skip
    assert study.build_tables_stage().cells() == study.cells()
    assert study.build_tables_stage().kinds["augmented"] == ("local_inference", "global_inference")


def test_what_is_distilled_is_told_to_the_jobs_that_compose_and_stands_in_mixes():
    config = changed("protocols.mine", {"study": "self_qa", "ask": "{question}", "objective": "distill"})
    config["protocols"]["both"] = {"mix": {"mine": 1, "naive": 1}}
    study = load_study(config)
    assert [part.protocol.objective for part in study.compose_training_stage("mine").parts] == ["distill"]
    assert [part.protocol.objective for part in study.compose_training_stage("both").parts] == ["distill", "sft"]
    assert study.kinds_of("mine") == study.kinds_of("both") == ("self_qa",)


def test_what_is_distilled_is_no_shadow():
    config = changed("protocols.mine", {"study": "self_qa", "ask": "{question}", "objective": "distill"})
    config["grid"]["protocol"] = ["mine", "self_qa", "self_qa_shadowed"]
    assert load_study(config).estimate_effects_stage().shadow_pairs == (("self_qa", "self_qa_shadowed", "own_news"),)


# -------------------------------------------------------------------------------------------------------------- methods
@pytest.mark.parametrize(
    ("method", "field", "mend"),
    [
        ({"half": {"round_steps": 3}}, "", "write kind: full, or remove them"),
        ({"lift": {}}, "", "write kind: full, or remove them"),
        ({"kind": "full", "half": {"round_steps": 3}, "lift": {}}, "", "give one of them"),
        ({"kind": "full", "lift": {}, "weight_decay": 0.1}, "", "set weight_decay: 0"),
        ({"kind": "full", "half": {}}, ".half.round_steps", "add 'round_steps'"),
        ({"kind": "full", "half": 3}, ".half", "replace 3"),
        ({"kind": "ful"}, ".kind", "replace 'ful'"),
        ({"per": "splits"}, ".per", "replace 'splits'"),
        ({"masked_input": {"share": 2}}, ".masked_input.share", "replace 2"),
        ({"lines": {"gamma": 1}}, ".lines.gamma", "remove it"),
        ({"rank": 12}, ".rank", "replace 12"),
        ({"targets": "all-linear"}, ".targets", "replace 'all-linear'"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused_with_the_field_and_the_mend(method, field, mend):
    message = refusal(changed("methods.mine", method))
    assert message.startswith(f"{FILE}: methods.mine{field}: "), message
    assert mend in message.split(" To mend: ")[1], message


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "full", "per": "split"},
        {"kind": "full", "per": "item", "half": {"round_steps": 3}, "weight_decay": 0.1},
        {"kind": "full", "lift": {"rank": 8}},
        {"kind": "lora", "per": "split", "targets": ["all-linear"]},
        {"targets": ["q_proj"], "masked_input": {}, "lines": {}, "distill_top_k": 5, "weight_decay": 0.1},
    ],
)
def test_a_sound_method_is_told_to_its_jobs_as_it_stands(method):
    config = changed("methods.mine", method)
    config["grid"]["method"] = ["mine"]
    stage = load_study(config).fine_tune_stage("mine")
    assert stage.method == MethodSettings.model_validate(method)
    assert type(stage).model_validate_json(stage.model_dump_json()) == stage


def test_all_linear_modules_are_asked_for_in_words_and_some_by_a_list():
    assert MethodSettings(targets=["all-linear"]).targets == ("all-linear",)
    assert MethodSettings.model_validate({"targets": ["q_proj", "k_proj"]}).targets == ("q_proj", "k_proj")
    assert MethodSettings().targets[0] == "q_proj"


BUDGETS = {"samples": {}, "tokens": {"tokens": 400}, "flops": {"flops": 1e12}}


@pytest.mark.parametrize("match", BUDGETS)
def test_fine_tuning_expects_a_number_of_sequences_just_where_items_are_matched_by_it(match):
    study = load_study(changed("budget", {"match": match, "samples": 7, **BUDGETS[match]}))
    assert study.fine_tune_stage("lora").samples == (7 if match == "samples" else None)


@pytest.mark.parametrize("milestones", [False, True])
def test_fine_tuning_is_told_of_milestones(milestones):
    study = load_study(changed("budget", {"milestones": milestones}))
    assert study.fine_tune_stage("lora").milestones is milestones


def test_the_tables_know_what_each_method_updates():
    config = changed("methods.mine", {"kind": "full", "per": "split"})
    config["grid"]["method"] = ["lora", "mine"]
    assert load_study(config).build_tables_stage().methods == {"lora": "lora", "mine": "full"}


SHADOWS = {
    "self_qa_shadowed_loss": "own_news+loss", "self_qa_other_news": "other_news",
    "self_qa_other_news_loss": "other_news+loss", "self_qa_filler": "filler",
}  # fmt: skip


@pytest.mark.parametrize(("shadow", "prefix"), [*SHADOWS.items(), ("self_qa_filler_loss", "filler+loss")])
def test_a_protocol_is_paired_with_itself_under_every_prefix(shadow, prefix):
    config = changed("grid.protocol", ["naive", "paraphrase", shadow, "self_qa"])
    assert load_study(config).estimate_effects_stage().shadow_pairs == (("self_qa", shadow, prefix),)


def test_all_shadows_of_a_protocol_are_paired_with_it_and_not_with_one_another():
    config = changed("grid.protocol", [*SHADOWS, "naive", "self_qa", "naive_shadowed"])
    pairs = load_study(config).estimate_effects_stage().shadow_pairs
    shadows = [("self_qa", shadow, prefix) for shadow, prefix in SHADOWS.items()]
    assert pairs == (*shadows, ("naive", "naive_shadowed", "own_news"))


def test_a_mix_and_general_text_have_no_shadow():
    protocols = ["self_qa_other_news", "self_qa_filler", "self_qa_replay", "replay", "self_qa_paraphrase"]
    assert load_study(changed("grid.protocol", protocols)).estimate_effects_stage().shadow_pairs == ()


def test_a_protocol_is_paired_with_itself_shadowed():
    assert load_study(SHIPPED).estimate_effects_stage().shadow_pairs == (("self_qa", "self_qa_shadowed", "own_news"),)


def test_a_protocol_that_asks_otherwise_is_no_shadow_of_another():
    config = changed("protocols.self_qa_shadowed.ask", "Well: {question}")
    assert load_study(config).estimate_effects_stage().shadow_pairs == ()


# --------------------------------------------------------------------------------------------------- budget and replay
@pytest.mark.parametrize(
    ("budget", "mend"),
    [
        ({"match": "tokens"}, "say how many an item"),
        ({"match": "flops"}, "say how many an item"),
        ({"match": "tokens", "flops": 1e9}, "say how many an item"),
        ({"count_teacher": True}, "write match: flops"),
        ({"match": "tokens", "tokens": 10, "count_teacher": True}, "write match: flops"),
    ],
)
def test_a_budget_that_lacks_its_amount_is_refused(budget, mend):
    message = refusal(changed("budget", budget))
    assert message.startswith(f"{FILE}: budget: "), message
    assert message.endswith(f"To mend: {mend}.")


@pytest.mark.parametrize(
    ("budget", "amount"),
    [
        ({"samples": 3}, 3),
        ({"match": "tokens", "tokens": 500, "samples": 3}, 500),
        ({"match": "flops", "flops": 2.5e12, "tokens": 500, "count_teacher": True}, 2.5e12),
    ],
)
def test_the_amount_is_that_of_what_is_matched(budget, amount):
    study = load_study(changed("budget", budget))
    stage, tables = study.compose_training_stage("naive"), study.build_tables_stage()
    assert (stage.match, stage.amount) == (tables.match, tables.amount) == (budget.get("match", "samples"), amount)
    assert stage.count_teacher == budget.get("count_teacher", False)


COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    ("replay", "field", "mend"),
    [
        ({}, "", "give one of them"),
        ({"path": "x.yaml", "repository": "a/b", "revision": COMMIT}, "", "give one of them"),
        ({"repository": "a/b"}, "", "give the full commit"),
        ({"path": "x.yaml", "revision": COMMIT}, "", "give the full commit"),
        ({"repository": "a/b", "revision": "main"}, ".revision", "replace 'main'"),
        ({"path": "x.yaml", "colum": "a"}, ".colum", "use one of: empty"),
    ],
)
def test_a_set_of_general_text_is_a_file_or_a_commit_on_the_hub(replay, field, mend):
    message = refusal(changed("replay.mine", replay))
    assert message.startswith(f"{FILE}: replay.mine{field}: "), message
    assert mend in message.split(" To mend: ")[1], message


# ------------------------------------------------------------------------------------------------------------- teachers
@pytest.mark.parametrize(
    ("teacher", "field", "mend"),
    [
        ({"engine": "openai", "revision": "1"}, "", "give both"),
        ({"engine": "openai", "served_model": "big"}, "", "give both"),
        ({**SERVED, "model": "smollm2-135m"}, "", "remove model"),
        ({**SERVED, "endpoint": "localhost:8000"}, ".endpoint", "replace 'localhost:8000'"),
        ({**SERVED, "path": "study.yaml"}, "", "with engine 'recorded' only"),
        ({**SERVED, "parameters": 0}, ".parameters", "replace 0"),
        ({"model": "smollm2-135m", "endpoint": "http://localhost:8000/v1"}, "", "remove them"),
        ({"engine": "vllm", "model": "smollm2-135m", "endpoint": "http://localhost:8000/v1"}, "", "remove them"),
        ({"engine": "vllm", "model": "smollm2-135m", "served_model": "big"}, "", "remove them"),
        ({"model": "smollm2-135m", "revision": "1"}, "", "remove them"),
        ({"model": "smollm2-135m", "parameters": 7}, "", "remove them"),
        ({"engine": "recorded", "path": "study.yaml", "endpoint": "http://x"}, "", "remove them"),
        ({"engine": "vllm", "path": "study.yaml"}, "", "with engine 'recorded' only"),
        ({"engine": "vllm", "model": "smollm2-135m", "path": "study.yaml"}, "", "with engine 'recorded' only"),
        ({"engine": "transformers", "path": "study.yaml"}, "", "with engine 'recorded' only"),
        ({"engine": "recorded"}, "", "with engine 'recorded' only"),
        ({"engine": "recorded", "path": "study.yaml", "model": "smollm2-135m"}, "", "with engine 'recorded' only"),
        ({"engine": "vllm"}, ".model", "name the model that writes"),
        ({"engine": "vllm", "model": "smollm"}, ".model", "write 'smollm2-135m'"),
        ({"engine": "vllm", "model": "smollm2-135m", "shards": 0}, ".shards", "replace 0"),
        ({**SERVED, "api_key": "secret"}, ".api_key", "write 'api_key_env'"),
    ],
)
def test_a_teacher_has_the_fields_of_its_engine(teacher, field, mend):
    message = refusal(changed("teachers.mine", teacher))
    assert message.startswith(f"{FILE}: teachers.mine{field}: "), message
    assert mend in message.split(" To mend: ")[1], message


@pytest.mark.parametrize(
    "teacher",
    [
        SERVED,
        {**SERVED, "endpoint": "https://example.org/v1", "parameters": 7_000_000_000, "shards": 3},
        {"engine": "vllm", "model": "smollm2-135m", "shards": 2},
        {"engine": "recorded", "path": "nowhere.yaml"},
    ],
)
def test_a_teacher_of_every_engine_is_told_to_its_jobs_as_it_stands(teacher):
    config = changed("teachers.mine", teacher)
    config["grid"] |= {"teacher": ["mine"]}
    study = load_study(config)
    stage = study.generate_study_stage("mine", "self_qa")
    assert stage.teacher == TeacherSettings.model_validate(teacher)
    assert type(stage).model_validate_json(stage.model_dump_json()) == stage
    assert study.shards("mine") == list(range(teacher.get("shards", 1)))
    assert study.filter_study_stage("mine", "self_qa", "events").shards == teacher.get("shards", 1)


@pytest.mark.parametrize("teacher", [SERVED, {"engine": "recorded", "path": "nowhere.yaml"}])
@pytest.mark.parametrize("name", ["self", "smollm2-135m"])
def test_the_learner_is_served_or_recorded_or_that_is_refused(name, teacher):
    try:
        stage = load_study(changed(f"teachers.{name}", teacher)).generate_study_stage("smollm2-135m", "self_qa")
    except InputError:
        return
    assert type(stage).model_validate_json(stage.model_dump_json()) == stage


def test_the_shards_of_the_learner_are_those_of_self():
    study = load_study(changed("teachers.self.shards", 3))
    assert study.shards("smollm2-135m") == [0, 1, 2]


def test_a_model_without_an_entry_as_a_teacher_teaches_as_self_does():
    study = load_study(changed("teachers.self.temperature", 0.3))
    teacher = study.teacher(SELF)
    assert (teacher.model, teacher.temperature, teacher.engine) == (SELF, 0.3, "transformers")


def test_a_teacher_of_its_own_entry_keeps_its_model_and_its_settings():
    config = changed("teachers.cool", {"model": SELF, "temperature": 0.1})
    teacher = load_study(config).teacher("cool")
    assert (teacher.model, teacher.temperature) == (SELF, 0.1)


# -------------------------------------------------------------------------------------------------------------- prompts
# The placeholders of every shipped file: of its first step, of what writes a study row and of the check.
PLACEHOLDERS = {
    "active_reading": ({"number"}, {"entry"}, {"text"}),
    "entigraph": ({"number"}, {"first", "second"}, {"text"}),
    "global_inference": (None, {"title"}, {"text"}),
    "implication": (None, set(), {"text"}),
    "local_inference": (None, set(), {"text"}),
    "paraphrase": (None, set(), {"text"}),
    "self_qa": ({"number"}, {"entry"}, {"text", "question"}),
    "self_qa_and_consequences": ({"number"}, {"entry"}, {"text", "question"}),
    "self_qa_numbered": ({"number"}, {"entry"}, {"text", "question"}),
}
SHIPPED_PROMPTS = sorted((ROOT / "config/prompts").iterdir())


def placeholders(template: str | None) -> set[str] | None:
    return None if template is None else {name for _, name, _, _ in Formatter().parse(template) if name is not None}


@pytest.mark.parametrize("path", SHIPPED_PROMPTS, ids=lambda path: path.stem)
def test_every_shipped_file_of_prompts_has_a_version_and_its_placeholders(path):
    prompts = load_prompts(path)
    assert prompts.version >= 1
    lists = None if prompts.entries is None else prompts.entries.prompt
    assert tuple(map(placeholders, (lists, prompts.write, prompts.check))) == PLACEHOLDERS[path.stem]
    assert prompts.has_questions == path.stem.startswith("self_qa")


def test_every_shipped_file_of_prompts_is_known_to_these_tests():
    assert [path.stem for path in SHIPPED_PROMPTS] == sorted(PLACEHOLDERS)


def test_every_shipped_kind_has_a_file_of_prompts_and_every_file_has_a_kind():
    configs = [merge(SHIPPED, read_yaml(path)) for path in (ROOT / "config").glob("*.yaml")]
    used = {kind["prompts"] for config in configs for kind in config["kinds"].values()}
    assert used == {str(path.relative_to(ROOT)) for path in SHIPPED_PROMPTS}


@pytest.mark.parametrize("path", SHIPPED_PROMPTS, ids=lambda path: path.stem)
def test_a_prompt_that_follows_the_whole_split_names_its_item(path):
    prompts = load_prompts(path)
    assert prompts.context == "item" or "{title}" in prompts.write


ENTRIES = {"prompt": "List {number}.", "read": "lines", "use": "cycle"}
CYCLE = {"version": 1, "entries": ENTRIES, "write": "Study it so: {entry}"}
PAIRS = CYCLE | {"entries": ENTRIES | {"use": "pairs"}, "write": "Relate {first} and {second}."}
QUESTIONS = CYCLE | {"entries": ENTRIES | {"read": "questions", "use": "each"}, "check": "{question} {text}?"}
PLAIN = {"version": 1, "write": "Rewrite it.", "check": "Is {text} so?"}


@pytest.mark.parametrize("prompts", [CYCLE, PAIRS, QUESTIONS, PLAIN])
def test_sound_prompts_are_read(tmp_path, prompts):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(prompts))
    assert load_prompts(path).model_dump(exclude_defaults=True) == prompts


@pytest.mark.parametrize(
    ("prompts", "field", "mend"),
    [
        (CYCLE | {"entries": ENTRIES | {"prompt": "List some."}}, "entries.prompt", "write it where its text"),
        (CYCLE | {"entries": ENTRIES | {"prompt": "List {number} of {entry}."}}, "entries.prompt", "number, title"),
        (CYCLE | {"entries": ENTRIES | {"read": "words"}}, "entries.read", "replace 'words'"),
        (CYCLE | {"entries": ENTRIES | {"use": "once"}}, "entries.use", "replace 'once'"),
        (CYCLE | {"entries": {"prompt": "List {number}.", "read": "lines"}}, "entries.use", "add 'use'"),
        (CYCLE | {"entries": ENTRIES | {"reed": "lines"}}, "entries.reed", "write 'read'"),
        (CYCLE | {"entries": "List {number}."}, "entries", "replace 'List {number}.'"),
        (CYCLE | {"write": "Study it."}, "write", "write it where its text is to stand"),
        (CYCLE | {"write": "Study {entri}."}, "write", "use entry, title"),
        (CYCLE | {"write": "Study {entry} and {first}."}, "write", "use entry, title"),
        (PAIRS | {"write": "Relate {first}."}, "write", "write it where its text is to stand"),
        (PAIRS | {"write": "Relate {entry}."}, "write", "use first, second, title"),
        (PLAIN | {"write": "Rewrite {entry}."}, "write", "use title"),
        (PLAIN | {"write": "Rewrite {news}."}, "write", "use title"),
        (PLAIN | {"write": "Rewrite {"}, "write", "double a brace"),
        (PLAIN | {"write": "Rewrite {}."}, "write", "use title"),
        (PLAIN | {"write": 3}, "write", "replace 3"),
        (PLAIN | {"check": "Is it so?"}, "check", "write it where its text is to stand"),
        (PLAIN | {"check": "{question} {text}"}, "check", "use text, title"),
        (CYCLE | {"check": "{question} {text}"}, "check", "use text, title"),
        (QUESTIONS | {"check": "Is {question} answered?"}, "check", "write it where its text is to stand"),
        (QUESTIONS | {"check": "{answer} {text}"}, "check", "use question, text, title"),
        (PLAIN | {"version": 0}, "version", "replace 0"),
        (PLAIN | {"context": "domain"}, "context", "replace 'domain'"),
        (PLAIN | {"instruction": "Rewrite."}, "instruction", "use one of: check, context, entries, version, write"),
        ({"write": "Rewrite it."}, "version", "add 'version'"),
        ({"version": 1}, "write", "add 'write'"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_with_file_field_and_mend(tmp_path, prompts, field, mend):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(prompts))
    message = refusal(changed("kinds.paraphrase.prompts", str(path)))
    assert message.startswith(f"{path}: {field}: "), message
    assert mend in message.split(" To mend: ")[1], message


@pytest.mark.parametrize("text", ["", "- write\n", "write\n"])
def test_a_file_of_prompts_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert refusal(changed("kinds.paraphrase.prompts", str(path))).startswith(f"{path}: ")


def test_a_file_of_prompts_that_is_not_there_is_named():
    message = refusal(changed("kinds.paraphrase.prompts", "config/prompts/nowhere.yaml"))
    assert message.startswith("config/prompts/nowhere.yaml: no such file. To mend: create it, or correct the path")


@pytest.mark.parametrize(
    ("key", "mend"),
    [("instruction", "use one of: list_calls"), ("promts", "write 'prompts'"), ("parser", "use one of")],
)
def test_an_unknown_key_of_a_kind_is_refused(key, mend):
    message = refusal(changed(f"kinds.paraphrase.{key}", "x"))
    assert message.startswith(f"{FILE}: kinds.paraphrase.{key}: unknown key."), message
    assert mend in message


@settings(max_examples=50, deadline=None)
@given(names=st.sets(st.sampled_from(["title", "entry", "first", "second", "text", "question", "news"]), max_size=4))
def test_only_placeholders_that_are_filled_are_let_into_a_prompt(names):
    text = " ".join(f"{{{name}}}" for name in sorted(names))
    for prompts, needed in ((PLAIN, set()), (CYCLE, {"entry"}), (PAIRS, {"first", "second"})):
        fits = needed <= names <= needed | {"title"}
        try:
            KindPrompts.model_validate(prompts | {"write": text})
        except ValidationError:
            assert not fits
        else:
            assert fits


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
        ("protocols.other_mix", {"mix": {"self_qa": 1, "naive": 2}}),
        ("protocols.naive_shadowed.ask", "Another wording."),
        ("protocols.self_qa_replay.mix.replay", 2),
        ("kinds.other", {"prompts": "config/prompts/paraphrase.yaml"}),
        ("kinds.entigraph.list_calls", 3),
        ("teachers.recorded", {"engine": "recorded", "path": "nowhere.yaml"}),
        ("teachers.big", {"model": "smollm2-135m", "temperature": 0.1}),
        ("teachers.served", SERVED),
        ("replay.other", {"path": "nowhere.yaml"}),
        ("replay.general.rows", 3),
        ("splits.other", {"path": "nowhere.yaml"}),
    ],
)
def test_an_entry_of_the_catalogue_that_is_not_selected_reaches_no_job(path, value):
    assert differing(changed(path, value)) == set()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.smollm2-135m.resources", {"threads": 4}),
        ("models.smollm2-135m.resources.tokens_per_pass", 4096),
        ("models.smollm2-135m.resources.deepspeed", "config/deepspeed/zero3.json"),
        ("models.smollm2-135m.resources.nodes", 2),
        ("models.smollm2-135m.resources.processes", 2),
        ("models.smollm2-135m.resources.gpu", 2),
        ("models.smollm2-135m.shape", None),
        ("device", "h100"),
        ("models.smollm2-135m.resources.activation_checkpointing", True),
        ("training", {"checkpoint_minutes": 1, "tensorboard": True}),
        ("training.checkpoint_minutes", 1),
        ("training.tensorboard", True),
        ("models.smollm2-135m.licence", "MIT"),
        ("results", "elsewhere"),
        ("splits.events.path", "elsewhere.yaml"),
        ("retention.path", "elsewhere.yaml"),
        ("prompts.filler", "elsewhere.txt"),
        ("budget.tokens", 100),
        ("budget.flops", 1e9),
    ],
)
def test_what_no_result_depends_on_reaches_no_job(path, value):
    assert differing(changed(path, value)) == set()


# Every protocol of the catalogue, so that the staleness of mixes, prefixes and general text can be told.
WIDE = changed("grid.protocol", list(SHIPPED["protocols"]))
WRITING = changed("scoring.modes", [*SHIPPED["scoring"]["modes"], "generate"], WIDE)
TOKENS = changed("budget", SHIPPED["budget"] | {"match": "tokens", "tokens": 400}, WIDE)
CHECKED = changed("filters.check_support", True, WIDE)
TAUGHT = changed(
    "teachers", SHIPPED["teachers"] | {"served": SERVED}, changed("grid.teacher", ["self", "served"], WIDE)
)

SELF = "smollm2-135m"
KINDS = tuple(SHIPPED["kinds"])
SCORED = {("score", "mathematics"), ("score", "events")}
WRITTEN = {("write", "mathematics"), ("write", "events")}
MODES = ["letter", "cloze", "statement"]
TRAINED = {(stage, "lora") for stage in ("fine_tune", "score_answers", "score_retention")}
COMPOSED = {("compose_training", name) for name in SHIPPED["protocols"]}
GENERATED = {("generate_study", SELF, kind) for kind in KINDS}
FILTERED = {("filter_study", SELF, kind) for kind in KINDS}
REPLAYED = {("prepare_replay", "general")}
TABLES = {("build_tables",)}
CURVES = {("trace_learning",), ("fit_scaling_law",)}


def composed(*protocols: str) -> set[tuple]:
    return {("compose_training", protocol) for protocol in protocols}


def mixes_of(protocol: str) -> list[str]:
    return [name for name, some in SHIPPED["protocols"].items() if protocol in some.get("mix", ())]


def studied(*kinds: str, teacher: str = SELF) -> set[tuple]:
    return {(stage, teacher, kind) for stage in ("generate_study", "filter_study") for kind in kinds}


def test_the_wide_grid_has_jobs_of_every_kind():
    assert set(stages(load_study(WIDE))) == {
        ("prepare_model", SELF), ("validate_news", "mathematics"), ("validate_news", "events"), ("estimate_effects",),
        ("score_retention",), *TRAINED, *TABLES, *CURVES, *SCORED, *COMPOSED, *GENERATED, *FILTERED, *REPLAYED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "told_otherwise"),
    [
        ("protocols.implication_shadowed.ask", "Say it.", composed("implication_shadowed") | {("estimate_effects",)}),
        ("protocols.naive.ask", "Say it.", composed("naive", "augmented") | {("estimate_effects",)}),
        ("protocols.self_qa_shadowed.prefix_loss", True, composed("self_qa_shadowed") | {("estimate_effects",)}),
        ("protocols.self_qa_filler.prefix", "other_news", composed("self_qa_filler") | {("estimate_effects",)}),
        ("protocols.self_qa_replay.mix.replay", 2, composed("self_qa_replay")),
        ("protocols.augmented.mix.naive", 2.5, composed("augmented")),
        ("kinds.paraphrase.min_kept", 0.5, {("filter_study", SELF, "paraphrase")}),
        ("kinds.self_qa.max_new_tokens", 32, {("generate_study", SELF, "self_qa")}),
        ("kinds.self_qa.list_max_new_tokens", 32, {("generate_study", SELF, "self_qa")}),
        ("kinds.entigraph.list_calls", 2, {("generate_study", SELF, "entigraph")}),
        ("kinds.self_qa.per_call", 2, studied("self_qa")),
        ("teachers.self.temperature", 0.5, GENERATED),
        ("teachers.self.engine", "vllm", GENERATED),
        ("teachers.self.shards", 2, GENERATED | FILTERED),
        ("filters.max_words", 50, FILTERED),
        ("filters.near_duplicate", 0.9, FILTERED),
        ("filters.leak_words", 4, FILTERED | REPLAYED),
        ("filters.leak_overlap", 0.4, FILTERED | REPLAYED),
        ("filters.check_support", True, GENERATED | FILTERED),
        ("replay.general.rows", 10, REPLAYED),
        ("replay.general.path", "elsewhere.yaml", REPLAYED),
        ("methods.lora.lr", 1e-5, TRAINED),
        ("methods.lora.per", "split", TRAINED),
        ("methods.lora.targets", ["all-linear"], TRAINED),
        ("methods.lora.masked_input", {"share": 0.3}, TRAINED),
        ("methods.lora.lines", {"alpha": 0.2, "beta": 0.8}, TRAINED),
        ("methods.lora.distill_top_k", 20, TRAINED),
        ("methods.lora.kind", "full", TRAINED | TABLES | CURVES),
        ("budget.milestones", True, TRAINED | CURVES),
        ("protocols.self_qa.objective", "distill", composed("self_qa", *mixes_of("self_qa")) | {("estimate_effects",)}),
        ("models.smollm2-135m.dtype", "float32", {("prepare_model", SELF)}),
        ("budget.study_rows", 3, GENERATED | FILTERED),
        ("budget.samples", 3, COMPOSED | TRAINED | TABLES),
        ("budget.items", 3, {("validate_news", "mathematics"), ("validate_news", "events")}),
        ("splits.events.modes", ["cloze"], {("score", "events")}),
        ("writing.max_new_tokens", 9, set()),
        ("prompts.context", "News: {news}\n", GENERATED | COMPOSED | SCORED),
        ("scoring.neutral_question", "Answer.", SCORED),
        ("scoring.statement_instruction", "Say it.", SCORED),
        ("retention.batch_size", 3, set()),
        ("retention.limit", 5, {("score_retention",)}),
        ("retention.tasks", ["gsm8k"], {("score_retention",)}),
        ("statistics.draws", 500, {("estimate_effects",), ("trace_learning",)}),
        ("statistics.level", 0.9, {("estimate_effects",)} | CURVES),
        ("statistics.power", 0.9, {("estimate_effects",)}),
        ("scaling", {"draws": 300, "min_sizes": 3}, {("fit_scaling_law",)}),
        ("scaling", {"draws": 200, "min_sizes": 4}, {("fit_scaling_law",)}),
    ],
)
def test_a_changed_setting_reaches_the_jobs_that_depend_on_it_and_no_others(path, value, told_otherwise):
    assert differing(changed(path, value, WIDE), WIDE) == told_otherwise


@pytest.mark.parametrize(
    ("path", "value", "told_otherwise"),
    [
        ("budget.tokens", 500, COMPOSED | TABLES),
        ("budget.samples", 3, set()),
        ("budget.flops", 1e9, set()),
        ("budget.match", "samples", COMPOSED | TRAINED | TABLES),
    ],
)
def test_only_the_amount_that_protocols_are_matched_by_reaches_jobs(path, value, told_otherwise):
    assert differing(changed(path, value, TOKENS), TOKENS) == told_otherwise


@pytest.mark.parametrize(
    ("path", "value", "told_otherwise"),
    [
        ("splits.events.modes", [*MODES, "generate", "generate_reasoned"], {("write", "events")}),
        ("scoring.modes", ["generate", "cloze"], SCORED),
        ("writing.max_new_tokens", 9, WRITTEN),
        ("writing.reasoning_instruction", "Think.", set()),
        ("writing.instruction", "Be brief.", WRITTEN),
        ("writing.engine", "vllm", WRITTEN),
        ("prompts.context", "News: {news}\n", GENERATED | COMPOSED | SCORED | WRITTEN),
        ("scoring.conditions", ["closed_book"], SCORED | WRITTEN),
        ("scoring.neutral_question", "Answer.", SCORED | WRITTEN),
        ("scoring.letter_instruction", "A letter.", SCORED),
        ("scoring.tokens_per_pass", 100, set()),
        ("writing.batch_size", 3, set()),
    ],
)
def test_what_is_said_of_writing_reaches_those_who_write_and_no_scorer(path, value, told_otherwise):
    assert differing(changed(path, value, WRITING), WRITING) == told_otherwise


def test_a_mode_that_writes_adds_jobs_and_changes_none():
    before, after = stages(load_study(WIDE)), stages(load_study(WRITING))
    assert set(after) - set(before) == WRITTEN
    assert {key for key in before if before[key] != after[key]} == TABLES


def test_a_changed_method_reaches_its_own_jobs_and_no_other_methods():
    base = changed("methods.mine", {"kind": "full", "per": "split", "lr": 1e-5}, WIDE)
    base["grid"]["method"] = ["lora", "mine"]
    own = {(stage, "mine") for stage in ("fine_tune", "score_answers", "score_retention")}
    assert differing(changed("methods.mine.half", {"round_steps": 3}, base), base) == own
    assert differing(changed("methods.mine.lift", {"rank": 8}, base), base) == own
    assert differing(changed("methods.lora.alpha", 8, base), base) == TRAINED


def test_the_rules_that_are_told_a_method_are_those_that_train_and_score_it():
    """`stages` above says what jobs are told; the rules do."""
    told = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        _, *rules = re.split(r"^rule (\w+):", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        names, texts = rules[::2], rules[1::2]
        told |= {n: set(re.findall(r"STUDY\.(\w+_stage)", text)) for n, text in zip(names, texts, strict=True)}
    training = {"fine_tune", "score_answers", "write_answers", "score_retention"}
    assert {rule for rule, some in told.items() if "fine_tune_stage" in some} == training
    assert told["fine_tune"] == {"fine_tune_stage"}
    assert told["score_answers"] == {"fine_tune_stage", "score_stage"}
    assert told["score_base"] == {"score_stage"}
    assert told["write_base"] == {"write_stage"}
    assert told["write_answers"] == {"fine_tune_stage", "write_stage"}
    assert told["score_retention"] == {"fine_tune_stage", "score_retention_stage"}
    assert told["score_base_retention"] == {"score_base_retention_stage"}


def test_counting_the_teacher_reaches_the_jobs_that_compose():
    flops = changed("budget", SHIPPED["budget"] | {"match": "flops", "flops": 1e12}, WIDE)
    assert differing(changed("budget.count_teacher", True, flops), flops) == COMPOSED


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("endpoint", "http://localhost:8000/v1"),
        ("served_model", "bigger"),
        ("revision", "2027-02-01"),
        ("parameters", 7),
    ],
)
def test_a_setting_of_a_served_teacher_reaches_what_it_writes_and_nothing_else(path, value):
    told = {("generate_study", "served", kind) for kind in KINDS}
    assert differing(changed(f"teachers.served.{path}", value, TAUGHT), TAUGHT) == told


def test_the_shards_of_one_teacher_are_none_of_anothers():
    told = studied(*KINDS, teacher="served")
    assert differing(changed("teachers.served.shards", 2, TAUGHT), TAUGHT) == told


def rewritten(tmp_path: Path, kind: str, **prompts: Any) -> dict[str, str]:
    """The section of a kind whose file of prompts is changed."""
    path = tmp_path / "mine.yaml"
    content = read_yaml(ROOT / SHIPPED["kinds"][kind]["prompts"]) | prompts
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return SHIPPED["kinds"][kind] | {"prompts": str(path)}


@pytest.mark.parametrize("base", [WIDE, CHECKED], ids=["unchecked", "checked"])
@pytest.mark.parametrize(
    "prompts",
    [{"write": "Now: {entry}"}, {"version": 2}, {"context": "split", "write": "On {title}: {entry}"}],
    ids=["text", "version", "context"],
)
def test_a_changed_prompt_reaches_the_jobs_of_its_kind(tmp_path, base, prompts):
    config = changed("kinds.self_qa", rewritten(tmp_path, "self_qa", **prompts), base)
    assert differing(config, base) == studied("self_qa")


@pytest.mark.parametrize("check", ["{text} {question}?", None])
def test_the_prompt_of_a_check_reaches_jobs_only_where_checks_are_asked_for(tmp_path, check):
    kind = rewritten(tmp_path, "self_qa", check=check)
    assert differing(changed("kinds.self_qa", kind, WIDE), WIDE) == set()
    assert differing(changed("kinds.self_qa", kind, CHECKED), CHECKED) == studied("self_qa")


def test_a_file_of_prompts_that_is_moved_reaches_no_job(tmp_path):
    assert differing(changed("kinds.self_qa", rewritten(tmp_path, "self_qa"), WIDE), WIDE) == set()


def test_the_licence_of_general_text_reaches_no_job():
    assert differing(changed("replay.general.licence", "MIT", WIDE), WIDE) == set()


@pytest.mark.parametrize(
    ("split", "looked_at"),
    [
        ({"path": "data/new_news/events.yaml"}, True),
        ({"path": "data/new_news/events.yaml", "leak_options": False}, False),
        ({"generator": "nonsense_reversals"}, False),
        ({"generator": "nonsense_reversals", "leak_options": True}, True),
    ],
)
def test_options_give_a_question_away_unless_they_are_what_is_to_be_inferred(split, looked_at):
    study = load_study(changed("splits.mine", split))
    assert study.filter_study_stage("smollm2-135m", "self_qa", "mine").leak_options is looked_at
