"""Bad input is refused before any work, with one message that names the file, the field and the mend."""

import copy
import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sys2ft.code_versions import read_versions
from sys2ft.cost.bill import Bill
from sys2ft.errors import InputError
from sys2ft.models import prepare_model
from sys2ft.news.items import load_news
from sys2ft.paths import artefact_path, study_path
from sys2ft.preflight import check_environment, open_study
from sys2ft.settings.stages import PrepareModelStage
from sys2ft.settings.study import load_study
from sys2ft.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
FILE = "config/mine.yaml"
SHIPPED = read_yaml(ROOT / "config/config.yaml")
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
RANDOM_MODEL = {"source": {"kind": "random", "architecture": "llama", "shape": SHAPE}}

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty project folder, so that whatever is written can be seen."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def shipped_config() -> dict[str, Any]:
    """The shipped configuration, with absolute paths and a learner that needs no file."""
    config = copy.deepcopy(SHIPPED)
    for split in config["splits"].values():
        if "path" in split:
            split["path"] = str(ROOT / split["path"])
    for kind in config["kinds"].values():
        kind["prompts"] = str(ROOT / kind["prompts"])
    for place in (config["retention"], config["replay"]["general"]):
        place["path"] = str(ROOT / place["path"])
    config["prompts"]["filler"] = str(ROOT / "data/filler.txt")
    config["models"]["tiny"] = copy.deepcopy(RANDOM_MODEL)
    config["grid"]["model"] = ["tiny"]
    return config


def listing() -> list[tuple[str, bytes]]:
    return [(str(path), path.read_bytes() if path.is_file() else b"") for path in sorted(Path().rglob("*"))]


def refusal(config: dict[str, Any]) -> str:
    """The message that a configuration is refused with; nothing may be written meanwhile."""
    before = listing()
    with pytest.raises(InputError) as caught:
        open_study(config, FILE)
    assert listing() == before, "a refused study wrote to disk"
    message = str(caught.value)
    assert message.count(" To mend: ") == 1, message
    return message


def assert_says(message: str, file: object, field: str, mend: str) -> None:
    assert message.startswith(f"{file}: {field}: " if field else f"{file}: "), message
    assert mend in message.split(" To mend: ")[1], message


def assert_config_refused(change: Change, field: str, mend: str, problem: str = "") -> None:
    config = shipped_config()
    change(config)
    message = refusal(config)
    assert_says(message, FILE, field, mend)
    assert problem in message


