"""Study data: requests with the news in context, completions read or counted as lost, budgets that nest."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sys2ft.chat import Message
from sys2ft.errors import InputError
from sys2ft.settings.catalogue import KindSettings, TeacherSettings
from sys2ft.settings.stages import GenerateStudyStage
from sys2ft.study.generate import Studied, TooLittleKept, study_items
from sys2ft.study.parsing import parse_questions, parse_text
from sys2ft.study.engines.recorded import RecordedEngine
from sys2ft.study.requests import Request, Sample
from sys2ft.tables import build_table

ITEMS = [
    {"item": "ferry", "title": "A ferry", "text": "The ferry calls at Craywick."},
    {"item": "dravel", "title": "A dravel", "text": "A dravel has a keel {and} a mast."},
]
TEXT = KindSettings(instruction="Rewrite {title}.", max_new_tokens=40)
QUESTIONS = KindSettings(
    parser="questions",
    instruction="Ask {number} about {title}.",
    answer_instruction="Answer: {question}",
    max_new_tokens=40,
    answer_max_new_tokens=20,
)
SEED_PARTS = ("tiny", "kind", "split", 0)


def stage(kind: KindSettings, rows: int = 3, **changes: Any) -> GenerateStudyStage:
    return GenerateStudyStage(
        teacher=TeacherSettings(),
        kind=kind.model_copy(update=changes),
        rows=rows,
        context="News: {news}\n",
    )


class ToyTeacher:
    """Writes what a function says and remembers what it was asked."""

    def __init__(self, write: Callable[[Request], str], finish: str = "stop"):
        self.write, self.finish = write, finish
        self.calls: list[list[Request]] = []

    def __call__(self, requests: Sequence[Request]) -> list[Sample]:
        self.calls.append(list(requests))
        return [Sample(request, self.write(request), self.finish, 7, 5) for request in requests]


def ask_well(request: Request) -> str:
    """As many questions as are asked for, or an answer."""
    if request.call == "answer":
        return f"Answer {request.number}."
    numbers = request.rows
    return "\n".join(f"{number + 1}. What is {request.item} {number}?" for number in numbers)


def study(
    kind: KindSettings, teacher: Callable, rows: int = 3, seed_parts: Sequence = SEED_PARTS, **changes
) -> Studied:
    return study_items(ITEMS, stage(kind, rows, **changes), teacher, seed_parts)


# -------------------------------------------------------------------------------------------------------- reading texts
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
        ("It costs 3.5 crowns. The next 4.5 cr", "It costs 3.5 crowns."),
        ("(The ferry calls.) And", "(The ferry calls.)"),
        ("Here is a paraphrase:\nThe ferry calls. It", "The ferry calls."),
        ("Ü läuft. Ö", "Ü läuft."),
    ],
)
def test_the_unfinished_sentence_of_a_completion_that_its_limit_ended_is_cut(completion, text):
    assert parse_text(completion, "length") == (text, "kept")


@pytest.mark.parametrize("completion", ["The ferry calls at", "It costs 3.5 crowns a", "…"])
def test_a_completion_whose_first_sentence_was_not_finished_is_unparsed(completion):
    assert parse_text(completion, "length") == (completion, "unparsed")


def test_the_number_of_a_list_entry_is_no_finished_sentence():
    assert parse_text("1. The ferry calls at", "length")[1] == "unparsed"


def test_the_number_of_an_unfinished_list_entry_is_cut_with_it():
    assert parse_text("1. The ferry calls.\n2. It then", "length") == ("1. The ferry calls.", "kept")


@pytest.mark.parametrize("text", ['They call it "the draught."', '"Yes," said the council.'])
def test_quotes_that_do_not_enclose_the_whole_text_stay(text):
    assert parse_text(text, "stop") == (text, "kept")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["stop", "length"]))
def test_what_is_kept_is_part_of_what_was_written(completion, finish):
    text, status = parse_text(completion, finish)
    assert status in ("kept", "unparsed", "empty")
    assert text in completion
    assert (status == "empty") == (text == "")
    assert text == text.strip()


# ---------------------------------------------------------------------------------------------------- reading questions
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
    ],
)
def test_a_question_is_read_without_its_number_and_marks(line):
    assert parse_questions(line, 1) == ["What is it?"]


def test_a_question_in_quotes_is_read_without_them():
    assert parse_questions('1. "What is it?"', 1) == ["What is it?"]


@pytest.mark.parametrize("line", ["3.5 crowns are the price of what?", "¿Qué es?", "Qui a 2 œufs?", "数 is what?"])
def test_the_words_of_a_question_are_left_as_they_are(line):
    assert parse_questions(line, 1) == [line]


@pytest.mark.parametrize(
    "completion",
    ["", "\n\n", "The ferry calls.", "1.", "What is", "1. What is it", "Here are the questions:", "A: Craywick.", "?"],
)
def test_a_completion_without_a_question_gives_none(completion):
    assert parse_questions(completion, 3) == []


def test_a_list_is_read_line_by_line_without_its_preface_and_what_was_cut_off():
    completion = (
        "Here are three questions about the news:\n\n"
        "1. Where does the ferry call?\n"
        "   A: Craywick.\n\n"
        "2. **When does it turn?**\n"
        "3. Who pays ha"
    )
    assert parse_questions(completion, 3) == ["Where does the ferry call?", "When does it turn?"]


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


# -------------------------------------------------------------------------------------------------------- what is asked
def test_a_text_kind_makes_one_call_with_the_news_in_context_for_every_row():
    teacher = ToyTeacher(lambda request: f"Text {request.number}.")
    result = study(TEXT, teacher)
    (requests,) = teacher.calls
    assert [request.id for request in requests] == [
        "ferry/write/0", "ferry/write/1", "ferry/write/2", "dravel/write/0", "dravel/write/1", "dravel/write/2",
    ]  # fmt: skip
    assert requests[0].messages == (Message("user", "News: The ferry calls at Craywick.\nRewrite A ferry."),)
    assert {(request.max_new_tokens, len(request.rows)) for request in requests} == {(40, 1)}
    assert [(row["item"], row["row"], row["text"], row["question"]) for row in result.rows[2:4]] == [
        ("ferry", 2, "Text 2.", None), ("dravel", 0, "Text 0.", None),
    ]  # fmt: skip


def test_self_qa_makes_two_calls_and_both_have_the_news_in_context():
    teacher = ToyTeacher(ask_well)
    study(QUESTIONS, teacher, rows=2)
    write, answer = teacher.calls
    assert [request.id for request in write] == ["ferry/write/0", "ferry/write/1", "dravel/write/0", "dravel/write/1"]
    assert [request.id for request in answer] == [request.id.replace("write", "answer") for request in write]
    assert {request.max_new_tokens for request in write} == {40}
    assert {request.max_new_tokens for request in answer} == {20}
    texts = {item["item"]: item["text"] for item in ITEMS}
    for request in write + answer:
        (message,) = request.messages
        assert message.role == "user"
        assert message.content.startswith(f"News: {texts[request.item]}\n")
    assert write[2].messages[0].content.endswith("\nAsk 1 about A dravel.")
    assert answer[3].messages[0].content.endswith("\nAnswer: What is dravel 1?")


def test_self_qa_rows_pair_each_question_with_its_own_answer():
    answers = {
        "What is ferry 0?": "Zero.",
        "What is ferry 1?": "One.",
        "What is dravel 0?": "D0.",
        "What is dravel 1?": "D1.",
    }

    def write(request: Request) -> str:
        if request.call == "answer":
            return answers[request.messages[0].content.split("Answer: ")[1]]
        return ask_well(request)

    rows = study(QUESTIONS, ToyTeacher(write), rows=2, per_call=2).rows
    assert {row["question"]: row["text"] for row in rows} == answers
    assert [(row["item"], row["row"], row["request"]) for row in rows] == [
        ("ferry", 0, "ferry/answer/0"), ("ferry", 1, "ferry/answer/1"),
        ("dravel", 0, "dravel/answer/0"), ("dravel", 1, "dravel/answer/1"),
    ]  # fmt: skip


def test_completions_are_kept_untouched_and_fit_their_table():
    teacher = ToyTeacher(lambda request: f"  Here is it:\n\nText {request.number}. ")
    result = study(TEXT, teacher, rows=1)
    assert [row["completion"] for row in result.completions] == ["  Here is it:\n\nText 0. "] * 2
    assert [row["text"] for row in result.rows] == ["Text 0."] * 2
    keys = {"teacher": "tiny", "kind": "paraphrase", "split": "s", "seed": 0}
    engine = {"engine": "toy", "revision": "r", "temperature": 1.0, "top_p": 1.0, "top_k": 1}
    assert build_table("completions", result.completions, keys | engine).num_rows == 2
    assert build_table("study", result.rows, keys).num_rows == 2


@pytest.mark.parametrize(("rows", "per_call"), [(6, 4), (5, 2), (1, 3), (6, 3)])
def test_a_budget_gives_exactly_its_number_of_study_rows(rows, per_call):
    result = study(QUESTIONS, ToyTeacher(ask_well), rows=rows, per_call=per_call)
    assert [sum(row["item"] == item["item"] for row in result.rows) for item in ITEMS] == [rows, rows]


def test_a_text_kind_that_asks_for_several_rows_a_call_is_refused_since_a_completion_is_one_row():
    with pytest.raises(ValidationError):
        KindSettings(instruction="Rewrite this twice.", parser="text", per_call=2)


# ---------------------------------------------------------------------------------------------------------------- seeds
def seeds_of(teacher: ToyTeacher) -> list[int]:
    return [request.seed for call in teacher.calls for request in call]


def test_every_request_has_a_seed_of_its_own():
    teacher = ToyTeacher(ask_well)
    study(QUESTIONS, teacher, rows=4)
    seeds = seeds_of(teacher)
    assert len(set(seeds)) == len(seeds) == 16


@pytest.mark.parametrize("place", range(len(SEED_PARTS)))
def test_every_part_of_the_study_changes_all_seeds(place):
    changed = [*SEED_PARTS]
    changed[place] = f"other {changed[place]}"
    here, there = ToyTeacher(ask_well), ToyTeacher(ask_well)
    study(QUESTIONS, here)
    study(QUESTIONS, there, seed_parts=changed)
    assert set(seeds_of(here)).isdisjoint(seeds_of(there))


def test_an_items_requests_do_not_depend_on_its_neighbours():
    together, alone = ToyTeacher(ask_well), ToyTeacher(ask_well)
    study_items(ITEMS, stage(QUESTIONS), together, SEED_PARTS)
    study_items(ITEMS[1:], stage(QUESTIONS), alone, SEED_PARTS)
    assert [request for call in together.calls for request in call if request.item == "dravel"] == [
        request for call in alone.calls for request in call
    ]


def write_unevenly(request: Request) -> str:
    """Every third call is of no use."""
    return "Nothing to ask." if request.call == "write" and request.number % 3 == 1 else ask_well(request)


@pytest.mark.parametrize("kind", [TEXT, QUESTIONS], ids=["text", "questions"])
@settings(max_examples=15, deadline=None)
@given(small=st.integers(1, 5), more=st.integers(0, 5))
def test_the_first_rows_of_a_larger_budget_are_the_smaller_budget(kind, small, more):
    few, many = ToyTeacher(write_unevenly), ToyTeacher(write_unevenly)
    less = study(kind, few, rows=small, min_kept=0)
    full = study(kind, many, rows=small + more, min_kept=0)
    requests = {request.id: request for call in many.calls for request in call}
    assert all(requests[request.id] == request for call in few.calls for request in call)
    for item in ("ferry", "dravel"):
        first = [row for row in full.rows if row["item"] == item][:small]
        assert first == [row for row in less.rows if row["item"] == item]


# -------------------------------------------------------------------------------------------------------- what was lost
def test_questions_that_cannot_be_read_are_counted_and_not_answered():
    teacher = ToyTeacher(write_unevenly)
    rows = study(QUESTIONS, teacher, rows=3).rows
    assert [(row["item"], row["row"], row["status"], row["question"]) for row in rows[:3]] == [
        ("ferry", 0, "kept", "What is ferry 0?"),
        ("ferry", 1, "unparsed", None),
        ("ferry", 2, "kept", "What is ferry 2?"),
    ]
    assert len(teacher.calls[1]) == 4
    assert rows[1]["request"] == "ferry/write/1"


def test_a_call_that_gives_fewer_questions_than_asked_for_counts_the_others_as_unparsed():
    teacher = ToyTeacher(lambda request: "Only one?" if request.call == "write" else "Yes.")
    rows = study(QUESTIONS, teacher, rows=3, per_call=3).rows
    assert [row["status"] for row in rows] == ["kept", "unparsed", "unparsed"] * 2


def test_an_empty_answer_is_counted_as_empty():
    teacher = ToyTeacher(lambda request: "" if request.call == "answer" and request.number else ask_well(request))
    rows = study(QUESTIONS, teacher, rows=2).rows
    assert [(row["status"], row["question"] is None) for row in rows] == [("kept", False), ("empty", False)] * 2


def test_a_text_cut_off_within_its_first_sentence_is_counted_as_unparsed():
    def write(request: Request) -> str:
        return ["The ferry calls. It", "The ferry", "", "All. of"][request.number]

    rows = study(TEXT, ToyTeacher(write, "length"), rows=4).rows
    assert [row["status"] for row in rows] == ["kept", "unparsed", "empty", "kept"] * 2


def test_keeping_too_little_fails_and_names_the_item_and_the_counts():
    def write(request: Request) -> str:
        return "" if request.item == "dravel" and request.number else "Text."

    with pytest.raises(
        TooLittleKept, match=r"item 'dravel': 1 of 5 study rows could be read \(\{'empty': 4\}\)"
    ) as caught:
        study(TEXT, ToyTeacher(write), rows=5, min_kept=0.25)
    assert "25%" in str(caught.value)
    assert "ferry" not in str(caught.value)


def test_keeping_too_little_shows_a_completion_that_could_not_be_read():
    with pytest.raises(TooLittleKept, match="I cannot do that") as caught:
        study(QUESTIONS, ToyTeacher(lambda request: f"I cannot do that, {request.item}."), rows=2)
    assert "item 'ferry': 0 of 2 study rows" in str(caught.value)
    assert "{'unparsed': 2}" in str(caught.value)


def test_just_enough_is_enough():
    rows = study(TEXT, ToyTeacher(lambda r: "" if r.number else "Text."), rows=4, min_kept=0.25).rows
    assert sum(row["status"] == "kept" for row in rows) == 2


def test_an_item_of_which_nothing_was_kept_fails_even_where_nothing_is_asked_for():
    with pytest.raises(TooLittleKept, match="0 of 3"):
        study(TEXT, ToyTeacher(lambda request: ""), min_kept=0)  # noqa: ARG005


# -------------------------------------------------------------------------------------------------- recorded study data
RECORDED = """
study:
  ferry:
    paraphrase: ["One.", "Two.", "Three."]
    self_qa:
      - {question: "A one?", answer: "First."}
      - {question: "A two?", answer: "Second."}
      - {question: "A three?", answer: "Third."}
      - {question: "A four?", answer: "Fourth."}
