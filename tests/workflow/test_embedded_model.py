"""The embedded 135M model goes all the way through: converted, taught, tuned, questioned."""

import json

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from sys2ft.chat import encode_text, render_prompt, user
from sys2ft.evaluation.questions import ask_all, prompt_messages
from sys2ft.evaluation.respondents import Respondent
from sys2ft.evaluation.scoring import score_split
from sys2ft.models import load_model, load_tokenizer
from sys2ft.news.items import item_rows, open_split, question_rows
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.stages import ScoreStage, ValidateNewsStage
from tests.workflow.project import failures, make_project, snakemake

STUDY = {
    "results": "results/real",
    "budget": {"items": 2, "study_rows": 1, "samples": 2},
    "scoring": {"conditions": ["closed_book", "in_context"], "controls": [], "modes": ["cloze"]},
    "grid": {"protocol": ["paraphrase"], "split": ["events"]},
}


WHOLE = ValidateNewsStage(generator=None, seed=0, size=None, items=None)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    project = make_project(tmp_path_factory.mktemp("real"))
    (project / "config/real.yaml").write_text(yaml.safe_dump(STUDY))
    run = snakemake(project, configs=("config/real.yaml",))
    assert run.returncode == 0, failures(run)
    return project / "results/real"


def rows_of(results, pattern):
    (path,) = results.glob(pattern)
    return pq.ParquetFile(path).read().to_pylist()


@pytest.mark.real_model
def test_the_converted_model_is_the_one_meant(results):
    (path,) = results.glob("prepare_model/*/model.json")
    manifest = json.loads(path.read_text())
    assert manifest["parameters"] == 134_515_008
    assert manifest["dtype"] == "bfloat16"
    assert [file.suffix for file in (path.parent / "weights").glob("model*")] == [".safetensors"]
    tokenizer = load_tokenizer(path)
    assert tokenizer.decode(tokenizer("Ferry n° 7 — été").input_ids) == "Ferry n° 7 — été"
    assert "<|im_start|>user" in tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)


@pytest.mark.real_model
def test_it_knows_what_a_small_language_model_knows(results):
    (path,) = results.glob("prepare_model/*/model.json")
    model, tokenizer = load_model(path), load_tokenizer(path)
    prompt = torch.tensor([render_prompt(tokenizer, (user("What is the capital of France?"),))])
    written = model.generate(prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :]
    assert "Paris" in tokenizer.decode(written)
    rows = rows_of(results, "score_base_retention/**/retention.parquet")
    values = {
        metric: [row["value"] for row in rows if row["metric"] == metric] for metric in ("acc", "word_perplexity")
    }
    assert len(values["acc"]) == 100
    assert sum(values["acc"]) > 40, "of 100 questions with four options"
    assert sum(values["word_perplexity"]) / len(values["word_perplexity"]) < 5, "nats a word"


@pytest.mark.real_model
def test_it_writes_about_the_news_it_was_given(results):
    items = {row["item"]: row["text"] for row in rows_of(results, "validate_news/**/items.parquet")}
    for row in rows_of(results, "filter_study/**/study.parquet"):
        names = {word.strip(".,'") for word in items[row["item"]].split() if word[0].isupper()} - {"The", "A", "In"}
        assert row["status"] == "kept"
        assert sum(name in row["text"] for name in names) >= 2, row["text"]


@pytest.mark.real_model
def test_it_learns_what_it_wrote(results):
    rows = rows_of(results, "fine_tune/**/train_log.parquet")
    by_step = {step: [row["loss"] for row in rows if row["step"] == step] for step in (1, 2)}
    assert all(later < first for first, later in zip(by_step[1], by_step[2], strict=True))
    (cell,) = rows_of(results, "tables/cells.parquet")
    assert cell["samples_seen"] == 4
    assert {row["measure"] for row in rows_of(results, "tables/effects.parquet")} >= {"ft_icl_gap", "retention_change"}


@pytest.mark.real_model
def test_the_data_set_gives_nothing_away_to_the_embedded_model(tmp_path):
    project = make_project(tmp_path)
    run = snakemake(project, "audit_dataset", configs=("config/audit.yaml",))
    assert run.returncode == 0, failures(run)
    rows = rows_of(project / "results/audit", "tables/audit.parquet")
    assert {row["questions"] for row in rows} == {375}
    assert {row["name"] for row in rows} >= {
        "longest option", "commonest words of the text", "option in the text", "smollm2-135m, cloze: closed_book",
        "smollm2-135m, cloze: in_context, blank_question",
    }  # fmt: skip
    assert all(row["passed"] for row in rows)


@pytest.mark.real_model
def test_fifty_questions_on_the_news_are_scored_and_answered_as_lm_eval_does(results):
    """The same tokens, in float32: log-likelihoods to 1e-3, the choice on all."""
    from lm_eval.models.huggingface import HFLM

    (path,) = results.glob("prepare_model/*/model.json")
    tokenizer, news = load_tokenizer(path), open_split("events", "data/new_news/events.yaml", WHOLE)
    items = item_rows(news)[:10]
    rows = [row for row in question_rows(news) if row["item"] in {item["item"] for item in items}]
    scoring = ScoringSettings(conditions=("closed_book",), controls=(), modes=("cloze",))
    stage = ScoreStage(scoring=scoring, context="{news}\n\n")
    answers = score_split(Respondent(load_model(path, "float32")), tokenizer, items, rows, stage)
    assert len(answers) == 50
    requests = [
        (
            ("", ""),
            render_prompt(tokenizer, prompt_messages(asking, scoring, stage.context)),
            encode_text(tokenizer, text),
        )
        for asking in ask_all(items, rows, scoring, None)
        for text in asking.question["options"]
    ]
    harness = HFLM(load_model(path, "float32"), tokenizer=tokenizer, batch_size=16)
    found = [total for total, _ in harness._loglikelihood_tokens(requests, disable_tqdm=True)]
    for number, row in enumerate(answers):
        theirs = found[4 * number : 4 * number + 4]
        assert row["logprobs"] == pytest.approx(theirs, abs=1e-3)
        means = [total / tokens for total, tokens in zip(theirs, row["option_tokens"], strict=True)]
        assert row["choice"] == means.index(max(means))
        assert row["choice_sum"] == theirs.index(max(theirs))
