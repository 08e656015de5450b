"""Retention is measured by lm_eval: what it is told by the packed scorer is what its own model class would say."""

from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml

lm_eval = pytest.importorskip("lm_eval")

from datasets import Dataset, DatasetDict  # noqa: E402
from lm_eval.evaluator import simple_evaluate  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from peft import PeftModel  # noqa: E402

from sys2ft.errors import InputError  # noqa: E402
from sys2ft.evaluation.harness import Capacity, RespondentLM, _value, keep_unfinished, open_tasks, score_retention  # noqa: E402
from sys2ft.evaluation.respondents import Respondent  # noqa: E402
from sys2ft.evaluation.tasks import task_files  # noqa: E402
from sys2ft.models import load_model  # noqa: E402
from sys2ft.settings.catalogue import MethodSettings  # noqa: E402
from sys2ft.settings.choices import RetentionSettings  # noqa: E402
from sys2ft.settings.stages import FineTuneStage, ScoreRetentionStage  # noqa: E402
from sys2ft.tables import RETENTION, TRAIN_LOG, build_table, write_table  # noqa: E402
from sys2ft.training.lora_bank import LoraBank  # noqa: E402
from tests.unit.conftest import SHAPES  # noqa: E402
from tests.unit.made_study import run_script  # noqa: E402

SUBJECTS = [
    "biology", "business", "chemistry", "computer science", "economics", "engineering", "health", "history", "law",
    "math", "other", "philosophy", "physics", "psychology",
]  # fmt: skip
OWN = ("sys2ft_general_knowledge", "sys2ft_text")
KEYS = {"model": "m", "method": "lora", "protocol": "p", "teacher": "none", "split": "s", "seed": 0}


def make_stage(*tasks, limit=None):
    return ScoreRetentionStage(tasks=tasks, limit=limit, chat_template=True)


def tasks_of(stage, include="config/lm_eval"):
    return open_tasks(stage.tasks, str(include))


def evaluate(model, stage, include="config/lm_eval"):
    """What the harness logged of every document."""
    told = {"limit": stage.limit, "apply_chat_template": stage.chat_template, "bootstrap_iters": 0}
    return simple_evaluate(model, tasks=list(stage.tasks), task_manager=tasks_of(stage, include), **told)["samples"]


CAPACITY = Capacity(tokens_per_pass=1024, batch_size=4)


def wrap(respondent, tokenizer, reader="none"):
    return RespondentLM(respondent, reader, tokenizer, CAPACITY)


@pytest.fixture(scope="module")
def bank(llama):
    """Two adapters that do something."""
    bank = LoraBank(load_model(llama), ["red", "blue"], MethodSettings(rank=8))
    bank.initialise([1, 2])
    with torch.no_grad():
        for index in range(2):
            for _, high in bank._views(index):
                high.normal_(std=0.3, generator=torch.Generator().manual_seed(index))
    return bank


@pytest.fixture
def respondent(bank):
    return Respondent(bank.model, bank, {"red": "red", "blue": "blue"}, {"red": "digest red", "blue": "digest blue"})


@pytest.fixture
def adapted(bank, llama, tmp_path):
    """The second adapter in the hands of PEFT."""
    bank.export(1, tmp_path / "blue", "tiny")
    return PeftModel.from_pretrained(load_model(llama), tmp_path / "blue").eval()


def likelihoods(samples):
    return [[float(found[0][0]) for found in sample["resps"]] for sample in samples]


def flat(samples):
    return list(chain(*likelihoods(samples)))


@pytest.mark.parametrize("architecture", SHAPES)
def test_fifty_questions_are_scored_and_answered_as_the_harness_does(manifests, tokenizer, architecture):
    stage = make_stage(OWN[0], limit=50)
    ours = evaluate(wrap(Respondent(load_model(manifests[architecture])), tokenizer), stage)[OWN[0]]
    theirs = evaluate(HFLM(load_model(manifests[architecture]), tokenizer=tokenizer, batch_size=8), stage)[OWN[0]]
    assert len(ours) == len(theirs) == 50
    for own, their in zip(likelihoods(ours), likelihoods(theirs), strict=True):
        assert own == pytest.approx(their, abs=1e-3)
        assert own.index(max(own)) == their.index(max(their))
    assert [[sample["acc"], sample["acc_norm"]] for sample in ours] == [[s["acc"], s["acc_norm"]] for s in theirs]


