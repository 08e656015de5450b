"""Written answers are read rightly or not at all."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.evaluation.reading import check_readable, read_answer, words_of
from sys2ft.news.items import open_split, question_rows
from sys2ft.settings.stages import ValidateNewsStage

ROOT = Path(__file__).parents[2]
WHOLE = ValidateNewsStage(generator=None, seed=0, size=None, items=None)


def question(options, gold=0, short=None, accepted=()):
    return {"question_id": "q", "options": options, "gold": gold, "short_answer": short, "accepted_answers": accepted}


COLOURS = question(["red", "dark red", "sea blue", "the green one"], 2, "blue as the sea", ("azure", "the blue"))
NUMBERS = question(["-5", "5", "1200", "5.5"], 2, "twelve hundred")


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("red", 0),
        ("Red.", 0),
        ("It is RED!", 0),
        ("**Red**", 0),
        ("dark red", 1),
        ("I think it's dark  red, as said.", 1),
        ("Sea\nblue", 2),
        ("blue as the sea", 2),
        ("Azure?", 2),
        ("blue", 2),
        ("green one", 3),
        ("The green one", 3),
    ],
)
def test_an_answer_that_names_one_option_is_read(text, choice):
    assert read_answer(text, COLOURS, reasoned=False) == (choice, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "none"),
        ("I do not know.", "none"),
        ("reddish", "none"),
        ("credit", "none"),
        ("sea-green", "none"),
        ("red or sea blue", "several"),
        ("not red but azure", "several"),
        ("dark red, or just red", "several"),
    ],
)
def test_an_answer_that_names_none_or_several_is_not_read(text, reason):
    assert read_answer(text, COLOURS, reasoned=False) == (None, reason)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1200", (2, None)),
        ("1,200.", (2, None)),
        ("(1200)", (2, None)),
        ("twelve hundred", (2, None)),
        ("-5", (0, None)),
        ("−5", (0, None)),
        ("5", (1, None)),
        ("5.", (1, None)),
        ("it is 5, I think", (1, None)),
        ("5.5", (3, None)),
        ("12000", (None, "none")),
        ("0.5", (None, "none")),
        ("1,2", (None, "none")),
        ("x5", (None, "none")),
        ("7 - 5", (1, None)),
        ("-5 or 5", (None, "several")),
    ],
)
def test_numbers_are_read_whole_with_sign_point_and_thousands(text, read):
    assert read_answer(text, NUMBERS, reasoned=False) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("First red, then dark red.\nAnswer: azure", (2, None)),
        ("Red comes first.\n\n**Answer:** red", (0, None)),
        ("The answer: red is wrong.\nFinal answer: dark red.", (1, None)),
        ("Answer: red\nNo, wait.\nAnswer: the green one", (3, None)),
        ("Answer:\nsea blue\nas I said, not red", (2, None)),
        ("Answer: red or azure", (None, "several")),
        ("Answer: I do not know", (None, "none")),
        ("Answer:", (None, "none")),
        ("It is red.", (None, "no_answer_line")),
        ("My answer is red", (None, "no_answer_line")),
        ("Red, as the question asks: which", (None, "no_answer_line")),
        ("", (None, "no_answer_line")),
    ],
)
def test_after_reasoning_the_last_answer_line_counts(text, read):
    assert read_answer(text, COLOURS, reasoned=True) == read


@pytest.mark.parametrize(
    ("options", "gold", "accepted", "problem"),
    [
        (["a b", "A, B"], 0, (), "'a b' stands for two options"),
        (["red", "blue"], 0, ("Blue!",), "'blue' stands for two options"),
        (["red", "?!"], 0, (), "the option '?!' has no word to be read by"),
        (["the red", "red"], 0, (), "'red' stands for two options"),
        (["1,200", "1200"], 0, (), "'1200' stands for two options"),
    ],
)
def test_options_that_would_be_read_alike_are_found(options, gold, accepted, problem):
    assert check_readable(question(options, gold, accepted=accepted)) == problem


@pytest.mark.parametrize(
    "options",
    [
        ["a + b", "a - b c", "a * b"],
        ["<", ">"],
        ["5 %", "5"],
        ["C", "C++", "C#"],
        ["A, B, C", "B, C, A"],
        ["[1,2]", "12"],
    ],
)
def test_signs_and_order_tell_options_apart(options):
    assert check_readable(question(options)) is None
    for number, option in enumerate(options):
        assert read_answer(f"It is {option}", question(options), reasoned=False)[0] == number


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60), reasoned=st.booleans())
def test_any_text_is_read_or_has_a_reason(text, reasoned):
    choice, unread = read_answer(text, COLOURS, reasoned)
    assert (choice is None) == (unread is not None)
    assert choice in (None, 0, 1, 2, 3)
    assert unread in (None, "none", "several", "no_answer_line")


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.sampled_from(["red", "dark", "sea", "blue", "the", "a", "5"]), max_size=6))
def test_what_is_read_does_not_depend_on_capitals_and_punctuation(words):
    plain, shown = " ".join(words), ", ".join(word.upper() for word in words) + "!"
    assert words_of(plain) == words_of(shown)
    assert read_answer(plain, COLOURS, reasoned=False) == read_answer(shown, COLOURS, reasoned=False)


# ------------------------------------------------------------------------------------------------------- the data set
@pytest.mark.parametrize("split", ["mathematics", "coding", "discoveries", "leaderboards", "events"])
def test_every_option_and_variant_of_the_shipped_questions_is_read_as_what_it_is(split):
    news = open_split(split, f"{ROOT}/data/new_news/{split}.yaml", WHOLE)
    rows = question_rows(news)
    assert len(rows) == 75
    for row in rows:
        assert check_readable(row) is None, row["question_id"]
        for number, option in enumerate(row["options"]):
            for text in (option, f"**{option}**", f"The answer is {option}."):
                assert read_answer(text, row, reasoned=False) == (number, None), (row["question_id"], text)
            assert read_answer(f"Let me see.\nAnswer: {option}.", row, reasoned=True) == (number, None)
        for variant in (row["short_answer"], *row["accepted_answers"]):
            assert read_answer(f"It is {variant}.", row, reasoned=False) == (row["gold"], None), variant
