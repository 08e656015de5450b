"""Retention is measured by lm_eval: what it is told by the packed scorer is what its own model class would say."""

from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.evaluator import simple_evaluate  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from peft import PeftModel  # noqa: E402

from sys2ft.errors import InputError  # noqa: E402
from sys2ft.evaluation.harness import Reading, RespondentLM, open_tasks, score_retention  # noqa: E402
from sys2ft.evaluation.respondents import Respondent  # noqa: E402
from sys2ft.evaluation.tasks import task_files  # noqa: E402
from sys2ft.models import load_model  # noqa: E402
from sys2ft.settings.catalogue import MethodSettings  # noqa: E402
from sys2ft.settings.choices import RetentionSettings  # noqa: E402
from sys2ft.settings.stages import ScoreRetentionStage  # noqa: E402
from sys2ft.tables import build_table  # noqa: E402
from sys2ft.training.lora_bank import LoraBank  # noqa: E402
from tests.unit.conftest import SHAPES  # noqa: E402

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


READING = Reading(tokens_per_pass=1024, batch_size=4)


def wrap(respondent, tokenizer, reader="none"):
    return RespondentLM(respondent, reader, tokenizer, READING)


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
    rows = list(score_retention(respondent, tokenizer, stage, tasks_of(stage, tmp_path), READING))
    assert {row["filter"] for row in rows} == {"strict", "whole"}


def test_everyone_is_asked_and_every_metric_kept(respondent, llama, tokenizer):
    stage = make_stage(*OWN, limit=2)
    tuned = list(score_retention(respondent, tokenizer, stage, tasks_of(stage), READING))
    told = {(row["item"], row["task"], row["metric"], row["document"]) for row in tuned}
    metrics = [(OWN[0], "acc"), (OWN[0], "acc_norm"), (OWN[1], "word_perplexity"), (OWN[1], "bits_per_byte")]
    assert told == {(item, *metric, n) for item in ("red", "blue") for metric in metrics for n in range(2)}
    assert len(tuned) == len(told)
    assert all(row["adapter"] == f"digest {row['item']}" for row in tuned)
    assert {row["metric"]: row["higher_is_better"] for row in tuned} == {
        "acc": True, "acc_norm": True, "word_perplexity": False, "bits_per_byte": False,
    }  # fmt: skip
    assert build_table("retention", tuned, KEYS).num_rows == len(tuned)
    base = list(score_retention(Respondent(load_model(llama)), tokenizer, stage, tasks_of(stage), READING))
    assert {(row["item"], row["adapter"]) for row in base} == {("none", None)}
    values = [[row["value"] for row in rows if row["metric"] == "word_perplexity"] for rows in (base, tuned)]
    assert len(set(values[0] + values[1])) == 6, "readers differ"
    assert all(value > 1 for value in values[0]), "nats a word of a random model"


def test_a_task_that_nobody_knows_is_named():
    with pytest.raises(ValueError, match=r"retention\.tasks: lm_eval has no task mmlu_por, and config/lm_eval neither"):
        open_tasks([OWN[0], "mmlu_por"], "config/lm_eval")


def test_the_tasks_of_the_paper_s_configuration_are_lm_eval_s():
    """Their data come from the hub; that the harness knows and can read the tasks is checked without."""
    tasks = yaml.safe_load(Path("config/paper.yaml").read_text())["retention"]["tasks"]
    assert {"mmlu_pro", "gsm8k", "ifeval"} <= set(tasks)
    manager = open_tasks(tasks, "config/lm_eval")
    for name in tasks:
        assert manager.match_tasks([name]) == [name]


# ----------------------------------------------------------------------------------------------------------- task files
def test_a_task_depends_on_its_file_its_data_and_the_programs_beside():
    found = task_files(RetentionSettings(tasks=OWN[1:]))
    assert found == ["config/lm_eval/sys2ft_data.py", "config/lm_eval/sys2ft_text.yaml", "data/perplexity.txt"]
    assert task_files(RetentionSettings(tasks=("gsm8k",))) == []


def test_data_that_is_missing_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: mine\nmetadata:\n  path: nowhere.txt\n")
    with pytest.raises(InputError, match=r"mine\.yaml: metadata\.path.*nowhere\.txt"):
        task_files(RetentionSettings(tasks=("mine",), include=str(tmp_path)))