def test_perplexity_is_the_harness_s_too_and_windows_are_cut_alike(llama, tokenizer):
    """Bytes are tokens here: paragraphs are longer than the context, and are read in windows."""
    stage = make_stage(OWN[1], limit=3)
    ours = evaluate(wrap(Respondent(load_model(llama)), tokenizer), stage)[OWN[1]]
    theirs = evaluate(HFLM(load_model(llama), tokenizer=tokenizer, batch_size=2), stage)[OWN[1]]
    for own, their in zip(ours, theirs, strict=True):
        assert own["word_perplexity"] == pytest.approx(their["word_perplexity"], abs=1e-3)


def test_an_adapter_answers_as_it_does_in_peft(respondent, adapted, tokenizer):
    stage = make_stage(OWN[0], limit=10)
    ours = evaluate(wrap(respondent, tokenizer, "blue"), stage)[OWN[0]]
    theirs = evaluate(HFLM(adapted, tokenizer=tokenizer, batch_size=8), stage)[OWN[0]]
    assert flat(ours) == pytest.approx(flat(theirs), abs=1e-3)
    other = evaluate(wrap(respondent, tokenizer, "red"), stage)[OWN[0]]
    assert flat(other) != pytest.approx(flat(theirs), abs=1e-1)


WRITING = """
task: write
custom_dataset: !function data.load
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["!"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
filter_list:
  - {name: strict, filter: [{function: regex, regex_pattern: "^(x)"}, {function: take_first}]}
  - {name: whole, filter: [{function: take_first}]}
metadata: {version: 1.0}
"""
DATA = """
from datasets import Dataset


def load(**_):
    asked = ["Who is it?", "Where does the long road end, and who walks it?", "Why?"]
    return {"test": Dataset.from_list([{"question": text, "answer": "x"} for text in asked])}
"""


def test_an_adapter_writes_what_it_writes_in_peft(respondent, adapted, tokenizer, tmp_path):
    (tmp_path / "write.yaml").write_text(WRITING)
    (tmp_path / "data.py").write_text(DATA)
    stage = make_stage("write")
    before = evaluate(wrap(respondent, tokenizer, "blue"), make_stage(OWN[0], limit=2))
    ours = evaluate(wrap(respondent, tokenizer, "blue"), stage, tmp_path)["write"]
    theirs = evaluate(HFLM(adapted, tokenizer=tokenizer, batch_size=4), stage, tmp_path)["write"]
    assert [sample["resps"] for sample in ours] == [sample["resps"] for sample in theirs]
    assert any(sample["resps"][0][0] for sample in ours), "something is written"
    after = evaluate(wrap(respondent, tokenizer, "blue"), make_stage(OWN[0], limit=2))
    assert likelihoods(after[OWN[0]]) == likelihoods(before[OWN[0]]), "it can be scored again"
    rows = list(score_retention(respondent, tokenizer, stage, tasks_of(stage, tmp_path), CAPACITY))
    assert {row["filter"] for row in rows} == {"strict", "whole"}


def test_everyone_is_asked_and_every_metric_kept(respondent, llama, tokenizer):
    stage = make_stage(*OWN, limit=2)
    tuned = list(score_retention(respondent, tokenizer, stage, tasks_of(stage), CAPACITY))
    told = {(row["item"], row["task"], row["metric"], row["document"]) for row in tuned}
    metrics = [(OWN[0], "acc"), (OWN[0], "acc_norm"), (OWN[1], "word_perplexity"), (OWN[1], "bits_per_byte")]
    assert told == {(item, *metric, n) for item in ("red", "blue") for metric in metrics for n in range(2)}
    assert len(tuned) == len(told)
    assert all(row["adapter"] == f"digest {row['item']}" for row in tuned)
    assert {row["metric"]: row["higher_is_better"] for row in tuned} == {
        "acc": True, "acc_norm": True, "word_perplexity": False, "bits_per_byte": False,
    }  # fmt: skip
    assert build_table(RETENTION, tuned, KEYS).num_rows == len(tuned)
    base = list(score_retention(Respondent(load_model(llama)), tokenizer, stage, tasks_of(stage), CAPACITY))
    assert {(row["item"], row["adapter"]) for row in base} == {("none", None)}
    values = [[row["value"] for row in rows if row["metric"] == "word_perplexity"] for rows in (base, tuned)]
    assert len(set(values[0] + values[1])) == 6, "readers differ"
    assert all(value > 1 for value in values[0]), "nats a word of a random model"


