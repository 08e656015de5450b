"""The audit sees what it is meant to see, and passes what is sound."""

import random

import pytest

from sys2ft.news.audit import HEURISTICS, Finding, audit, estimate_share, name_their_gold, share_a_run, try_heuristic

COLOURS = ["amber", "cobalt", "ochre", "sepia"]


def question(number: int, gold: int, options=COLOURS, item="a", asked="Which colour is it?") -> dict:
    return {
        "item": item, "question_id": f"{item}-q{number}", "question": asked, "options": list(options), "gold": gold,
    }  # fmt: skip


def shuffled(count: int, items: int = 40) -> list[dict]:
    """Questions whose gold stands anywhere."""
    draw = random.Random(1)
    return [question(n, draw.randrange(4), item=f"i{n % items}") for n in range(count)]


def texts(questions, text="Amber, cobalt, ochre and sepia.") -> dict[str, str]:
    return {q["item"]: text for q in questions}


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_sound_set_sits_at_chance(name):
    questions = shuffled(200)
    found = try_heuristic(name, questions, texts(questions))
    assert found.passed, found
    assert found.low < 0.25 < found.high or found.low == found.high == 0.25


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("third place", COLOURS, ""),
        ("longest option", ["red", "red", "crimson", "red"], ""),
        ("shortest option", ["green", "green", "red", "green"], ""),
        ("option in the text", COLOURS, "It is ochre."),
        ("option most often in the text", COLOURS, "Amber, cobalt, ochre, sepia, and ochre."),
        ("commonest words of the text", ["a b", "c d", "e f", "g h"], "e e f f a"),
        ("first in the text", COLOURS, "Ochre, amber, cobalt, sepia."),
        ("last in the text", COLOURS, "Amber, cobalt, sepia, ochre."),
        ("words of the question", ["one", "two", "it", "four"], ""),
    ],
)
def test_a_way_of_answering_that_works_is_found_with_its_questions(name, options, text):
    questions = [question(0, 2, options, item=f"i{n}") for n in range(20)]
    found = try_heuristic(name, questions, texts(questions, text))
    assert found.share == 1
    assert not found.passed
    assert len(found.broken_by) == 20
    assert f"{name}: right in 100.0%" in found.explain()


def test_options_that_attract_alike_share_the_credit():
    questions = [question(0, 1, ["long", "also", "x", "y"])]
    assert try_heuristic("longest option", [*questions, *questions], texts(questions)).share == 0.5


def test_the_interval_is_wider_where_questions_of_an_item_agree():
    apart = [(f"i{n}", float(n % 4 == 0)) for n in range(40)]
    together = [(f"i{n // 4}", float(n // 4 % 4 == 0)) for n in range(40)]
    one, other = (estimate_share("x", credits, 0.25) for credits in (apart, together))
    assert other.high - other.low > 1.5 * (one.high - one.low)


def test_a_question_that_names_its_answer_is_found_unless_it_names_all_options():
    named = question(1, 0, asked="Is it amber?")
    all_named = question(2, 0, asked="Amber, cobalt, ochre or sepia?")
    distractor = question(3, 0, asked="Why is it not cobalt?")
    assert name_their_gold([named, all_named, distractor]).broken_by == ("a-q1",)


def test_a_run_of_eight_words_in_common_is_found_and_one_of_seven_is_not():
    asked = "At which of the four harbours does the ferry call?"
    questions = [question(1, 0, asked=asked)]
    assert share_a_run(questions, ["which of the four harbours, does the FERRY!"], "x").broken_by == ("a-q1",)
    assert share_a_run(questions, ["which of the four harbours does the boat"], "x").passed


def test_the_audit_holds_models_to_chance_where_they_cannot_know():
    questions = shuffled(80)
    items = [{"item": f"i{n}", "text": "Amber, cobalt, ochre and sepia."} for n in range(40)]
    answers = [
        {"model": "m", "protocol": "none", "mode": "cloze", "item": q["item"],
         "question_id": q["question_id"], "condition": condition,
         "control": control, "correct": float(condition == "in_context" or number % 4 == 0)}
        for number, q in enumerate(questions)
        for condition, control in (("closed_book", "none"), ("in_context", "blank_question"), ("in_context", "none"))
    ]  # fmt: skip
    found = {finding.name: finding for finding in audit(items, questions, ["Something else."], answers)}
    assert found["m, cloze: closed_book"].passed
    assert not found["m, cloze: in_context, blank_question"].passed
    assert "m, cloze: in_context" not in found
    assert all(isinstance(finding, Finding) for finding in found.values())


def test_chance_is_that_of_the_questions_that_were_asked():
    four, two = shuffled(40), [row | {"options": ["x", "y"], "gold": 0, "split": "t"} for row in shuffled(40)]
    two = [row | {"question_id": f"t-{row['question_id']}"} for row in two]
    items = [{"item": row["item"], "text": "Amber, cobalt, ochre and sepia."} for row in four]
    answers = [
        {"model": "m", "protocol": "none", "mode": "letter", "item": q["item"], "question_id": q["question_id"],
         "condition": "closed_book", "control": "none", "correct": float(number % 4 == 0)}
        for number, q in enumerate(four)
    ]  # fmt: skip
    found = {finding.name: finding for finding in audit(items, [*four, *two], answers=answers)}
    assert found["m, letter: closed_book"].chance == 0.25