def setting(path: str, value: object) -> Change:
    """Set a dotted key."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            config = config.setdefault(parent, {})
        config[last] = value

    return change


def test_the_starting_configuration_is_accepted():
    study = open_study(shipped_config(), FILE)
    assert len(study.cells()) == 10
    assert listing() == []


# -------------------------------------------------------------------------------------------------------- configuration
@pytest.mark.parametrize(
    ("change", "field", "mend"),
    [
        (setting("bugdet", {}), "bugdet", "write 'budget'"),
        (setting("budget.sampels", 8), "budget.sampels", "write 'samples'"),
        (setting("methods.lora.rnak", 8), "methods.lora.rnak", "write 'rank'"),
        (setting("protocols.naive.prefx", "own_news"), "protocols.naive.prefx", "write 'prefix'"),
        (setting("grid.models", ["tiny"]), "grid.models", "write 'model'"),
        (setting("statistics.unheard", 1), "statistics.unheard", "use one of: draws"),
        (setting("models.tiny.resources", {"therads": 2}), "models.tiny.resources.therads", ""),
    ],
)
def test_an_unknown_key_is_named_with_the_closest_known_one(change, field, mend):
    assert_config_refused(change, field, mend, "unknown key")


@pytest.mark.parametrize(
    ("axis", "name", "mend"),
    [
        ("model", "tinny", "write 'tiny'"),
        ("method", "lroa", "write 'lora'"),
        ("protocol", "paraphrse", "write 'paraphrase'"),
        ("teacher", "slef", "write 'self'"),
        ("teacher", "gpt", "use one of: reference, self, smollm2-135m, tiny"),
        ("split", "evnets", "write 'events'"),
        ("split", "xxxxxxxx", "use one of: coding, discoveries"),
    ],
)
def test_an_unknown_name_in_the_grid_is_named_with_a_suggestion(axis, name, mend):
    assert_config_refused(setting(f"grid.{axis}", [name]), f"grid.{axis}", mend, f"there is no {axis} '{name}'")


def test_a_reference_protocol_that_does_not_exist_is_refused():
    field = "statistics.reference_protocol"
    assert_config_refused(setting(field, "naiv"), field, "naive", "there is no protocol 'naiv'")


@pytest.mark.parametrize(
    ("change", "field", "mend"),
    [
        (setting("protocols.naive.study", "paraphrse"), "protocols.naive.study", "write 'paraphrase'"),
        (setting("teachers.big", {"model": "tinny"}), "teachers.big.model", "write 'tiny'"),
        (setting("teachers.big", {}), "teachers.big.model", "name the model that writes"),
    ],
)
def test_an_unknown_name_within_the_catalogue_is_named(change, field, mend):
    assert_config_refused(change, field, mend)


@pytest.mark.parametrize(
    ("change", "field", "mend"),
    [
        (setting("protocols.naive.ask", "Tell me of {titel}."), "protocols.naive.ask", "use question, title"),
        (setting("protocols.naive.ask", "Tell me {}."), "protocols.naive.ask", "use question, title"),
        (setting("protocols.naive.ask", "Tell me {title."), "protocols.naive.ask", "double a brace"),
        (setting("protocols.naive.ask", "Tell me title}."), "protocols.naive.ask", "double a brace"),
        (setting("protocols.naive.ask", "{question}"), "protocols.naive.ask", "remove {question}"),
        (setting("prompts.context", "Here is some news."), "prompts.context", "write it where its text is to stand"),
        (setting("prompts.context", "{news} {body}"), "prompts.context", "use news, title"),
        (setting("prompts.context", "{news} {"), "prompts.context", "double a brace"),
    ],
)
def test_a_prompt_with_a_wrong_placeholder_or_a_stray_brace_is_refused(change, field, mend):
    assert_config_refused(change, field, mend)


def test_a_file_of_prompts_that_cannot_be_used_is_refused(project):
    (project / "mine.yaml").write_text(yaml.safe_dump({"version": 1, "write": "Rewrite {news}."}))
    config = shipped_config()
    setting("kinds.paraphrase.prompts", "mine.yaml")(config)
    assert_says(refusal(config), "mine.yaml", "write", "use title")


def test_loss_on_a_prefix_that_is_not_there_is_refused():
    assert_config_refused(setting("protocols.naive.prefix_loss", True), "protocols.naive", "set prefix: own_news")


@pytest.mark.parametrize("revision", ["main", "v1.0", "abc1234", "A" * 40, "g" * 40, "0" * 39, "0" * 41, ""])
def test_a_hub_revision_that_is_no_full_commit_is_refused(revision):
    source = {"kind": "hub", "repository": "owner/name", "revision": revision}
    config = shipped_config()
    config["models"]["tiny"]["source"] = source
    message = refusal(config)
    assert message.startswith(f"{FILE}: models.tiny.source."), message
    assert f".revision: String should match pattern '^[0-9a-f]{{40}}$'. To mend: replace '{revision}'." in message


def test_a_key_of_a_model_source_is_named_as_it_is_written():
    source = {"kind": "hub", "repository": "owner/name", "revision": "main"}
    assert_config_refused(setting("models.tiny.source", source), "models.tiny.source.revision", "replace 'main'")


def test_a_hub_revision_that_is_a_full_commit_is_accepted():
    config = shipped_config()
    config["models"]["tiny"]["source"] = {"kind": "hub", "repository": "owner/name", "revision": "0123456789" * 4}
    config["models"]["tiny"]["shape"] = SHAPE | {"model_type": "llama", "vocab_size": 259}
    open_study(config, FILE)


@pytest.mark.parametrize(
    ("exclude", "field", "mend"),
    [
        ([{"protocol": "naiv"}], "grid.exclude.0.protocol", "write 'naive'"),
        ([{"split": "events"}, {"seed": 9}], "grid.exclude.1.seed", "use one of: 0"),
        ([{"seed": "0"}], "grid.exclude.0.seed", "use one of: 0"),
    ],
)
def test_excluding_what_does_not_exist_is_refused(exclude, field, mend):
    assert_config_refused(setting("grid.exclude", exclude), field, mend)


def test_question_protocol_that_does_not_ask_is_refused():
    assert_config_refused(setting("protocols.self_qa.ask", "Answer."), "protocols.self_qa.ask", "write {question}")


@pytest.mark.parametrize("exclude", [[{"model": "tiny"}], [{"split": name} for name in SHIPPED["splits"]]])
def test_excluding_the_whole_grid_is_refused(exclude):
    assert_config_refused(setting("grid.exclude", exclude), "grid.exclude", "exclude less", "nothing is left")


def test_excluding_by_an_unknown_axis_is_refused():
    exclude = [{"split": "events"}, {"protcol": "naive"}]
    assert_config_refused(setting("grid.exclude", exclude), "grid.exclude.1", "write 'protocol'", "no axis 'protcol'")


@pytest.mark.parametrize(
    "teacher",
    [
        {"engine": "recorded"},
        {"engine": "transformers", "path": "study.yaml"},
        {"engine": "recorded", "path": "study.yaml", "model": "tiny"},
    ],
)
def test_a_recorded_teacher_has_a_path_and_no_other_has(teacher):
    assert_config_refused(setting("teachers.recorded", teacher), "teachers.recorded", "give path")


@pytest.mark.parametrize("section", ["models", "methods", "protocols", "kinds", "teachers", "splits", "grid"])
@pytest.mark.parametrize("value", ["text", [], None])
def test_a_section_that_is_no_mapping_is_refused(section, value):
    config = shipped_config()
    config[section] = value
    assert refusal(config).startswith(f"{FILE}: {section}: ")


@pytest.mark.parametrize(
    ("section", "name"),
    [("models", "self"), ("models", "none"), ("teachers", "none"), ("methods", "none"), ("protocols", "none"),
     ("splits", "all"), ("splits", "none")],
)  # fmt: skip
def test_names_that_the_tables_need_are_reserved(section, name):
    config = shipped_config()
    config[section][name] = copy.deepcopy(next(iter(config[section].values())))
    assert_says(message := refusal(config), FILE, f"{section}.{name}", "choose another name")
    assert "the name is reserved" in message


def test_targets_that_a_model_has_not_are_refused_before_a_teacher_writes():
    config = shipped_config()
    config["models"]["tiny"]["source"] |= {"architecture": "gpt_neox"}
    message = refusal(config)
    assert_says(message, FILE, "methods.lora.targets", "write [all-linear] or some of query_key_value")
    assert "'tiny' has no module named q_proj" in message
    config["methods"]["lora"]["targets"] = ["all-linear"]
    assert open_study(config, FILE)


def test_another_gguf_file_is_not_converted_under_the_checksum_of_the_old_one():
    """Settings that were changed in part: the model is prepared anew without a look at the whole study."""
    Path("other.gguf").write_text("other")
    source = {"kind": "gguf", "file": "other.gguf", "sha256": "0" * 64}
    stage = PrepareModelStage.model_validate({"source": source, "dtype": "float32"})
    with pytest.raises(InputError, match=r"^other\.gguf: has the checksum d9298a10d1b07358"):
        prepare_model(stage, Path("weights"))
    manifest = Path("results/prepare_model/model=tiny/model.json")
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"revision": "1" * 64, "weights": None}))
    config = shipped_config()
    config["models"]["tiny"] = {"source": source, "dtype": "float32"}
    assert_says(refusal(config), FILE, "models.tiny.source.sha256", "fetch the file again")


def test_a_directory_that_holds_another_model_than_was_prepared_is_refused(llama):
    shutil.copytree(llama.parent / "weights", "mine")
    config = shipped_config()
    config["models"]["tiny"] = {"source": {"kind": "directory", "path": "mine"}, "dtype": "float32"}
    study = open_study(config, FILE)
    manifest = Path(artefact_path(study.results, "model", model="tiny"))
    manifest.parent.mkdir(parents=True)
    prepared = prepare_model(study.prepare_model_stage("tiny"), manifest.parent / "weights")
    manifest.write_text(json.dumps(prepared))
    os.utime("mine/config.json", (1, 1))
    assert open_study(config, FILE), "a touch says nothing"
    with Path("mine/tokenizer_config.json").open("a") as stream:
        stream.write("\n")
    message = refusal(config)
    assert_says(message, FILE, "models.tiny.source.path", "give the changed model a name of its own")
    assert "mine is not what was prepared" in message
    manifest.write_text("{")
    assert open_study(config, FILE), "damage is found, and removed, by `sys2ft verify`"


def test_a_number_in_place_of_a_section_is_refused():
    assert_config_refused(setting("kinds", 3), "kinds", "replace 3")


def test_a_name_that_is_no_safe_path_component_is_refused_in_the_catalogue():
    config = shipped_config()
    config["models"]["../x"] = RANDOM_MODEL
    assert refusal(config).startswith(f"{FILE}: models.../x")


# --------------------------------------------------------------------------------------------------------------- models
def gguf(project: Path, **source: str) -> Change:
    (project / "model.gguf").write_bytes(b"weights")
    return setting("models.tiny.source", {"kind": "gguf", "file": "model.gguf", "sha256": "0" * 64, **source})


def test_a_missing_gguf_file_is_named(project):
    change = gguf(project, file="elsewhere.gguf")
    assert_config_refused(change, "models.tiny.source.file", "fetch the file", "there is no file elsewhere.gguf")


@pytest.mark.parametrize("package", ["no_such_package_here", "no_such_package_here.models"])
def test_a_gguf_package_that_is_not_installed_is_named(project, package):
    change = gguf(project, package=package)
    assert_config_refused(change, "models.tiny.source.package", "install it", f"'{package}' is not installed")


def test_a_gguf_file_with_another_checksum_is_refused_with_the_one_it_has(project):
    change = gguf(project)
    found = hashlib.sha256(b"weights").hexdigest()
    assert_config_refused(change, "models.tiny.source.sha256", found, "model.gguf has another checksum")


def test_a_gguf_file_with_the_checksum_is_accepted(project):
    config = shipped_config()
    gguf(project, sha256=hashlib.sha256(b"weights").hexdigest())(config)
    config["models"]["tiny"]["shape"] = SHAPE | {"model_type": "llama", "vocab_size": 259}
    open_study(config, FILE)


@pytest.mark.parametrize(
    ("present", "lacking"), [((), "config.json"), (("config.json",), "*.safetensors"), (("a.safetensors",), "config")]
)
def test_a_model_directory_that_lacks_a_file_is_refused(project, present, lacking):
    (project / "saved").mkdir()
    for name in present:
        (project / "saved" / name).write_text("{}")
    change = setting("models.tiny.source", {"kind": "directory", "path": "saved"})
    assert_config_refused(
        change, "models.tiny.source.path", "name a saved model's directory", f"saved has no {lacking}"
    )


def test_a_model_directory_that_does_not_exist_is_refused():
    change = setting("models.tiny.source", {"kind": "directory", "path": "nowhere"})
    assert_config_refused(change, "models.tiny.source.path", "name a saved model's directory")


def test_a_model_that_the_grid_does_not_use_needs_no_file():
    config = shipped_config()
    config["models"]["absent"] = {"source": {"kind": "directory", "path": "nowhere"}}
    open_study(config, FILE)


def test_the_model_of_a_teacher_is_checked_too():
    config = shipped_config()
    config["models"]["absent"] = {"source": {"kind": "directory", "path": "nowhere"}}
    config["grid"]["teacher"] = ["absent"]
    assert_says(refusal(config), FILE, "models.absent.source.path", "name a saved model's directory")


# --------------------------------------------------------------------------------------------------- several processes
ZERO = {"zero_optimization": {"stage": 2}}
MANY: list[tuple[dict[str, Any], int]] = [
    ({"processes": 2}, 2),
    ({"gpu": 4}, 4),
    ({"nodes": 2}, 2),
    ({"gpu": 4, "processes": 1, "nodes": 3}, 3),
    ({"gpu": 4, "nodes": 2}, 8),
]


def together(project: Path, content: Any = ZERO, **resources: Any) -> dict[str, Any]:
    """A configuration whose learner is trained by several processes, with a DeepSpeed file of this content."""
    text = content if isinstance(content, str) else json.dumps(content)
    (project / "zero.json").write_text(text)
    config = shipped_config()
    config["models"]["tiny"]["resources"] = {"deepspeed": "zero.json", **(resources or {"processes": 2})}
    return config


@pytest.mark.parametrize("resources", [resources for resources, _ in MANY])
def test_a_missing_file_of_deepspeed_is_named(project, resources):
    config = together(project, **resources)
    (project / "zero.json").unlink()
    message = refusal(config)
    assert_says(message, FILE, "models.tiny.resources.deepspeed", "name one of config/deepspeed/")
    assert "zero.json is missing" in message


def test_a_folder_in_place_of_the_file_of_deepspeed_is_named(project):
    config = together(project, deepspeed=".", processes=2)
    assert_says(refusal(config), FILE, "models.tiny.resources.deepspeed", "name one of config/deepspeed/")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        {"zero_optimization": 2},
        {"zero_optimization": {}},
        {"zero_optimization": {"stage": 0}},
        {"zero_optimization": {"stage": 4}},
        {"zero_optimization": {"stage": "two"}},
    ],
)
def test_a_file_of_deepspeed_without_a_stage_is_refused(project, content):
    message = refusal(together(project, content))
    assert_says(message, FILE, "models.tiny.resources.deepspeed", "name one of config/deepspeed/")
    assert "zero.json is missing, or gives no zero_optimization.stage of 1 to 3" in message


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("resources", [resources for resources, _ in MANY])
def test_a_file_of_deepspeed_with_a_stage_is_accepted(project, stage, resources):
    open_study(together(project, {"zero_optimization": {"stage": stage}}, **resources), FILE)


def test_the_shipped_files_of_deepspeed_are_accepted(project):
    shipped = sorted((ROOT / "config/deepspeed").glob("*.json"))
    assert len(shipped) == 3
    for path in shipped:
        open_study(together(project, deepspeed=str(path), processes=2), FILE)


@pytest.mark.parametrize("resources", [{}, {"gpu": 1}, {"gpu": 4, "processes": 1}])
def test_one_process_needs_no_file_of_deepspeed(project, resources):
    open_study(together(project, **resources, deepspeed="nowhere.json"), FILE)


def test_a_model_that_the_grid_does_not_use_needs_no_file_of_deepspeed():
    config = shipped_config()
    config["models"]["other"] = RANDOM_MODEL | {"resources": {"gpu": 8, "deepspeed": "nowhere.json"}}
    open_study(config, FILE)


CHOOSING = {"half": {"half": {"round_steps": 3}}, "lift": {"lift": {"rank": 4}}}


@pytest.mark.parametrize(("resources", "world"), MANY)
@pytest.mark.parametrize("choice", CHOOSING)
def test_a_method_that_chooses_weights_is_refused_where_several_processes_train(project, choice, resources, world):
    config = together(project, **resources)
    config["methods"]["choosy"] = {"kind": "full", **CHOOSING[choice]}
    config["grid"]["method"] = ["lora", "choosy"]
    message = refusal(config)
    assert_says(message, FILE, "methods.choosy", "give the model one GPU, or exclude the method")
    assert f"'tiny' is trained by {world}." in message


@pytest.mark.parametrize("choice", CHOOSING)
def test_a_method_that_chooses_weights_is_accepted_for_one_process(project, choice):
    config = together(project, processes=1)
    config["methods"]["choosy"] = {"kind": "full", **CHOOSING[choice]}
    config["grid"]["method"] = ["choosy"]
    open_study(config, FILE)


def test_a_method_that_is_not_selected_may_choose_weights(project):
    config = together(project)
    config["methods"]["choosy"] = {"kind": "full", **CHOOSING["half"]}
    open_study(config, FILE)


def test_a_method_that_chooses_weights_may_be_excluded_for_the_model_of_several_processes(project):
    """As the refusal says; another model, trained by one process, takes the method."""
    config = together(project)
    config["models"]["small"] = copy.deepcopy(RANDOM_MODEL)
    config["methods"]["choosy"] = {"kind": "full", **CHOOSING["half"]}
    config["grid"] |= {"model": ["tiny", "small"], "method": ["lora", "choosy"]}
    config["grid"]["exclude"] = [{"model": "tiny", "method": "choosy"}]
    open_study(config, FILE)


@pytest.mark.parametrize("kind", ["paraphrase", "self_qa"])
def test_recorded_study_data_with_too_few_rows_are_refused_with_the_item_and_the_counts(project, kind):
    first = yaml.safe_load((ROOT / "data/new_news/mathematics.yaml").read_text())["items"][0]["id"]
    (project / "study.yaml").write_text(yaml.safe_dump({"study": {first: {"paraphrase": ["One."]}}}))
    config = shipped_config()
    config["teachers"]["recorded"] = {"engine": "recorded", "path": "study.yaml"}
    config["grid"] |= {"teacher": ["recorded"], "split": ["mathematics"], "protocol": ["naive", kind]}
    rows = 1 if kind == "paraphrase" else 0
    message = refusal(config)
    assert_says(message, "study.yaml", f"study.{first}", "write more, or lower budget.study_rows")
    assert f"has {rows} rows of '{kind}', and 6 are asked for" in message


def recorded(kinds: list[str], path: str, rows: int = 6) -> None:
    """Recorded study data of these kinds for the items that the shipped configuration takes of mathematics."""
    items = yaml.safe_load((ROOT / "data/new_news/mathematics.yaml").read_text())["items"]
    pairs = [{"question": f"Is it so, {number}?", "answer": "It is so."} for number in range(rows)]
    some = {kind: pairs if kind == "self_qa" else ["It is so."] * rows for kind in kinds}
    study = {item["id"]: some for item in items[: SHIPPED["budget"]["items"]]}
    Path(path).write_text(yaml.dump({"study": study}, Dumper=yaml.SafeDumper))


def record(config: dict[str, Any], *protocols: str) -> None:
    config["teachers"]["recorded"] = {"engine": "recorded", "path": "study.yaml"}
    config["grid"] |= {"teacher": ["recorded"], "split": ["mathematics"], "protocol": list(protocols)}


@pytest.mark.parametrize("odd", ["Name the harbour.", "How long (in km?)", "Is it\nso?", "Is it so, 0?", "2. Is it?"])
def test_a_recorded_question_that_would_not_be_read_is_refused(odd):
    """Or the next ones would be answered by the answers of others."""
    recorded(["self_qa"], "study.yaml")
    told = yaml.safe_load(Path("study.yaml").read_text())
    first = next(iter(told["study"]))
    told["study"][first]["self_qa"][1]["question"] = odd
    Path("study.yaml").write_text(yaml.safe_dump(told))
    config = shipped_config()
    record(config, "naive", "self_qa")
    assert_says(message := refusal(config), "study.yaml", f"study.{first}.self_qa", "write it once, on one line")
    assert f"{odd!r} would not be read as one question" in message


@pytest.mark.parametrize(("has", "lacks"), [("self_qa", "paraphrase"), ("paraphrase", "self_qa")])
def test_recorded_study_data_without_a_kind_that_only_a_mix_needs_are_refused(has, lacks):
    recorded([has], "study.yaml")
    config = shipped_config()
    record(config, "naive", has, "self_qa_paraphrase")
    message = refusal(config)
    assert re.match(r"study\.yaml: study\.[\w-]+: has 0 rows of", message), message
    assert f"has 0 rows of '{lacks}', and 6 are asked for. To mend: write more, or lower budget.study_rows" in message


def test_recorded_study_data_with_the_kinds_of_a_mix_are_accepted():
    recorded(["self_qa", "paraphrase"], "study.yaml")
    config = shipped_config()
    record(config, "naive", "self_qa_paraphrase", "self_qa_replay")
    open_study(config, FILE)


# ------------------------------------------------------------------------------------------------------------- teachers
@pytest.mark.parametrize(("shards", "accepted"), [(5, True), (6, False)])
@pytest.mark.parametrize("name", ["self", "tiny", "big"])
def test_more_shards_than_items_are_refused_by_the_name_of_the_teachers_entry(name, shards, accepted):
    config = shipped_config()
    config["teachers"][name] = {"model": None if name == "self" else "tiny", "shards": shards}
    config["grid"]["teacher"] = [name]
    if accepted:
        open_study(config, FILE)
        return
    message = refusal(config)
    assert_says(message, FILE, f"teachers.{name}.shards", "lower it")
    assert f"6 jobs cannot share the 5 items of '{min(SHIPPED['grid']['split'])}'" in message


def test_shards_are_compared_with_the_smallest_split(project):
    (project / "mine.yaml").write_text(yaml.safe_dump(news(3)))
    config = shipped_config()
    config["splits"]["mine"] = {"path": "mine.yaml"}
    config["teachers"]["self"]["shards"] = 4
    config["grid"]["split"] = ["events", "mine"]
    assert "4 jobs cannot share the 3 items of 'mine'" in refusal(config)


def test_the_shards_of_a_teacher_that_the_grid_does_not_use_do_not_matter():
    config = shipped_config()
    config["teachers"]["big"] = {"model": "tiny", "shards": 99}
    open_study(config, FILE)


@pytest.fixture
def unchecked(project):
    """A configuration that asks for checks, with a kind whose file of prompts has none."""
    (project / "mine.yaml").write_text(yaml.safe_dump({"version": 1, "write": "Rewrite it."}))
    config = shipped_config()
    config["kinds"]["implication"]["prompts"] = "mine.yaml"
    config["filters"]["check_support"] = True
    return config


@pytest.mark.parametrize("protocol", ["implication", "implication_shadowed", "mixed"])
def test_a_kind_without_the_prompt_of_a_check_is_refused_where_checks_are_asked_for(unchecked, protocol):
    unchecked["protocols"]["mixed"] = {"mix": {"implication": 1, "naive": 1}}
    unchecked["grid"]["protocol"] = ["naive", protocol]
    message = refusal(unchecked)
    assert_says(message, "mine.yaml", "check", "write the prompt, or set filters.check_support: false")


def test_a_kind_without_the_prompt_of_a_check_is_accepted_where_nobody_asks_for_it(unchecked):
    open_study(unchecked | {"filters": SHIPPED["filters"]}, FILE)
    unchecked["grid"]["protocol"] = ["naive", "paraphrase", "self_qa"]
    open_study(unchecked, FILE)


# -------------------------------------------------------------------------------------------------- environment of vLLM
without_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")


def vllm_study(name: str, engine: str = "vllm") -> Any:
    config = shipped_config()
    config["teachers"][name] = {"engine": engine} | ({} if name == "self" else {"model": "tiny"})
    config["grid"]["teacher"] = [name]
    return load_study(config, FILE)


@without_vllm
@pytest.mark.parametrize("name", ["self", "tiny", "big"])
def test_a_teacher_in_vllm_asks_for_its_environment_before_anything_runs(name):
    with pytest.raises(InputError) as caught:
        check_environment(vllm_study(name), FILE)
    message = str(caught.value)
    assert_says(message, FILE, f"teachers.{name}.engine", "run `make generate`")
    assert "--software-deployment-method conda" in message


def test_a_study_whose_teacher_runs_in_vllm_can_be_planned_without_it():
    config = shipped_config()
    config["teachers"]["self"] = {"engine": "vllm"}
    open_study(config, FILE)


def test_the_environment_of_vllm_is_found_where_it_was_made(project):
    vllm = project / ".venv-generate/bin/vllm"
    vllm.parent.mkdir(parents=True)
    vllm.write_text("")
    check_environment(vllm_study("self"), FILE)


@without_vllm
def test_a_teacher_in_vllm_that_the_grid_does_not_use_needs_no_environment():
    config = shipped_config()
    config["teachers"]["big"] = {"engine": "vllm", "model": "tiny"}
    check_environment(load_study(config, FILE), FILE)
    config["grid"] |= {"teacher": ["big"], "protocol": ["naive", "replay"]}
    check_environment(load_study(config, FILE), FILE)


@without_vllm
def test_vllm_is_not_asked_for_where_all_is_written_or_each_job_gets_its_environment(project):
    study = vllm_study("self")
    check_environment(study, FILE, environments=True)
    missing = [
        project / study_path(study.results, "completions", cell, kind, shard=0)
        for cell in study.cells()
        for kind in study.kinds_of(cell.protocol)
    ]
    for path in missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    check_environment(study, FILE)
    missing[0].unlink()
    with pytest.raises(InputError, match="make generate"):
        check_environment(study, FILE)


def test_a_served_teacher_needs_an_endpoint_and_has_resources_of_its_own(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    config = shipped_config()
    served = {"engine": "openai", "served_model": "m", "revision": "1", "resources": {"runtime": 900}}
    config["teachers"]["served"] = served
    config["grid"] |= {"teacher": ["served"], "protocol": ["self_qa"]}
    study = load_study(config, FILE)
    with pytest.raises(InputError) as caught:
        check_environment(study, FILE)
    assert_says(str(caught.value), FILE, "teachers.served.endpoint", "give it, or set OPENAI_BASE_URL")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    check_environment(study, FILE)
    keys = {"kind": "self_qa", "split": "events"}
    assert Bill(study, FILE).resource("generate_study", "runtime", keys | {"teacher": "served"}) == 900
    assert Bill(study, FILE).resource("generate_study", "runtime", keys | {"teacher": "tiny"}) == 10
    served["resources"]["runtime"] = 10
    again = load_study(config, FILE)
    told = again.generate_study_stage("served", "self_qa").model_dump()
    assert told == study.generate_study_stage("served", "self_qa").model_dump()


# ---------------------------------------------------------------------------------------------- filler and general text
@pytest.mark.parametrize("text", [None, "", " \n\n"])
@pytest.mark.parametrize("protocol", ["self_qa_filler", "mixed"])
def test_filler_that_is_missing_or_empty_is_refused(project, text, protocol):
    if text is not None:
        (project / "filler.txt").write_text(text)
    config = shipped_config()
    config["protocols"]["mixed"] = {"mix": {"self_qa_filler": 1, "naive": 1}}
    config["grid"]["protocol"] = ["naive", protocol]
    config["prompts"]["filler"] = "filler.txt"
    message = refusal(config)
    assert_says(message, FILE, "prompts.filler", "write neutral prose into it")
    assert "filler.txt is missing, empty or not UTF-8" in message


def test_a_folder_in_place_of_filler_is_refused(project):
    config = shipped_config()
    config["grid"]["protocol"] = ["self_qa_filler"]
    config["prompts"]["filler"] = str(project)
    assert_says(refusal(config), FILE, "prompts.filler", "write neutral prose into it")


def test_filler_that_is_not_utf8_is_refused(project):
    (project / "filler.txt").write_bytes(b"caf\xe9")
    config = shipped_config()
    config["grid"]["protocol"] = ["self_qa_filler"]
    config["prompts"]["filler"] = "filler.txt"
    assert "UTF-8" in refusal(config)


def test_filler_and_general_text_that_no_protocol_of_the_grid_has_need_no_file():
    config = shipped_config()
    config["prompts"]["filler"] = "nowhere.txt"
    config["replay"]["general"] = {"path": "nowhere.yaml"}
    open_study(config, FILE)


@pytest.mark.parametrize("protocol", ["replay", "self_qa_replay"])
def test_a_missing_file_of_general_text_is_named(protocol):
    config = shipped_config()
    config["replay"]["general"] = {"path": "nowhere.yaml"}
    config["grid"]["protocol"] = ["naive", protocol]
    assert_says(refusal(config), "nowhere.yaml", "", "correct the path")


@pytest.mark.parametrize(
    ("text", "field", "mend"),
    [
        ("", "", ""),
        ("replay: []\n", "replay", ""),
        ("replay: {question: a}\n", "replay", ""),
        ("replay: [one]\n", "replay.0", ""),
        ("replay: [{question: How?}]\n", "replay.0.text", "add 'text'"),
        ("replay: [{question: How?, text: So.}, {question: ' ', text: So.}]\n", "replay.1.question", "replace ' '"),
        ("replay: [{question: How?, text: 3}]\n", "replay.0.text", "replace 3"),
        ("replay: [{question: How?, text: So., answer: So.}]\n", "replay.0.answer", "remove it"),
        ("repaly: [{question: How?, text: So.}]\n", "replay", "add 'replay'"),
        ("replay: [{question: How?, text: So.}]\nrelpay: []\n", "relpay", "write 'replay'"),
        ("replay: [\n", "line 2, column 1", "correct it there"),
    ],
)
def test_general_text_that_cannot_be_used_is_refused(project, text, field, mend):
    (project / "replay.yaml").write_text(text)
    config = shipped_config()
    config["replay"]["general"] = {"path": "replay.yaml"}
    config["grid"]["protocol"] = ["self_qa_replay"]
    assert_says(refusal(config), "replay.yaml", field, mend)


def test_general_text_from_the_hub_is_not_looked_for_beforehand():
    config = shipped_config()
    config["replay"]["general"] = {"repository": "nobody/nothing", "revision": "0123456789" * 4}
    config["grid"]["protocol"] = ["self_qa_replay"]
    open_study(config, FILE)


@pytest.mark.parametrize("engine", [{"engine": "recorded", "path": "study.yaml"}, {"engine": "openai"}])
def test_a_teacher_whose_cost_is_unknown_cannot_be_counted(engine):
    recorded(["paraphrase"], "study.yaml")
    config = shipped_config()
    served = {"served_model": "big", "revision": "1"} if engine["engine"] == "openai" else {}
    config["teachers"]["mine"] = engine | served
    config["grid"] |= {"teacher": ["mine"], "protocol": ["paraphrase"], "split": ["mathematics"]}
    config["budget"] |= {"match": "flops", "flops": 1e12, "count_teacher": True}
    assert "count_teacher" in refusal(config)


# ----------------------------------------------------------------------------------------------------------- news files
def news(items: int = 2) -> dict[str, Any]:
    """A sound split, to be broken."""
    return {
        "split": "mine",
        "items": [
            {
                "id": f"item-{number}",
                "title": "A ferry",
                "date": "2027-01-01",
                "text": "The ferry calls at Craywick.",
                "questions": [
                    {
                        "id": f"item-{number}-q1",
                        "kind": "recall",
                        "question": "Where does the ferry call?",
                        "options": ["Craywick", "Tolsey"],
                        "answer": "Craywick",
                        "why": "The item says so.",
                    }
                ],
            }
            for number in range(items)
        ],
    }


def refuse_news(project: Path, content: dict[str, Any] | str, **config_changes: Any) -> str:
    """The message that a split is refused with; the file is called mine.yaml."""
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (project / "mine.yaml").write_text(text)
    config = shipped_config()
    config["splits"]["mine"] = {"path": "mine.yaml"}
    config["grid"]["split"] = ["mine"]
    for path, value in config_changes.items():
        setting(path.replace("__", "."), value)(config)
    return refusal(config)


def test_the_sound_split_is_accepted(project):
    (project / "mine.yaml").write_text(yaml.safe_dump(news()))
    assert [item.id for item in load_news("mine.yaml").items] == ["item-0", "item-1"]


def test_a_missing_split_file_is_named():
    config = shipped_config()
    config["splits"]["events"]["path"] = "nowhere.yaml"
    assert_says(refusal(config), "nowhere.yaml", "", "correct the path")


def test_yaml_that_does_not_parse_is_named_by_its_line(project):
    message = refuse_news(project, "split: mine\nitems:\n  - id: a\n    title: one: two\n")
    assert_says(message, "mine.yaml", "line 4, column 15", "correct it there")
    assert "is not YAML" in message


def test_a_placeholder_that_yaml_takes_for_a_mapping_is_named_by_its_line(project):
    message = refuse_news(project, "split: mine\nitems:\n  - id: a\n    text: {{news}}\n")
    assert message.startswith("mine.yaml: line 4"), message


def test_a_file_that_is_not_utf8_is_named(project):
    (project / "mine.yaml").write_bytes(b"split: mine\nitems: [caf\xe9]\n")
    with pytest.raises(InputError, match=r"mine\.yaml: is not UTF-8 at byte 23\. To mend: save it as UTF-8"):
        load_news("mine.yaml")


def test_a_key_that_stands_twice_is_named_with_its_line(project):
    text = yaml.safe_dump(news(), sort_keys=False).replace("  title: A ferry\n", "  title: A ferry\n  title: B\n", 1)
    message = refuse_news(project, text)
    assert re.match(r"mine\.yaml: line \d+, column \d+: is not YAML \(the key 'title' stands twice\)", message), message


def test_an_unknown_key_of_an_item_is_named_with_the_closest_known_one(project):
    content = news()
    content["items"][1]["tilte"] = "again"
    assert_says(refuse_news(project, content), "mine.yaml", "item 'item-1'.tilte", "write 'title'")


def test_an_unknown_key_of_a_question_is_named_with_the_closest_known_one(project):
    content = news()
    content["items"][1]["questions"][0]["answr"] = "again"
    message = refuse_news(project, content)
    assert_says(message, "mine.yaml", "item 'item-1'.questions.0.answr", "write 'answer'")


@pytest.mark.parametrize("key", ["title", "date", "text"])
def test_a_lacking_key_of_an_item_is_named(project, key):
    content = news()
    del content["items"][1][key]
    assert_says(refuse_news(project, content), "mine.yaml", f"item 'item-1'.{key}", f"add '{key}'")


def test_an_item_id_that_stands_twice_is_refused(project):
    content = news()
    content["items"][1]["id"] = "item-0"
    assert_says(refuse_news(project, content), "mine.yaml", "item 'item-0'", "rename one")


def test_a_question_id_that_stands_twice_is_refused(project):
    content = news()
    content["items"][1]["questions"][0]["id"] = "item-0-q1"
    assert_says(refuse_news(project, content), "mine.yaml", "question 'item-0-q1'", "rename one")


@pytest.mark.parametrize("what", ["item", "question"])
def test_an_id_that_stands_in_two_selected_splits_is_refused_with_both_files(project, what):
    content = news()
    other = news() | {"split": "other"}
    for number, item in enumerate(other["items"]):
        item["questions"][0]["id"] = f"other-{number}-q1"
        if what == "question":
            item["id"] = f"other-{number}"
            item["questions"][0]["id"] = f"item-{number}-q1"
    (project / "other.yaml").write_text(yaml.safe_dump(other))
    message = refuse_news(project, content, splits__other={"path": "other.yaml"}, grid__split=["mine", "other"])
    assert_says(message, "other.yaml", f"{what} 'item-0{'-q1' if what == 'question' else ''}'", "rename one")
    assert "mine.yaml" in message


@pytest.mark.parametrize("questions", [[], None])
def test_an_item_without_questions_is_refused(project, questions):
    content = news()
    content["items"][1]["questions"] = questions
    message = refuse_news(project, content)
    assert_says(message, "mine.yaml", "item 'item-1'.questions", "write at least one question")


def test_a_gold_answer_that_is_no_option_is_refused(project):
    content = news()
    content["items"][1]["questions"][0]["answer"] = "craywick"
    message = refuse_news(project, content)
    assert_says(message, "mine.yaml", "item 'item-1'.questions.0", "copy one of them")
    assert "'craywick' is not among the options" in message


@pytest.mark.parametrize("options", [["Craywick", "Tolsey", "Tolsey"], ["Craywick", "Tolsey", " Tolsey "]])
def test_two_equal_options_are_refused(project, options):
    content = news()
    content["items"][1]["questions"][0]["options"] = options
    message = refuse_news(project, content)
    assert_says(message, "mine.yaml", "item 'item-1'.questions.0", "make them differ")


def test_an_option_that_yaml_takes_for_a_truth_value_is_refused(project):
    text = yaml.safe_dump(news()).replace("- Tolsey", "- no")
    assert_says(refuse_news(project, text), "mine.yaml", "item 'item-0'.questions.0.options.1", "replace False")


@pytest.mark.parametrize("name", ["../x", "a/b", "a=b", "", ".", "..", ".hidden", "a b", "a\nb", "a\n", "é", "a" * 101])
def test_an_id_that_is_no_safe_path_component_is_refused(project, name):
    content = news()
    content["items"][1]["id"] = name
    assert_says(refuse_news(project, content), "mine.yaml", f"item '{name}'.id", f"replace {name!r}")


@pytest.mark.parametrize("name", ["../x", "a/b", "a=b", ""])
def test_a_question_id_that_is_no_safe_path_component_is_refused(project, name):
    content = news()
    content["items"][1]["questions"][0]["id"] = name
    assert_says(refuse_news(project, content), "mine.yaml", "item 'item-1'.questions.0.id", f"replace '{name}'")


@pytest.mark.parametrize("text", ["", "split: mine\n", "split: mine\nitems: []\n", "split: mine\nitems:\n", "- a\n"])
def test_an_empty_split_is_refused(project, text):
    assert_says(refuse_news(project, text), "mine.yaml", "items", "write at least one item")


@pytest.mark.parametrize(
    "text", ["split: mine\nitems: 3\n", "split: mine\nitems: {a: 1}\n", "split: mine\nitems: ab\n"]
)
def test_items_that_are_no_list_are_refused(project, text):
    assert_says(refuse_news(project, text), "mine.yaml", "items", "write each item as a list entry")


@pytest.mark.parametrize("entry", [3, "ab", None, ["x"]])
def test_an_item_that_is_no_mapping_is_refused(project, entry):
    content = news()
    content["items"][1] = entry
    assert refuse_news(project, content).startswith("mine.yaml: item '1'")


def test_a_split_whose_file_calls_itself_otherwise_is_refused(project):
    message = refuse_news(project, news() | {"split": "yours"})
    assert_says(message, "mine.yaml", "split", "give both one name")
    assert "is 'yours'" in message
    assert f"{FILE} calls it 'mine'" in message


@pytest.mark.parametrize(
    ("conditions", "controls", "named"),
    [
        (["closed_book", "other_news"], [], "other_news need"),
        (["closed_book"], ["other_adapter"], "other_adapter need"),
        (["closed_book", "other_news"], ["other_adapter"], "other_news and other_adapter need"),
    ],
)
def test_a_split_of_one_item_cannot_be_asked_with_another(project, conditions, controls, named):
    message = refuse_news(project, news(1), scoring__conditions=conditions, scoring__controls=controls)
    assert_says(message, "mine.yaml", "items", "add an item")
    assert named in message


def test_a_split_of_one_item_is_accepted_without_another(project):
    (project / "mine.yaml").write_text(yaml.safe_dump(news(1)))
    config = shipped_config()
    config["splits"]["mine"] = {"path": "mine.yaml"}
    config["grid"]["split"] = ["mine"]
    config["scoring"] |= {"conditions": ["closed_book", "in_context"], "controls": ["blank_question"]}
    open_study(config, FILE)


def test_a_split_of_one_item_has_no_other_news_to_stand_before_a_sequence(project):
    scoring = {"scoring__conditions": ["closed_book"], "scoring__controls": []}
    message = refuse_news(project, news(1), **scoring, grid__protocol=["self_qa_other_news"])
    assert_says(message, "mine.yaml", "items", "add an item")


# -------------------------------------------------------------------------------------------------- recorded study data
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", ""),
        ("rows: {}\n", "study"),
        ("study: []\n", "study"),
        ("study: {a/b: {}}\n", "study.a/b"),
        ("study: {dravel: [one]}\n", "study.dravel"),
        ("study: {dravel: {paraphrase: one}}\n", "study.dravel.paraphrase"),
        ("study: {dravel: {paraphrase: [3]}}\n", "study.dravel.paraphrase.0"),
        ("study: {dravel: {self_qa: [{question: 'a?'}]}}\n", "study.dravel.self_qa.0"),
        ("study: {dravel: {}}\nmore: 1\n", "more"),
    ],
)
def test_recorded_study_data_of_a_wrong_shape_are_refused(project, text, field):
    (project / "study.yaml").write_text(text)
    config = shipped_config()
    config["teachers"]["recorded"] = {"engine": "recorded", "path": "study.yaml"}
    config["grid"]["teacher"] = ["recorded"]
    assert refusal(config).startswith(f"study.yaml: {field}")


def test_missing_recorded_study_data_are_named():
    config = shipped_config()
    config["teachers"]["recorded"] = {"engine": "recorded", "path": "nowhere.yaml"}
    config["grid"]["teacher"] = ["recorded"]
    assert_says(refusal(config), "nowhere.yaml", "", "create it")


# ---------------------------------------------------------------------------------------------------- general questions
GENERAL = {"id": "days", "question": "How many days has a week?", "options": ["seven", "five"], "answer": "seven"}


@pytest.mark.parametrize(
    ("entries", "field", "mend"),
    [
        ([GENERAL, {**GENERAL, "id": "more", "answer": "six"}], "question 'more'", "copy one of them"),
        ([{**GENERAL, "answr": "seven"}], "question 'days'.answr", "answer"),
        ([GENERAL, GENERAL], "", "give every question an id of its own"),
        ([], "questions", ""),
        ("days", "questions", ""),
    ],
)
def test_general_questions_that_cannot_be_used_are_refused(project, entries, field, mend):
    (project / "general.yaml").write_text(yaml.safe_dump({"questions": entries}))
    config = shipped_config()
    setting("retention.path", "general.yaml")(config)
    assert_says(refusal(config), "general.yaml", field, mend)


def test_a_missing_file_of_general_questions_is_named():
    config = shipped_config()
    setting("retention.path", "nowhere.yaml")(config)
    assert_says(refusal(config), "nowhere.yaml", "", "correct the path")


# -------------------------------------------------------------------------------------------------------------- places
def test_a_results_folder_outside_the_project_is_refused():
    assert_config_refused(setting("results", "a/../../x"), "results", "write a folder inside it")


def test_a_folder_in_place_of_a_file_is_named(project):
    (project / "folder").mkdir()
    config = shipped_config()
    setting("splits.events.path", "folder")(config)
    assert_says(refusal(config), "folder", "", "name a file that can be read")


@pytest.mark.parametrize("text", ["", "- fine_tune", "fine_tune"])
def test_code_versions_that_are_no_mapping_are_refused(project, text):
    (project / "versions.yaml").write_text(text)
    with pytest.raises(InputError, match="is not a mapping of stages to versions"):
        read_versions("versions.yaml")


# ---------------------------------------------------------------------------------------------------- procedural splits
@pytest.mark.parametrize(
    ("split", "field", "mend"),
    [
        ({"generator": "reversal_curse", "path": "x.yaml"}, "splits.mine", "give either path or generator"),
        ({}, "splits.mine", "give either path or generator"),
        ({"path": "x.yaml", "seed": 3}, "splits.mine", "remove them"),
        ({"generator": "reversal_curse", "size": 12}, "splits.mine.size", "correct the size"),
        ({"generator": "reversal"}, "splits.mine.generator", "replace 'reversal'"),
    ],
)
def test_a_procedural_split_that_cannot_be_drawn_is_refused(split, field, mend):
    config = shipped_config()
    config["splits"]["mine"] = split
    config["grid"]["split"] = ["mine"]
    assert_says(refusal(config), FILE, field, mend)


def test_a_procedural_split_is_accepted():
    config = shipped_config()
    config["splits"]["mine"] = {"generator": "reversal_curse", "seed": 2, "size": 8}
    config["grid"]["split"] = ["mine", "events"]
    assert open_study(config, FILE).grid.split == ("mine", "events")


@pytest.mark.parametrize(
    ("fields", "mend"),
    [
        ({"statement": "It calls at Craywick."}, "give both or neither"),
        ({"statement": "It calls.", "false_statement": "It calls."}, "make the second one wrong"),
    ],
)
def test_statements_that_are_no_pair_are_refused(project, fields, mend):
    content = news()
    content["items"][0]["questions"][0] |= fields
    assert mend in refuse_news(project, content)


def state(content, *numbers):
    """The news with statements for some of its items' questions."""
    for number in numbers:
        pair = {"statement": "It calls at Craywick.", "false_statement": "It calls at Tolsey."}
        content["items"][number]["questions"][0] |= pair
    return content