def test_a_killed_job_goes_on_with_those_who_were_not_asked(respondent, tokenizer, tmp_path, monkeypatch):
    stage, identity = make_stage(OWN[0], limit=2), {"base": "r"}
    measured = score_retention(
        respondent, tokenizer, stage, tasks_of(stage), CAPACITY, keep_unfinished(tmp_path / "kept", identity)
    )
    first = next(measured)
    assert first["item"] == "red"
    measured.close()
    asked, evaluate_one = [], RespondentLM.__init__
    monkeypatch.setattr(RespondentLM, "__init__", lambda self, *a: (asked.append(a[1]), evaluate_one(self, *a))[1])
    kept = keep_unfinished(tmp_path / "kept", identity)
    rows = list(score_retention(respondent, tokenizer, stage, tasks_of(stage), CAPACITY, kept))
    assert asked == ["blue"]
    assert rows == list(score_retention(respondent, tokenizer, stage, tasks_of(stage), CAPACITY))
    assert list(kept.iterdir())
    assert not list(keep_unfinished(tmp_path / "kept", {"base": "other"}).iterdir())
    assert not kept.exists()


def test_what_another_version_of_the_code_measured_is_no_use(llama, tmp_path, monkeypatch):
    """The script tells the folder of what is unfinished by the version that the rule hands it."""

    class Asked(Exception):
        pass

    def keep(_, identity):
        raise Asked(identity)

    monkeypatch.setattr("sys2ft.evaluation.harness.keep_unfinished", keep)
    monkeypatch.setattr("sys2ft.learned.find_learned", lambda *_: [()])
    monkeypatch.setattr("sys2ft.origins.tell_origin", lambda *_, **__: None)
    write_table(build_table(TRAIN_LOG, []), tmp_path / "train_log.parquet")
    told = {
        "settings": make_stage(OWN[0]).model_dump_json(),
        "method": FineTuneStage(method=MethodSettings()).model_dump_json(),
        "cell": "model=m/method=lora/protocol=naive/teacher=none/split=s/seed=0", "model": llama, "adapters": tmp_path,
        "train-log": tmp_path / "train_log.parquet", "include": "config/lm_eval", "unfinished": tmp_path,
        "output": tmp_path / "retention.parquet",
    }  # fmt: skip
    identities = []
    for version in (1, 2):
        with pytest.raises(Asked) as asked:
            run_script("score_retention", version=version, **told)
        identities.append(asked.value.args[0])
    assert [identity.pop("version") for identity in identities] == [1, 2]
    assert identities[0] == identities[1]
    assert "python" in identities[0]["environment"]


def test_a_task_that_nobody_knows_is_named():
    with pytest.raises(ValueError, match=r"retention\.tasks: lm_eval has no task mmlu_por, and config/lm_eval neither"):
        open_tasks([OWN[0], "mmlu_por"], "config/lm_eval")


# ----------------------------------------------------------------------------------------------------------- task files
def test_a_task_depends_on_its_file_its_data_and_the_programs_beside():
    found = task_files(RetentionSettings(tasks=OWN[1:]))
    assert found == ["config/lm_eval/sys2ft_data.py", "config/lm_eval/sys2ft_text.yaml", "data/perplexity.txt"]
    assert task_files(RetentionSettings(tasks=("gsm8k",))) == []


def test_data_that_is_missing_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: mine\nmetadata:\n  path: nowhere.txt\n")
    with pytest.raises(InputError, match=r"mine\.yaml: metadata\.path.*nowhere\.txt"):
        task_files(RetentionSettings(tasks=("mine",), include=str(tmp_path)))


@pytest.mark.parametrize("name", ["mine", "group_of_mine", "tag_of_mine"])
def test_a_task_is_found_by_its_name_its_group_or_its_tag_with_all_it_is_made_of(tmp_path, name):
    (tmp_path / "data.txt").write_text("x")
    data = f"{tmp_path}/data.txt"
    (tmp_path / "base.yaml").write_text(f"dataset_kwargs: {{data_files: {{test: '{data}'}}}}\n")
    (tmp_path / "mine.yaml").write_text(
        f'include: base.yaml\ntask: "mine"\ntag: [tag_of_mine]\ncustom_dataset: !function data.load\n'
        f'metadata: {{version: 1, path: "{tmp_path}/data.txt"}}\n'
    )
    (tmp_path / "group.yaml").write_text("group: group_of_mine\ntask: [mine, gsm8k]\n")
    (tmp_path / "other.yaml").write_text("task: other\n")
    (tmp_path / "data.py").write_text("")
    found = task_files(RetentionSettings(tasks=(name,), include=str(tmp_path)))
    expected = ["base.yaml", "data.py", "data.txt", "mine.yaml"] + ["group.yaml"] * (name == "group_of_mine")
    assert found == sorted(str(tmp_path / file) for file in expected)


