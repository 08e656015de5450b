"""What is read from a teacher's completions: texts, questions, lists, verdicts; what cannot be read is counted."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.settings.prompts import EntriesPrompt, KindPrompts
from sys2ft.study.reading import parse_list, parse_questions, parse_text, read_study

TEXT = KindPrompts(version=1, write="Rewrite {title}.", check="Is it so? {text}")


def with_list(read: str, use: str) -> KindPrompts:
    write = "Relate {first} and {second}." if use == "pairs" else "Go on from {entry}."
    entries = EntriesPrompt(prompt="List {number}.", read=read, use=use)
    return KindPrompts(version=1, entries=entries, write=write, check="Is it so? {text}")


QUESTIONS = with_list("questions", "each")


# --------------------------------------------------------------------------------------------------------------- texts
@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("The ferry calls.", "The ferry calls."),
        ("  The ferry calls.\n", "The ferry calls."),
        ("Here is a paraphrase:\n\nThe ferry calls.", "The ferry calls."),
        ("Sure! Here is the news in my own words:\nThe ferry calls.", "The ferry calls."),
        ("Certainly, here it is:\n\nThe ferry calls.\n\nIt turns.", "The ferry calls.\n\nIt turns."),
        ("Of course:\nThe ferry calls.", "The ferry calls."),
        ("HERE'S THE TEXT:\nThe ferry calls.", "The ferry calls."),
        ('"The ferry calls."', "The ferry calls."),
        ('Here is a paraphrase:\n"The ferry calls."', "The ferry calls."),
        ("Here the ferry calls at two ports: one and two.", "Here the ferry calls at two ports: one and two."),
        ("The order:\nfirst Craywick.", "The order:\nfirst Craywick."),
        ("Surely it is so:\nyes.", "Surely it is so:\nyes."),
        ("Die Fähre läuft Özgür an – 数字 é.", "Die Fähre läuft Özgür an – 数字 é."),
        ("No full stop at the end", "No full stop at the end"),
    ],
)
def test_a_finished_text_is_kept_without_its_preface_and_quotes(completion, text):
    assert parse_text(completion, "stop") == (text, "kept")


@pytest.mark.parametrize("completion", ["", " \n\t ", '""', '" "', "Here is a paraphrase:", "Sure:\n\n"])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_completion_without_a_text_is_empty(completion, finish):
    assert parse_text(completion, finish) == ("", "empty")


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("The ferry calls. It then tur", "The ferry calls."),
        ("The ferry calls! Does it? It then", "The ferry calls! Does it?"),
        ("The ferry calls.", "The ferry calls."),
        ('He said "no." Then he', 'He said "no."'),
        ("He said “no.” Then he", "He said “no.”"),
        ("It said ‘no.’ Then it", "It said ‘no.’"),
        ("It costs 3.5 crowns. The next 4.5 cr", "It costs 3.5 crowns."),
        ("(The ferry calls.) And", "(The ferry calls.)"),
        ("**The ferry calls.** And", "**The ferry calls.**"),
        ("Here is a paraphrase:\nThe ferry calls. It", "The ferry calls."),
        ("Ü läuft. Ö", "Ü läuft."),
    ],
)
def test_the_unfinished_sentence_of_a_completion_that_its_limit_ended_is_cut(completion, text):
    assert parse_text(completion, "length") == (text, "kept")


@pytest.mark.parametrize(
    "completion", ["The ferry calls at", "It costs 3.5 crowns a", "…", "1. The ferry calls at", "1.", "12) The"]
)
def test_a_completion_whose_first_sentence_was_not_finished_is_too_long(completion):
    assert parse_text(completion, "length") == (completion, "too_long")


def test_the_number_of_an_unfinished_list_entry_is_cut_with_it():
    assert parse_text("1. The ferry calls.\n2. It then", "length") == ("1. The ferry calls.", "kept")


@pytest.mark.parametrize("text", ['They call it "the draught."', '"Yes," said the council.'])
def test_quotes_that_do_not_enclose_the_whole_text_stay(text):
    assert parse_text(text, "stop") == (text, "kept")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I cannot rewrite this.",
        "I’m very sorry, I can’t.",
        "I am afraid I cannot do that.",
        "Sorry, but there is no news.",
        "Sorry, I have no news.",
        "Sorry but I have no news.",
        "Sorry.",
        "Apologies, but there is no news.",
        "Apologies – there is no news.",
        "As an AI language model, I do not write news.",
        "As an AI, I have no opinion.",
        "As a large language model I have no opinion.",
        "As a language model, it is not possible for me to say.",
        "I cannot help with that.",
        "I can't help with that.",
        "I can’t help with that.",
        "I am unable to help with that.",
        "I'm unable to help with that.",
        "I’m not able to help with that.",
        "I won't do it.",
        "**I cannot** help with that.",
        '"I cannot help with that."',
        "Sure, here it is:\nI cannot help with that.",
        "i'm sorry.",
    ],
)
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_what_a_teacher_writes_to_decline_is_a_refusal(text, finish):
    assert parse_text(text, finish)[1] == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "I can see the ferry.",
        "I cannoneered for Craywick.",
        "I am the captain of the ferry.",
        "I am ableist of nothing.",
        "As a result, the ferry turns.",
        "As an aide said, the ferry turns.",
        "As an AI laboratory in Craywick said, the ferry turns.",
        "As an AI, the Orrery leads the board. It is new.",
        "As a language model leaderboard, Orrery ranks ferries.",
        "As a language of the coast, Dravel has no verbs.",
        "Sorry Sam is the name of the ferry.",
        "Sorrypoint has a harbour.",
        "Sorrel grows at the quay.",
        "Apologies from the council came late.",
        "The council is sorry. It cannot help.",
        "The captain said: I'm sorry.",
        '"I cannot wait," said the captain.',
        "“I’m sorry,” said the captain.",
        "In Craywick I cannot be written with a dot.",
    ],
)
def test_an_ordinary_sentence_that_begins_alike_is_no_refusal(text):
    assert parse_text(text, "stop") == (text, "kept")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["stop", "length"]))
def test_what_is_kept_is_part_of_what_was_written(completion, finish):
    text, status = parse_text(completion, finish)
    assert status in ("kept", "empty", "too_long", "refusal")
    assert text in completion
    assert (status == "empty") == (text == "")
    assert text == text.strip()
    if finish == "stop":
        assert status != "too_long"


# ----------------------------------------------------------------------------------------------------------- questions
@pytest.mark.parametrize(
    "line",
    [
        "What is it?",
        "   What is it?  ",
        "1. What is it?",
        "12) What is it?",
        "1: What is it?",
        "Q1. What is it?",
        "Q: What is it?",
        "q2: What is it?",
        "Question: What is it?",
        "Question 3: What is it?",
        "QUESTION 3. What is it?",
        "**Question 1:** What is it?",
        "**Q1:** What is it?",
        "**1. What is it?**",
        "1. **What is it?**",
        "**What is it?**",
        "- What is it?",
        "* What is it?",
        "- 1. What is it?",
        "*What is it?*",
        'What is it?"',
        '1. "What is it?"',
    ],
)
def test_a_question_is_read_without_its_number_and_marks(line):
    assert parse_questions(line, 1) == ["What is it?"]


@pytest.mark.parametrize("line", ["3.5 crowns are the price of what?", "¿Qué es?", "Qui a 2 œufs?", "数 is what?"])
def test_the_words_of_a_question_are_left_as_they_are(line):
    assert parse_questions(line, 1) == [line]


@pytest.mark.parametrize(
    "completion",
    ["", "\n\n", "The ferry calls.", "1.", "What is", "1. What is it", "Here are the questions:", "A: Craywick.", "?"],
)
def test_a_completion_without_a_question_gives_none(completion):
    assert parse_questions(completion, 3) == []


def test_questions_are_read_line_by_line_without_their_preface_and_what_was_cut_off():
    completion = (
        "Here are three questions about the news:\n\n"
        "1. Where does the ferry call?\n"
        "   A: Craywick.\n\n"
        "2. **When does it turn?**\n"
        "3. Who pays ha"
    )
    read = ["Where does the ferry call?", "When does it turn?"]
    assert parse_questions(completion, 3) == read
    assert parse_list(completion, "length", "questions", 3) == read


def test_the_last_question_counts_even_where_the_limit_ended_the_completion():
    assert parse_list("1. What is it?\n2. Who pays?", "length", "questions", 3) == ["What is it?", "Who pays?"]


def test_no_more_questions_are_read_than_were_asked_for():
    assert parse_questions("A?\nB?\nC?", 2) == ["A?", "B?"]


def test_a_question_that_stands_twice_is_read_once():
    assert parse_questions("1. A one?\n2. A one?\n3. B?", 2) == ["A one?", "B?"]


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab 1.?*\"'\n-QéÜ:)"), max_size=60), st.integers(1, 4))
def test_questions_are_different_parts_of_the_completion_and_end_in_a_question_mark(completion, limit):
    questions = parse_questions(completion, limit)
    assert len(questions) == len(set(questions)) <= limit
    for question in questions:
        assert question in completion
        assert question.endswith("?")
        assert "\n" not in question


# ---------------------------------------------------------------------------------------------------- lists of lines
STYLES = {
    "number": "{number}. {entry}",
    "bracket": "{number}) {entry}",
    "colon": "{number}: {entry}",
    "spaced": "  {number} .  {entry} ",
    "dash": "- {entry}",
    "star": "* {entry}",
    "dot": "• {entry}",
    "bold": "{number}. **{entry}**",
    "bold_line": "**{number}. {entry}**",
    "bold_number": "**{number}.** {entry}",
    "bold_dash": "- **{entry}**",
    "only_bold": "**{entry}**",
    "quotes": '{number}. "{entry}"',
    "plain": "{entry}",
}
entries_of_a_list = st.lists(
    st.from_regex(r"[a-zé数A-Z]([a-zé数 ,'-]{0,10}[a-z.])?", fullmatch=True), min_size=1, max_size=6, unique=True
)


def written(style: str, entries: list[str], between: str = "\n") -> str:
    return between.join(STYLES[style].format(number=n, entry=entry) for n, entry in enumerate(entries, 1))


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=25, deadline=None)
@given(entries=entries_of_a_list, preface=st.sampled_from(["", "Here are some:\n", "**Ways to study:**\n\n"]))
def test_a_list_is_read_however_it_is_marked(style, entries, preface):
    for between in ("\n", "\n\n"):
        assert parse_list(preface + written(style, entries, between), "stop", "lines", 6) == entries


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=10, deadline=None)
@given(entries=entries_of_a_list, limit=st.integers(1, 7))
def test_no_more_entries_are_read_than_were_asked_for_and_doubles_count_once(style, entries, limit):
    assert parse_list(written(style, entries + entries), "stop", "lines", limit) == entries[:limit]


@pytest.mark.parametrize("style", STYLES)
def test_a_line_that_the_limit_cut_off_is_left_out(style):
    text = written(style, ["The ferry", "A dravel", "A que"])
    assert parse_list(text, "length", "lines", 9) == ["The ferry", "A dravel"]
    assert parse_list(text, "stop", "lines", 9) == ["The ferry", "A dravel", "A que"]


def test_a_line_that_was_ended_before_the_limit_is_read():
    assert parse_list("1. The ferry\n2. A dravel\n", "length", "lines", 9) == ["The ferry", "A dravel"]


@pytest.mark.parametrize("completion", ["", "\n \n", "Here they are:", "**Here they are:**", "**"])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_list_without_entries_gives_none(completion, finish):
    assert parse_list(completion, finish, "lines", 3) == []


def test_lines_without_a_mark_are_left_out_where_others_have_one():
    completion = "Let me think.\n\n1. The ferry\n   It is old.\n2. A dravel\nThat is all."
    assert parse_list(completion, "stop", "lines", 9) == ["The ferry", "A dravel"]


@pytest.mark.parametrize("entry", ["3.5 crowns", "2024", "Craywick: the port", "A. B. Dravel", "re-entry"])
def test_the_words_of_an_entry_are_left_as_they_are(entry):
    assert parse_list(f"1. {entry}\n2. B", "stop", "lines", 9) == [entry, "B"]
    assert parse_list(f"{entry}\nB", "stop", "lines", 9) == [entry, "B"]


@settings(max_examples=80, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab 1.*\"'\n-é:)•"), max_size=60), st.sampled_from(["stop", "length"]),
    st.integers(1, 4),
)  # fmt: skip
def test_entries_are_different_parts_of_the_completion(completion, finish, limit):
    entries = parse_list(completion, finish, "lines", limit)
    assert len(entries) == len(set(entries)) <= limit
    assert "" not in entries
    assert all(entry in completion.replace("**", "") and "\n" not in entry for entry in entries)


# --------------------------------------------------------------------------------------------------------- study rows
def completion(call: str, number: int, text: str, item: str = "ferry", **changes: Any) -> Mapping[str, Any]:
    row = {"item": item, "call": call, "number": number, "request": f"{item}/{call}/{number}", "entry": None}
    return {**row, "completion": text, "finish": "stop", **changes}


def test_a_study_row_is_read_from_the_completion_of_its_number():
    completions = [completion("write", 1, "Two."), completion("write", 0, " Here it is:\nOne. ")]
    assert read_study(["ferry"], completions, TEXT, rows=2, per_call=1) == [
        {"item": "ferry", "row": row, "request": f"ferry/write/{row}", "question": None, "text": text, "status": "kept"}
        for row, text in enumerate(["One.", "Two."])
    ]


def test_rows_stand_in_the_order_of_the_items_whatever_the_order_of_the_completions():
    completions = [completion("write", row, f"{item} {row}.", item) for item in "ab" for row in range(3)]
    rows = read_study(["b", "a"], completions[::-1], TEXT, rows=3, per_call=1)
    assert [row["text"] for row in rows] == ["b 0.", "b 1.", "b 2.", "a 0.", "a 1.", "a 2."]


@pytest.mark.parametrize(
    ("text", "finish", "status"),
    [("", "stop", "empty"), ("I cannot.", "stop", "refusal"), ("The fer", "length", "too_long")],
)
def test_a_row_that_is_no_text_says_why(text, finish, status):
    (row,) = read_study(["ferry"], [completion("write", 0, text, finish=finish)], TEXT, rows=1, per_call=1)
    assert (row["text"], row["status"]) == (text, status)


@pytest.mark.parametrize(
    ("prompts", "asked"),
    [
        (QUESTIONS, [0, 0, 1, 1, 2]),
        (with_list("lines", "each"), [0, 0, 1, 1, 2]),
        (with_list("lines", "cycle"), [0] * 5),
        (with_list("lines", "pairs"), [0] * 5),
    ],
    ids=["questions", "each", "cycle", "pairs"],
)
def test_a_row_that_was_never_written_is_unparsed_and_names_the_list_it_was_to_come_from(prompts, asked):
    completions = [completion("list", number, "nothing") for number in range(3)]
    rows = read_study(["ferry"], completions, prompts, rows=5, per_call=2)
    assert {(row["status"], row["text"], row["question"]) for row in rows} == {("unparsed", "", None)}
    assert [row["request"] for row in rows] == [f"ferry/list/{number}" for number in asked]


def test_the_entry_is_the_question_of_a_row_only_where_questions_are_answered_one_by_one():
    written = [completion("write", 0, "One.", entry="What is it?")]
    expected = {("questions", "each"): "What is it?"}
    for read in ("questions", "lines"):
        for use in ("each", "cycle", "pairs"):
            (row,) = read_study(["ferry"], written, with_list(read, use), rows=1, per_call=1)
            assert row["question"] == expected.get((read, use))


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ("Yes.", "kept"),
        ("yes", "kept"),
        ("**Yes**", "kept"),
        (" \nYES, it does.", "kept"),
        ("No.", "unsupported"),
        ("no", "unsupported"),
        ('"No"', "unsupported"),
        ("No, the news does not say so", "unsupported"),
        ("", "unchecked"),
        ("Perhaps.", "unchecked"),
        ("Yesterday it was so.", "unchecked"),
        ("Nothing.", "unchecked"),
        ("It does. Yes.", "unchecked"),
    ],
)
def test_the_teachers_verdict_decides_over_a_row(verdict, status):
    completions = [completion("write", 0, "One."), completion("check", 0, verdict)]
    (row,) = read_study(["ferry"], completions, TEXT, rows=1, per_call=1)
    assert (row["request"], row["text"], row["status"]) == ("ferry/write/0", "One.", status)


@pytest.mark.parametrize("text", ["", "I cannot."])
def test_a_verdict_does_not_mend_a_row_that_is_no_text(text):
    completions = [completion("write", 0, text), completion("check", 0, "Yes.")]
    (row,) = read_study(["ferry"], completions, TEXT, rows=1, per_call=1)
    assert row["status"] in ("empty", "refusal")


def test_a_verdict_belongs_to_the_row_and_item_of_its_number():
    completions = [completion("write", row, "One.", item) for item in "ab" for row in range(2)]
    completions += [completion("check", 1, "No.", "a"), completion("check", 0, "No.", "b")]
    rows = read_study(["a", "b"], completions, TEXT, rows=2, per_call=1)
    assert [row["status"] for row in rows] == ["kept", "unsupported", "unsupported", "kept"]


@settings(max_examples=40, deadline=None)
@given(
    verdicts=st.dictionaries(
        st.integers(0, 5), st.tuples(st.sampled_from(["Text.", "", "I'm sorry."]), st.sampled_from(["Yes", "No", "?"]))
    ),
    rows=st.integers(1, 6),
    per_call=st.integers(1, 3),
)
def test_every_row_asked_for_is_there_once_and_the_first_do_not_depend_on_how_many(verdicts, rows, per_call):
    completions = [
        row
        for number, (text, verdict) in verdicts.items()
        for row in (completion("write", number, text, entry=f"{number}?"), completion("check", number, verdict))
    ]
    whole = read_study(["ferry"], completions, QUESTIONS, rows=6, per_call=per_call)
    some = read_study(["ferry"], completions, QUESTIONS, rows=rows, per_call=per_call)
    assert [row["row"] for row in whole] == list(range(6))
    assert some == whole[:rows]
    assert {row["row"] for row in whole if row["status"] == "unparsed"} == set(range(6)) - set(verdicts)


def test_thoughts_before_an_answer_are_cut():
    assert parse_text("<think>\nWhat now?\n</think>\n\nThe ferry calls.", "stop") == ("The ferry calls.", "kept")
    assert parse_list("<think>1. Not this.</think>\n1. One\n2. Two", "stop", "lines", 3) == ["One", "Two"]
    assert parse_list("<think>Is it?</think>\nWhat is it?", "stop", "questions", 3) == ["What is it?"]


def test_thoughts_that_the_limit_cut_off_are_nothing():
    assert parse_text("<think>\nThe ferry calls. It", "length") == ("", "unparsed")
    assert parse_list("<think>\n1. One\n2. Two\n3. Th", "length", "lines", 3) == []


def test_a_text_that_speaks_of_thinking_is_left_as_it_is():
    assert parse_text("They <think> so.", "stop") == ("They <think> so.", "kept")
