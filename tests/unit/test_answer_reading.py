"""Written answers are read rightly or not at all."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.evaluation.reading import check_readable, read_answer, spelled_words
from sys2ft.news.items import open_split, question_rows
from sys2ft.settings.stages import ValidateNewsStage

ROOT = Path(__file__).parents[2]
WHOLE = ValidateNewsStage(generator=None, seed=0, size=None, items=None)


def question(options, gold=0, short=None, accepted=(), asked="Which is it?"):
    told = {"options": options, "gold": gold, "short_answer": short, "accepted_answers": accepted}
    return {"question_id": "q", "question": asked, **told}


COLOURS = question(["red", "dark red", "sea blue", "the green one"], 2, "blue as the sea", ("azure", "the blue"))
NUMBERS = question(["-5", "5", "1200", "5.5"], 2, "twelve hundred")
SUMS = question(["(x+y)*y", "x+y", "x*y", "y+x"])
GROWTH = question(["n log n", "n", "n^2", "log n"])
ROWS = question(["1, 4", "1, 4, 5", "[1, 2]", "1, 5"])
WORDS = question(["Monday", "May", "no", "The Who"])
LAMPS = question(["8", "9", "1", "2"], 2, "one", ("one lamp",), "How many are lit after one pulse?")


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
        ("It is the blue.", 2),
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
        ("dark red, or just red", "several"),
        ("not red", "unclear"),
        ("It isn't red.", "unclear"),
        ("any colour except dark red", "unclear"),
        ("I am not sure, but red", "unclear"),
    ],
)
def test_an_answer_that_names_none_or_several_or_denies_one_is_not_read(text, reason):
    assert read_answer(text, COLOURS, reasoned=False) == (None, reason)


@pytest.mark.parametrize(
    "text", ["azure like all of them", "the azure and the green", "Blue whales, the blue and so on"]
)
def test_a_wording_that_the_right_option_alone_has_counts_as_the_whole_answer_only(text):
    assert read_answer(text, COLOURS, reasoned=False) == (None, "none")


@pytest.mark.parametrize(
    ("asked", "text", "read"),
    [
        (NUMBERS, "1200", 2), (NUMBERS, "1,200.", 2), (NUMBERS, "(1200)", 2), (NUMBERS, "twelve hundred", 2),
        (NUMBERS, "-5", 0), (NUMBERS, "−5", 0), (NUMBERS, "is - 5", 0), (NUMBERS, "It is minus five.", 0),
        (NUMBERS, "5", 1), (NUMBERS, "5.", 1), (NUMBERS, "it is 5, I think", 1), (NUMBERS, "- 5", 1),
        (NUMBERS, "Five", 1), (NUMBERS, "5.5", 3),
        (NUMBERS, "12000", "none"), (NUMBERS, "0.5", "none"), (NUMBERS, ".5", "none"), (NUMBERS, "x5", "none"),
        (NUMBERS, "5e3", "none"), (NUMBERS, "5th", "none"), (NUMBERS, "10²", "none"), (NUMBERS, "-$5", 0),
        (NUMBERS, "-5 or 5", "several"),
        (NUMBERS, "5,5", "unclear"), (NUMBERS, "5/2", "unclear"), (NUMBERS, "1/5", "unclear"),
        (NUMBERS, "5:30", "unclear"), (NUMBERS, "5 million", "unclear"), (NUMBERS, "5%", "unclear"),
        (NUMBERS, "7 - 5", "unclear"), (NUMBERS, "5-7", "unclear"), (NUMBERS, "5!", "unclear"),
        (NUMBERS, "3 and 5", "unclear"), (NUMBERS, "more than 5", "unclear"),
        (SUMS, "(x + y) * y", 0), (SUMS, "The result is x+y.", 1), (SUMS, "**x+y**", 1), (SUMS, "x × y", 2),
        (SUMS, "y + x", 3), (SUMS, "x-y", "none"), (SUMS, "x+y*y", "unclear"), (SUMS, "(x+y)", "unclear"),
        (GROWTH, "O(n log n)", 0), (GROWTH, "It is n.", 1), (GROWTH, "n**2", 2), (GROWTH, "n²", 2),
        (GROWTH, "log n", 3), (GROWTH, "2n", "none"), (GROWTH, "n!", "unclear"),
        (ROWS, "1, 4", 0), (ROWS, "1, 4, 5", 1), (ROWS, "[1,2]", 2),
        (ROWS, "1, 4, 5, 6", "unclear"), (ROWS, "[1, 2, 3]", "unclear"), (ROWS, "0, 1, 4", "unclear"),
        (WORDS, "Monday or May", "several"), (WORDS, "in May", 1), (WORDS, "No.", 2), (WORDS, "the Who", 3),
        (WORDS, "It may be in August.", "none"), (WORDS, "I know who wrote it", "none"),
        (LAMPS, "one", 2), (LAMPS, "One lamp", 2), (LAMPS, "two", 3), (LAMPS, "How many are lit after one pulse? 2", 3),
        (LAMPS, "How many are lit after one pulse?", "none"), (LAMPS, "There are three, not two", "unclear"),
        (LAMPS, "Eight, not one", "several"),
    ],
)  # fmt: skip
def test_numbers_signs_rows_and_everyday_words_are_read_whole_or_not_at_all(asked, text, read):
    expected = (None, read) if isinstance(read, str) else (read, None)
    assert read_answer(text, asked, reasoned=False) == expected


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("First red, then dark red.\nAnswer: azure", (2, None)),
        ("Red comes first.\n\n**Answer:** red", (0, None)),
        ("The answer: red is wrong.\nFinal answer: dark red.", (1, None)),
        ("Answer: red\nNo, wait.\nAnswer: the green one", (3, None)),
        ("Answer:\nsea blue\nas I said, not red", (2, None)),
        ("Answer: red or azure", (None, "several")),
        ("Answer: red or sea blue", (None, "several")),
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


@pytest.mark.parametrize("text", ["12", "It is four", "fourteen"])
def test_a_text_that_was_cut_may_go_on(text):
    asked = question(["fourteen", "four", "12", "1200"])
    assert read_answer(text, asked, reasoned=False)[1] is None
    assert read_answer(text, asked, reasoned=False, cut=True) == (None, "unclear")
    assert read_answer(f"So.\nAnswer: {text}", asked, reasoned=True, cut=True) == (None, "unclear")
    assert read_answer(f"So.\nAnswer:\n{text}", asked, reasoned=True, cut=True) == (None, "unclear")
    assert read_answer(f"{text}, as I sa", asked, reasoned=False, cut=True)[1] is None
    assert read_answer(f"Answer: {text}\nAs I sa", asked, reasoned=True, cut=True)[1] is None


@pytest.mark.parametrize(
    ("options", "gold", "accepted", "problem"),
    [
        (["a b", "A, B"], 0, (), "'a b' stands for two options"),
        (["red", "blue"], 0, ("Blue!",), "'blue' stands for two options"),
        (["red", "?!"], 0, (), "the option '?!' has no word to be read by"),
        (["the red", "red"], 0, (), "'red' stands for two options"),
        (["1,200", "1200"], 0, (), "'1200' stands for two options"),
        (["2", "two"], 0, (), "'2' stands for two options"),
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
    assert unread in (None, "none", "several", "unclear", "no_answer_line")


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.sampled_from(["red", "dark", "sea", "blue", "the", "a", "5"]), max_size=6))
def test_what_is_read_does_not_depend_on_capitals_and_punctuation(words):
    plain, shown = " ".join(words), ", ".join(word.upper() for word in words) + "?"
    assert spelled_words(plain) == spelled_words(shown)
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
            for text in (option, f"It is {option}.", f"The answer is {option}."):
                assert read_answer(text, row, reasoned=False) == (number, None), (row["question_id"], text)
            assert read_answer(f"Let me see.\nAnswer: {option}.", row, reasoned=True) == (number, None)
        for variant in (row["short_answer"], *row["accepted_answers"]):
            assert read_answer(f"It is {variant}.", row, reasoned=False) == (row["gold"], None), variant
            assert read_answer(f"It is {variant} that counts here.", row, reasoned=False)[0] in (None, row["gold"])


@pytest.mark.parametrize("split", ["mathematics", "coding", "discoveries", "leaderboards", "events"])
def test_nothing_that_only_repeats_or_denies_is_read_as_right(split):
    """What a model copies from the item or the question, and what it says is not so."""
    news = open_split(split, f"{ROOT}/data/new_news/{split}.yaml", WHOLE)
    items = {item.id: item for item in news.items}
    for row in question_rows(news):
        item = items[row["item"]]
        for text in (item.text, item.title, row["question"], f"{row['question']} {item.text}"):
            assert read_answer(text, row, reasoned=False)[0] != row["gold"], (row["question_id"], text)
        for option in row["options"]:
            for text in (f"It is not {option}.", f"Any but {option}", f"{option}? I don't think so."):
                assert read_answer(text, row, reasoned=False)[0] is None, (row["question_id"], text)