@pytest.mark.parametrize(
    ("stated", "changes"),
    [
        ((1,), {}),
        ((), {"splits__mine__modes": ["cloze", "statement"]}),
        ((), {"scoring__modes": ["statement"]}),
    ],
)
def test_statements_that_are_to_be_scored_and_are_not_there_are_missed(project, stated, changes):
    message = refuse_news(project, state(news(), *stated), **changes)
    assert_says(message, "mine.yaml", "question 'item-0-q1'", "splits.mine.modes without 'statement'")


def alike(content):
    """The news with two options that differ in their capitals alone."""
    content["items"][0]["questions"][0] |= {"options": ["Craywick", "craywick!", "Tolsey", "Wend"], "answer": "Tolsey"}
    return content


@pytest.mark.parametrize("changes", [{"scoring__modes": ["cloze", "generate"]}, {"splits__mine__modes": ["generate"]}])
def test_options_that_would_be_read_alike_are_refused_where_answers_are_written(project, changes):
    message = refuse_news(project, alike(news()), **changes)
    assert_says(message, "mine.yaml", "question 'item-0-q1'", "tell the options apart by words")
    assert "'craywick' stands for two options" in message


def test_options_that_would_be_read_alike_may_be_scored(project):
    (project / "mine.yaml").write_text(yaml.safe_dump(alike(news())))
    config = shipped_config()
    config["splits"]["mine"] = {"path": "mine.yaml", "modes": ["cloze"]}
    config["grid"]["split"] = ["mine"]
    open_study(config, FILE)


