"""Checksums: damage to what a study wrote is found, wherever it strikes, and nothing else is called damaged."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.learned import damaged_weights, write_digests
from sys2ft.models import converted_weights, damaged_files, load_manifest, prepare_model
from sys2ft.outputs import list_outputs
from sys2ft.paths import artefact_path
from sys2ft.preflight import open_configured
from sys2ft.report.files import write_digests as write_file_digests
from sys2ft.report.files import write_file
from sys2ft.settings.catalogue import ModelSettings
from sys2ft.settings.stages import PrepareModelStage
from sys2ft.tables import QUESTIONS, SCHEMAS, build_table, read_rows, write_table
from sys2ft.verify import remove, verify_outputs
from sys2ft.yaml_files import read_config
from tests.unit.conftest import make_model

ROOT = Path(__file__).parents[2]
ROW = {
    "item": "a", "question_id": "a-q1", "question": "What?", "options": ["one", "two"], "gold": 1, "statement": None,
    "false_statement": None, "split": "events",
}  # fmt: skip


def some_questions(folder):
    rows = [{name: ROW.get(name) for name in QUESTIONS.names} | {"question_id": f"q{n}"} for n in range(3)]
    write_table(build_table(QUESTIONS, rows), folder / "questions.parquet", {"a": 1})
    return folder / "questions.parquet"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = some_questions(tmp_path_factory.mktemp("table"))
    return path.read_bytes(), read_rows(QUESTIONS, path)


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_table_changes_what_is_read(written, tmp_path_factory, place, bit):
    """Of 10,000 flips in such a table none was read as another row; those unseen strike what no row depends on."""
    content, rows = bytearray(written[0]), written[1]
    content[int(place * len(content))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / "questions.parquet"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        assert read_rows(QUESTIONS, path) == rows


def test_a_cut_table_is_damaged(tmp_path):
    path = some_questions(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"{path} is damaged .*: delete it and run again"):
        read_rows(QUESTIONS, path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A study's folder, with some of its outputs."""
    for name in ("config", "data", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return open_configured(["config/smoke.yaml"])


def write_outputs(study):
    """Every table of the study, without rows, and a cell's adapters."""
    for path, schema in list_outputs(study).items():
        if schema is not None:
            write_table(build_table(schema, []), path)
    for name in ("answers", "cells"):
        write_table(build_table(SCHEMAS[name], []), Path(study.results) / f"tables/{name}.csv")


def test_whole_outputs_pass_and_damaged_ones_are_named_and_removed(project):
    write_outputs(project)
    tables = [path for path, schema in list_outputs(project).items() if schema is not None]
    assert verify_outputs(project) == (len(tables) + 2, []), "and two twins as CSV"
    assert len([path for path in tables if "/fine_tune/" in path]) == 24

    damaged, twin = Path(tables[7]), Path(project.results) / "tables/cells.csv"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    twin.write_text(twin.read_text() + "x\n")
    _, found = verify_outputs(project)
    assert {damage.path for damage in found} == {damaged, twin}
    for damage in found:
        assert str(damage.path) in damage.problem
        remove(damage)
    assert not damaged.exists()
    assert not twin.exists()
    assert verify_outputs(project) == (len(tables) - 1 + 1, []), "what is missing is made again, and is not damaged"


def test_every_output_of_the_study_is_looked_at(project):
    """Each artefact that the rules declare, for a grid with every kind of them."""
    found = {Path(path).relative_to(project.results).parts[0] for path in list_outputs(project)}
    assert found == {
        "prepare_model", "validate_news", "generate_study", "filter_study", "compose_training", "fine_tune",
        "score_base", "score_answers", "write_base", "write_answers", "score_base_retention", "score_retention",
        "tables", "figures", "report",
    }  # fmt: skip


def test_converted_weights_are_told_apart(llama, tmp_path):
    files = load_manifest(llama)["files"]
    assert converted_weights(llama) == {"model.safetensors": files["model.safetensors"]}
    assert converted_weights(tmp_path / "study.yaml") == converted_weights(None) == {}


def test_a_model_that_only_teaches_is_looked_at(project):
    teacher = project.model_copy(update={"models": project.models | {"large": project.models["tiny"]}})
    teacher = teacher.model_copy(update={"grid": project.grid.model_copy(update={"teacher": ("large",)})})
    paths = list_outputs(teacher)
    for name in ("model", "weights"):
        assert artefact_path(project.results, name, model="large") in paths
        assert artefact_path(project.results, name, model="large") not in list_outputs(project)


def test_figures_and_report_are_told_by_the_digests_beside_them(project):
    folder = Path(project.results) / "figures"
    written = [write_file(folder / name, name.encode()) for name in ("gap.svg", "gap.png")]
    write_file_digests(folder, written)
    count = len(written) + 1
    assert verify_outputs(project) == (count, [])
    written[0].write_bytes(b"another")
    (damage,) = verify_outputs(project)[1]
    assert damage.path == written[0]
    remove(damage)
    assert verify_outputs(project) == (count - 1, [])
    (folder / "digests.json").write_text("{")
    assert {damage.path.name for damage in verify_outputs(project)[1]} == {"gap.png", "digests.json"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_model("llama", tmp_path_factory.mktemp("llama"))


def test_adapters_are_told_by_their_digests(tmp_path, manifest):
    for name in ("red", "red/samples=2", "blue"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "adapter_model.safetensors").write_text(name)
    write_digests(tmp_path, manifest)
    assert damaged_weights(tmp_path) == []
    (tmp_path / "red/samples=2/adapter_model.safetensors").write_text("rod")
    (tmp_path / "blue/adapter_model.safetensors").unlink()
    (tmp_path / "green").mkdir()
    (tmp_path / "green/model.safetensors").write_text("foreign")
    assert damaged_weights(tmp_path) == ["blue", "green", "red/samples=2"]


def test_converted_models_are_told_by_their_files(tmp_path):
    study = read_config([ROOT / "config/config.yaml", ROOT / "config/smoke.yaml"])
    tiny = ModelSettings.model_validate(study["models"]["tiny"])
    stage = PrepareModelStage(source=tiny.source, dtype=tiny.dtype)
    told = prepare_model(stage, tmp_path / "weights")
    (tmp_path / "model.json").write_text(json.dumps(told))
    assert damaged_files(tmp_path / "model.json") == []
    assert "model.safetensors" in told["files"]
    weights = tmp_path / "weights/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (tmp_path / "weights/tokenizer.json").unlink()
    assert damaged_files(tmp_path / "model.json") == ["weights/model.safetensors", "weights/tokenizer.json"]


def test_configuration_files_are_merged_as_snakemake_does(tmp_path):
    from snakemake.utils import update_config

    below = {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": None}
    above = {"a": {"y": [3], "z": {"q": 1}}, "b": {"n": 1}, "c": {"m": 2}}
    for name, content in (("below", below), ("above", above)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    merged = read_config([tmp_path / "below", tmp_path / "above"])
    update_config(below, above)
    assert merged == below
