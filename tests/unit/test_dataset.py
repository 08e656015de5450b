"""The shipped data set keeps the rules that make its controls mean something (docs: familiarity is not knowledge)."""

import datetime
import re
from collections import Counter
from pathlib import Path

import pytest
from scipy import stats

from sys2ft.news.audit import HEURISTICS, audit, try_heuristic
from sys2ft.news.items import asked, check_unique, item_rows, load_general, load_news, question_rows, read_yaml
from sys2ft.study.engines.recorded import load_recorded, recorded_texts
from sys2ft.study.reading import parse_questions, parse_text

ROOT = Path(__file__).parents[2]
SPLITS = ("mathematics", "coding", "discoveries", "leaderboards", "events")
FILES = {split: load_news(ROOT / f"data/new_news/{split}.yaml") for split in SPLITS}
ITEMS = {item.id: item for news in FILES.values() for item in news.items}
QUESTIONS = {question.id: (item, question) for item in ITEMS.values() for question in item.questions}
GENERAL = load_general(ROOT / "data/general_knowledge.yaml").questions

each_item = pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
each_question = pytest.mark.parametrize(("item", "question"), QUESTIONS.values(), ids=QUESTIONS)


def occurs(option: str, text: str) -> bool:
    """Whether an option stands in a text as whole words."""
    return re.search(rf"(?<!\w){re.escape(option)}(?!\w)", text, re.IGNORECASE) is not None


def as_expected_by_chance(count: int, trials: int, chance: float) -> bool:
    """Within the central 99 % of what chance gives."""
    low, high = stats.binom.interval(0.99, trials, chance)
    return low <= count <= high


# ---------------------------------------------------------------------------------------------------------------- shape
def test_the_shipped_splits_are_those_of_the_configuration():
    configured = read_yaml(ROOT / "config/config.yaml")["splits"]
    assert {name: entry["path"] for name, entry in configured.items() if "path" in entry} == {
        split: f"data/new_news/{split}.yaml" for split in SPLITS
    }
    assert {path.stem for path in (ROOT / "data/new_news").glob("*.yaml")} == set(SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_fifteen_items_of_five_questions(split):
    assert FILES[split].split == split
    assert [len(item.questions) for item in FILES[split].items] == [5] * 15


def test_ids_are_unique_over_all_splits():
    check_unique((split, news) for split, news in FILES.items())
    assert len(ITEMS) == 75
    assert len(QUESTIONS) == 375


@each_question
def test_the_id_of_a_question_begins_with_that_of_its_item(item, question):
    assert question.id.startswith(f"{item.id}-q")


def test_titles_texts_and_questions_are_all_different():
    for texts in (
        [item.title for item in ITEMS.values()],
        [item.text for item in ITEMS.values()],
        [question.question for _, question in QUESTIONS.values()],
    ):
        assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_rows_of_the_tables_keep_the_gold_answer():
    for news in FILES.values():
        rows = question_rows(news)
        assert len(item_rows(news)) == 15
        assert len(rows) == 75
        for row in rows:
            assert row["options"][row["gold"]] == QUESTIONS[row["question_id"]][1].answer


# ---------------------------------------------------------------------------------------------------------------- items
@each_item
def test_an_item_is_dated_after_2026(item):
    assert item.date > datetime.date(2026, 12, 31)


@each_item
def test_an_item_has_80_to_180_words(item):
    assert 80 <= len(item.text.split()) <= 180


@each_item
def test_an_item_asks_for_recall_inference_and_application_as_1_to_2_to_2(item):
    kinds = Counter(question.kind for question in item.questions)
    assert kinds == {"recall": 1, "inference": 2, "application": 2}


# -------------------------------------------------------------------------------------------------------------- options
@each_question
def test_a_question_has_four_options(item, question):  # noqa: ARG001
    assert len({option.casefold() for option in question.options}) == 4


@each_question
def test_all_options_occur_in_the_item_or_none_does(item, question):
    found = [option for option in question.options if occurs(option, item.text)]
    assert found == [] or found == list(question.options)


@each_question
def test_a_recall_question_has_options_of_the_item(item, question):
    if question.kind == "recall":
        assert all(occurs(option, item.text) for option in question.options)


def test_the_audit_finds_nothing():
    items = [row for news in FILES.values() for row in item_rows(news)]
    questions = [row for news in FILES.values() for row in question_rows(news)]
    study = recorded_texts(load_recorded(ROOT / "data/reference_study.yaml"))
    failed = [finding.explain() for finding in audit(items, questions, study) if not finding.passed]
    assert failed == []


@each_question
def test_a_question_has_a_short_answer_and_a_pair_of_statements(item, question):  # noqa: ARG001
    assert question.short_answer
    assert question.statement.endswith(".")
    assert question.false_statement.endswith(".")


# ------------------------------------------------------------------------------------------------- reference study data
def test_reference_study_data_cover_every_item():
    study = load_recorded(ROOT / "data/reference_study.yaml").study
    assert list(study) == [item.id for news in FILES.values() for item in news.items]
    for kinds in study.values():
        assert {kind: len(rows) for kind, rows in kinds.items()} == {"paraphrase": 8, "implication": 8, "self_qa": 16}


def test_reference_study_data_can_be_read_as_a_teacher_would_have_written_them():
    for kinds in load_recorded(ROOT / "data/reference_study.yaml").study.values():
        for pair in kinds["self_qa"]:
            assert parse_questions(pair.question, 9) == [pair.question]
        texts = [*kinds["paraphrase"], *kinds["implication"], *(pair.answer for pair in kinds["self_qa"])]
        assert all(parse_text(text, "stop") == (text, "kept") for text in texts)
        assert len({*texts}) == len(texts)


# ---------------------------------------------------------------------------------------------------- general knowledge
@pytest.mark.parametrize("name", [name for name in HEURISTICS if "text" not in name])
def test_general_questions_are_not_answered_by_a_preference(name):
    rows = [{**asked(entry), "item": entry.id} for entry in GENERAL]
    found = try_heuristic(name, rows, {row["item"]: "" for row in rows})
    assert found.passed, found.explain()


def test_general_knowledge_has_100_different_questions():
    assert len({entry.question for entry in GENERAL}) == len(GENERAL) == 100


@pytest.mark.parametrize("entry", GENERAL, ids=[entry.id for entry in GENERAL])
def test_a_question_of_general_knowledge_has_four_different_options(entry):
    assert len({option.casefold() for option in entry.options}) == len(entry.options) == 4


def test_general_knowledge_does_not_favour_a_place():
    places = Counter(entry.options.index(entry.answer) for entry in GENERAL)
    assert all(as_expected_by_chance(places[place], len(GENERAL), 0.25) for place in range(4)), places


def test_general_knowledge_shares_no_question_with_the_news():
    assert {entry.question for entry in GENERAL} & {question.question for _, question in QUESTIONS.values()} == set()