def test_templates_are_found_whatever_they_are_called(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/mine.yaml").write_text("task: mine\ninclude: _template_yaml\n")
    (tmp_path / "tasks/_template_yaml").write_text("include: ../base.yaml\n")
    (tmp_path / "base.yaml").write_text("num_fewshot: 0\n")
    found = task_files(RetentionSettings(tasks=("mine",), include=str(tmp_path)))
    assert found == sorted(str(tmp_path / name) for name in ("base.yaml", "tasks/_template_yaml", "tasks/mine.yaml"))


def test_a_task_file_that_is_not_yaml_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: [mine\n")
    with pytest.raises(InputError, match=r"mine\.yaml: is not YAML"):
        task_files(RetentionSettings(tasks=("mine",), include=str(tmp_path)))


# -------------------------------------------------------------------------------------------------------------- values
@pytest.mark.parametrize(
    ("metric", "found", "value"),
    [
        ("acc", 1, 1.0),
        ("exact_match", True, 1.0),
        ("word_perplexity", (-6.0, 3), 2.0),
        ("bits_per_byte", (-6.0, 12), 0.5),
        ("perplexity", -1.5, 1.5),
        ("inst_level_strict_acc", [True, False], 0.5),
    ],
)
def test_a_documents_value_is_read_as_its_metric_means_it(metric, found, value):
    assert _value("mine", metric, found) == value


@pytest.mark.parametrize(
    ("metric", "found"), [("f1", (1, 0)), ("mcc", (0, 1)), ("brier_score", (0, [0.5, 0.5])), ("x", [])]
)
def test_a_metric_of_all_documents_together_is_refused_by_name(metric, found):
    with pytest.raises(ValueError, match=rf"the metric '{metric}' of 'cola' has no value for a document alone"):
        _value("cola", metric, found)


def fake_hub(path, *_, **__):
    """A few documents of the shape of the hub's."""
    rows = [{"question": f"What is {n} + 1?", "answer": f"It is.\n#### {n + 1}"} for n in range(8)]
    if "MMLU-Pro" in path:
        choice = {"options": ["one", "two"], "answer": "A", "answer_index": 0, "cot_content": "A: The answer is (A)."}
        rows = [
            {"question_id": n, "question": "What?", "category": name, **choice} for n, name in enumerate(SUBJECTS * 6)
        ]
    if "IFEval" in path:
        asked = {"instruction_id_list": ["punctuation:no_comma"] * 2, "kwargs": [{}, {}]}
        rows = [{"key": n, "prompt": "Write without commas.", **asked} for n in range(2)]
    return DatasetDict(dict.fromkeys(("train", "validation", "test"), Dataset.from_list(rows)))


def test_the_tasks_of_the_paper_s_configuration_run_on_documents_of_their_shape(monkeypatch, llama, tokenizer):
    """Their data come from the hub. All else is lm_eval's own: configuration, prompts, filters, metrics."""
    monkeypatch.setattr("datasets.load_dataset", fake_hub)
    tasks = yaml.safe_load(Path("config/paper.yaml").read_text())["retention"]["tasks"]
    assert {"mmlu_pro", "gsm8k", "ifeval"} <= set(tasks)
    stage = make_stage(*tasks, limit=1)
    respondent = Respondent(load_model(llama))
    monkeypatch.setattr(
        RespondentLM, "generate_until", lambda _, requests, **__: ["The answer is (A)."] * len(requests)
    )
    rows = list(score_retention(respondent, tokenizer, stage, tasks_of(stage), CAPACITY))
    found = {(row["task"], row["filter"], row["metric"]) for row in rows}
    assert {task for task, _, _ in found} == {"gsm8k", "ifeval"} | {
        f"mmlu_pro_{name.replace(' ', '_')}" for name in SUBJECTS
    }
    assert {filter for task, filter, _ in found if task == "gsm8k"} == {"strict-match", "flexible-extract"}
    assert len({metric for task, _, metric in found if task == "ifeval"}) == 4
    values = {row["task"]: row["value"] for row in rows}
    assert values["mmlu_pro_law"] == values["ifeval"] == 1.0
    assert all(row["higher_is_better"] for row in rows)


def test_an_answer_without_a_token_and_a_prompt_that_is_too_long_are_named(respondent, tokenizer):
    harness = wrap(respondent, tokenizer, "red")
    with pytest.raises(ValueError, match=r"the answer '' to 'Who\?' has no token in .*weights"):
        harness._loglikelihood_tokens([(("Who?", ""), [5, 6], [])])
    with pytest.raises(
        ValueError, match=r"'Who\?' and its answer have \d+ tokens, more than the \d+ of the context of"
    ):
        harness._loglikelihood_tokens([(("Who?", "x"), [5] * 5000, [6])])