"""


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(RECORDED)
    return path


def request(number: int, call: str = "write", rows: int = 1, item: str = "ferry") -> Request:
    return Request(item, call, number, range(number * rows, (number + 1) * rows), (Message("user", "x"),), 10, number)


def test_a_recorded_teacher_answers_in_the_order_of_the_requests(recorded):
    requests = [request(2), request(0), request(1)]
    samples = RecordedEngine(recorded, "paraphrase")(requests)
    assert [sample.text for sample in samples] == ["Three.", "One.", "Two."]
    assert [sample.request for sample in samples] == requests
    assert [sample.request.id for sample in samples] == ["ferry/write/2", "ferry/write/0", "ferry/write/1"]
    assert {(s.finish, s.prompt_tokens, s.completion_tokens) for s in samples} == {("stop", None, None)}


def test_a_recorded_teacher_writes_as_many_questions_as_a_call_asks_for_and_answers_each(recorded):
    engine = RecordedEngine(recorded, "self_qa")
    (both,) = engine([request(1, rows=2)])
    assert both.text == "A three?\nA four?"
    assert [sample.text for sample in engine([request(3, "answer"), request(0, "answer")])] == ["Fourth.", "First."]


def test_recorded_study_data_take_the_same_way_as_generated_ones(recorded):
    rows = study_items(ITEMS[:1], stage(QUESTIONS, 4, per_call=2), RecordedEngine(recorded, "self_qa"), SEED_PARTS).rows
    assert [(row["row"], row["question"], row["text"], row["status"]) for row in rows] == [
        (0, "A one?", "First.", "kept"),
        (1, "A two?", "Second.", "kept"),
        (2, "A three?", "Third.", "kept"),
        (3, "A four?", "Fourth.", "kept"),
    ]


@pytest.mark.parametrize(
    ("kind", "asked", "have"),
    [
        ("paraphrase", request(3), "has 3 rows of 'paraphrase'"),
        ("self_qa", request(1, rows=3), "has 4 rows of 'self_qa'"),
        ("implication", request(0), "has 0 rows of 'implication'"),
    ],
)
def test_too_few_recorded_rows_are_bad_input(recorded, kind, asked, have):
    with pytest.raises(InputError) as caught:
        RecordedEngine(recorded, kind)([asked])
    message = str(caught.value)
    assert message.startswith(f"{recorded}: study.ferry: {have}")
    assert "To mend: write more, or lower budget.study_rows." in message


def test_an_item_that_was_not_recorded_is_bad_input(recorded):
    with pytest.raises(InputError, match=r"study\.dravel: has 0 rows of 'paraphrase'"):
        RecordedEngine(recorded, "paraphrase")([request(0, item="dravel")])