@pytest.mark.parametrize(("engine", "refused"), [("vllm", True), ("transformers", False)])
def test_adapters_that_vllm_cannot_put_on_are_refused_where_it_writes(engine, refused):
    config = shipped_config()
    config["writing"]["engine"] = engine
    config["methods"]["lora"]["rank"] = 1024
    open_study(config, FILE)
    config["scoring"]["modes"] = ["cloze", "generate"]
    if refused:
        assert_says(refusal(config), FILE, "methods.lora.rank", "lower it, or write with engine: transformers")
    else:
        open_study(config, FILE)


@without_vllm
@pytest.mark.usefixtures("project")
def test_writing_by_vllm_asks_for_its_environment_where_something_is_to_be_written():
    config = shipped_config()
    config["writing"]["engine"] = "vllm"
    check_environment(load_study(config, FILE), FILE)
    config["scoring"]["modes"] = ["cloze", "generate"]
    with pytest.raises(InputError) as caught:
        check_environment(load_study(config, FILE), FILE)
    assert_says(str(caught.value), FILE, "writing.engine", "run `make generate`")
    check_environment(load_study(config, FILE), FILE, environments=True)


@pytest.mark.parametrize("stated", [(), (0, 1)])
def test_a_split_has_statements_for_all_questions_or_for_none(project, stated):
    (project / "mine.yaml").write_text(yaml.safe_dump(state(news(), *stated)))
    config = shipped_config()
    config["splits"]["mine"] = {"path": "mine.yaml"}
    config["grid"]["split"] = ["mine"]
    open_study(config, FILE)
