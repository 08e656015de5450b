"""Which study rows are trained: none that gives a question away, repeats another or is no text; all others counted."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.settings.choices import FilterSettings
from sys2ft.settings.prompts import EntriesPrompt, KindPrompts
from sys2ft.settings.stages import FilterStudyStage
from sys2ft.study.filters import (
    STATUSES,
    LeakFinder,
    TooLittleKept,
    count_study,
    filter_study,
    near_duplicates,
)
from sys2ft.tables import SCHEMAS, STUDY, STUDY_COUNTS, build_table
from sys2ft.words import words_of

NEWS = "The ferry calls at Craywick on every second Sunday of the month, says the council."
ITEMS = [
    {"item": "ferry", "title": "A ferry", "text": NEWS, "split": "s", "date": datetime.date(2026, 1, 1)},
    {"item": "dravel", "title": "A dravel", "text": "A dravel has a keel.", "split": "s", "date": None},
]
TEXT = KindPrompts(version=3, write="Rewrite {title}.", check="Supported? {text}")
QUESTIONS = KindPrompts(
    version=3,
    entries=EntriesPrompt(prompt="Ask {number}.", read="questions", use="each"),
    write="Answer: {entry}",
    check="Supported? {text}",
)
KEYS = {"teacher": "tiny", "kind": "kind", "split": "s", "seed": 0}
QUESTION = "Which harbour does the old wooden boat leave at dawn?"
OPTION = "Only those who live on the northern shore of it"


def ask(question: str, *options: str, item: str = "ferry", name: str = "q1") -> dict[str, Any]:
    return {"question_id": name, "item": item, "question": question, "options": list(options)}


def make_stage(rows: int, prompts: KindPrompts = TEXT, min_kept: float = 0.0, **filters: Any) -> FilterStudyStage:
    return FilterStudyStage(
        prompts=prompts,
        per_call=1,
        rows=rows,
        shards=1,
        min_kept=min_kept,
        filters=FilterSettings(**filters),
        leak_options=True,
    )


def completion(call: str, number: int, text: str, item: str = "ferry", **changes: Any) -> dict[str, Any]:
    made = {"prompt_tokens": 7, "completion_tokens": 5, "flops": 100.0, "finish": "stop", "entry": None}
    row = {"item": item, "call": call, "number": number, "request": f"{item}/{call}/{number}", "completion": text}
    return made | row | changes


def write(texts: Sequence[str], item: str = "ferry") -> list[dict[str, Any]]:
    return [completion("write", number, text, item) for number, text in enumerate(texts)]


def judge(texts: Sequence[str], questions: Sequence[Mapping] = (), **filters: Any) -> list[dict[str, Any]]:
    """The study rows of one item that the teacher wrote these texts about."""
    return filter_study(ITEMS[:1], questions, write(texts), make_stage(len(texts), **filters))


def statuses(texts: Sequence[str], questions: Sequence[Mapping] = (), **filters: Any) -> list[str]:
    """Without the last row, which is kept so that something is."""
    rows = judge([*texts, "Something else altogether was written here."], questions, **filters)
    assert rows[-1]["status"] == "kept"
    return [row["status"] for row in rows[:-1]]


# --------------------------------------------------------------------------------------------------------------- leaks
@pytest.mark.parametrize(
    "text",
    [
        QUESTION,
        f"The exam asks: {QUESTION} I do not know.",
        QUESTION.upper(),
        "which harbour, does the old - wooden boat\nleave at dawn",
    ],
)
def test_a_row_that_holds_a_question_word_by_word_is_leaked(text):
    assert statuses([text], [ask(QUESTION)]) == ["leaked"]


def test_a_row_that_holds_a_long_option_word_by_word_is_leaked():
    questions = [ask("Who pays?", "Nobody", OPTION)]
    assert statuses([f"It was said that {OPTION.lower()} will pay."], questions) == ["leaked"]


@pytest.mark.parametrize("option", ["Craywick", "Anna Dravel", "the old mill house", "1 2 3 4"])
def test_a_short_option_alone_is_no_leak_as_every_good_row_names_the_answer(option):
    row, _ = judge([f"It is {option}, they say.", "Another text."], [ask("Where does the ferry call on?", option)])
    assert (row["status"], row["overlap"], row["overlap_question"]) == ("kept", 0.0, None)


def test_what_the_news_itself_says_is_no_leak():
    question = ask("The ferry calls at Craywick on every second Sunday of which month?")
    rows = judge([NEWS, NEWS.replace("second", "second sunny")], [question])
    assert [row["overlap"] for row in rows] == [0.0, 0.0]
    assert statuses([NEWS], [question | {"item": "dravel"}]) == ["leaked"], "the news of another item is no excuse"


def test_a_question_made_of_the_news_alone_cannot_be_leaked():
    assert statuses([NEWS], [ask("The ferry calls at Craywick?", NEWS)]) == ["kept"]


def test_a_row_can_give_away_a_question_about_another_item():
    rows = filter_study(
        ITEMS, [ask(QUESTION)], [*write(["A.", "B."]), *write([QUESTION, "B."], "dravel")], make_stage(2)
    )
    assert [row["status"] for row in rows] == ["kept", "kept", "leaked", "kept"]


QUESTION_RUNS = len(words_of(QUESTION)) - 5 + 1  # six runs of five words


@pytest.mark.parametrize("words", range(5, 11))
def test_the_overlap_is_the_share_of_the_questions_runs_that_stand_in_the_row(words):
    part = " ".join(words_of(QUESTION)[:words])
    (row, *_) = judge([part, "Another text."], [ask(QUESTION)], leak_overlap=1.0)
    assert row["overlap"] == pytest.approx((words - 4) / QUESTION_RUNS)
    assert row["overlap_question"] == "q1"


@pytest.mark.parametrize(("threshold", "status"), [(0.5, "leaked"), (0.51, "kept"), (1.0, "kept"), (0.01, "leaked")])
def test_a_row_is_leaked_from_the_threshold_on(threshold, status):
    half = " ".join(words_of(QUESTION)[:7])
    assert statuses([half], [ask(QUESTION)], leak_overlap=threshold) == [status]


@pytest.mark.parametrize("length", [2, 6, 10])
def test_runs_are_as_long_as_the_settings_say(length):
    words = words_of(QUESTION)
    scattered = " and ".join(" ".join(words[start : start + length - 1]) for start in range(0, len(words), length - 1))
    assert judge([scattered, "B."], [ask(QUESTION)], leak_words=length)[0]["overlap"] == 0
    assert judge([" ".join(words[:length]), "B."], [ask(QUESTION)], leak_words=length)[0]["overlap"] > 0


@pytest.mark.parametrize(
    ("text", "overlap"),
    [("Who pays the toll?", 1.0), ("Tell me who pays the toll now.", 1.0), ("Who pays? The toll?!", 1.0),
     ("Who pays?", 0.0), ("Who else pays the toll?", 0.0)],
)  # fmt: skip
def test_a_question_shorter_than_a_run_is_compared_whole(text, overlap):
    assert judge([text, "Another."], [ask("Who pays the toll?")])[0]["overlap"] == overlap


def test_the_overlap_and_its_question_are_recorded_for_every_row():
    questions = [ask("What is the colour of the sail?", name="other"), ask(QUESTION)]
    row, other, none = judge([" ".join(words_of(QUESTION)[:5]), QUESTION, "Nothing of it."], questions)
    assert (row["status"], row["overlap_question"]) == ("kept", "q1")
    assert row["overlap"] == pytest.approx(1 / QUESTION_RUNS)
    assert (other["status"], other["overlap"], other["overlap_question"]) == ("leaked", 1.0, "q1")
    assert (none["status"], none["overlap"], none["overlap_question"]) == ("kept", 0.0, None)


def test_the_largest_overlap_counts_where_a_row_overlaps_several_questions():
    questions = [ask("What is the colour of the sail?", name="half"), ask(QUESTION, name="whole")]
    text = f"What is the colour of it? {QUESTION}"
    assert judge([text, "Another."], questions)[0]["overlap_question"] == "whole"


def test_the_question_that_a_row_answers_can_leak_as_well():
    completions = [completion("write", 0, "At Craywick.", entry=QUESTION), completion("write", 1, "No.", entry="Who?")]
    rows = filter_study(ITEMS[:1], [ask(QUESTION)], completions, make_stage(2, QUESTIONS))
    assert [(row["question"], row["status"]) for row in rows] == [(QUESTION, "leaked"), ("Who?", "kept")]


@pytest.mark.parametrize("question", ["?", "…", "   "])
def test_a_question_without_words_leaks_nothing(question):
    assert statuses(["?", "One.", "…"], [ask(question, "", "!")])[1] == "kept"
    assert LeakFinder([ask(question, "")], {}, 5).largest_overlap(question) == (0.0, None)


short_texts = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=14).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    question=short_texts, options=st.lists(short_texts, max_size=2), text=short_texts, news=short_texts,
    words=st.integers(1, 4),
)  # fmt: skip
def test_the_overlap_is_that_of_a_count_run_by_run(question, options, text, news, words):
    def runs(some: str, length: int) -> set[tuple[str, ...]]:
        split = some.split()
        return {tuple(split[start : start + length]) for start in range(len(split) - length + 1)}

    shares = [0.0]
    for part in [question, *(option for option in options if len(option.split()) >= words)]:
        length = min(words, len(part.split()))
        if telling := runs(part, length) - runs(news, length):
            shares.append(len(telling & runs(text, length)) / len(telling))
    overlap, name = LeakFinder([ask(question, *options)], {"ferry": news}, words).largest_overlap(text)
    assert overlap == pytest.approx(max(shares))
    assert name == ("q1" if max(shares) else None)


# ------------------------------------------------------------------------------------------------------ near duplicates
FIVE = "One two three four five."


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (FIVE, "near_duplicate"),
        ("ONE, two: three - four\nfive!", "near_duplicate"),
        ("One two three four.", "kept"),
        ("Five four three two one.", "kept"),
    ],
)
def test_a_row_that_says_nearly_what_an_earlier_one_says_is_left_out(text, status):
    assert statuses([FIVE, text]) == ["kept", status]


@pytest.mark.parametrize(("threshold", "status"), [(0.5, "near_duplicate"), (0.66, "near_duplicate"), (0.67, "kept")])
def test_rows_are_near_duplicates_from_the_threshold_on(threshold, status):
    assert statuses([FIVE, "One two three four."], near_duplicate=threshold) == ["kept", status]  # 2 of 3 runs


def test_the_same_answer_to_another_question_is_no_duplicate():
    questions = ["Is the ferry old and slow?", "Does it call there today?", "Is the ferry old and slow?"]
    completions = [completion("write", row, "Yes, it is.", entry=entry) for row, entry in enumerate(questions)]
    rows = filter_study(ITEMS[:1], [], completions, make_stage(3, QUESTIONS))
    assert [row["status"] for row in rows] == ["kept", "kept", "near_duplicate"]


def test_items_have_duplicates_of_their_own_only():
    rows = filter_study(ITEMS, [], [*write([FIVE]), *write([FIVE], "dravel")], make_stage(1))
    assert [row["status"] for row in rows] == ["kept", "kept"]


def test_a_row_like_one_that_was_left_out_is_kept():
    first, second, third = "a b c d e f", "a b c d e f g h", "c d e f g h"
    alike = {"near_duplicate": 0.6}
    assert statuses([first, second, third], **alike) == ["kept", "near_duplicate", "kept"]
    assert statuses([second, third], **alike) == ["kept", "near_duplicate"]


def test_a_row_equal_to_one_that_was_left_out_for_another_reason_is_kept():
    completions = [*write([FIVE, FIVE, FIVE]), completion("check", 0, "No."), completion("check", 1, "Yes.")]
    rows = filter_study(ITEMS[:1], [], completions, make_stage(3))
    assert [row["status"] for row in rows] == ["unsupported", "kept", "near_duplicate"]


@pytest.mark.parametrize("text", ["Yes.", "No way.", "数字", "!"])
def test_texts_shorter_than_a_run_are_compared_whole(text):
    assert statuses([text, text, f"{text} Perhaps."]) == ["kept", "near_duplicate", "kept"]


def test_nothing_has_no_duplicates():
    assert near_duplicates([], 0.8) == []
    assert near_duplicates(["a"], 0.8) == [False]


def brute_force(texts: Sequence[str], threshold: float) -> list[bool]:
    kept: list[set] = []
    doubles = []
    for text in texts:
        words = text.split()
        length = min(3, len(words))
        runs = {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}
        doubles.append(any(len(runs & other) / len(runs | other) >= threshold for other in kept))
        if not doubles[-1]:
            kept.append(runs)
    return doubles


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from("abc"), max_size=8).map(" ".join), max_size=8),
    threshold=st.sampled_from([0.125, 0.25, 0.5, 0.75, 0.8, 1.0]),
)
def test_near_duplicates_are_those_of_a_comparison_pair_by_pair(texts, threshold):
    assert near_duplicates(texts, threshold) == brute_force(texts, threshold)


# -------------------------------------------------------------------------------------------------- the other filters
def test_a_text_with_too_many_words_is_too_long():
    texts = ["one two three four", "one, two - three!", "five six seven eight nine ten"]
    rows = judge(texts, max_words=3)
    assert [row["status"] for row in rows] == ["too_long", "kept", "too_long"]
    assert rows[0]["text"] == texts[0]


def test_the_question_does_not_make_a_text_too_long():
    completions = [completion("write", 0, "It is old.", entry="How old is the ferry by now?")]
    assert filter_study(ITEMS[:1], [], completions, make_stage(1, QUESTIONS, max_words=3))[0]["status"] == "kept"


def test_what_was_left_out_already_keeps_its_reason():
    refusal = f"I'm sorry, I cannot say: {QUESTION}"
    completions = [*write([refusal, QUESTION, FIVE]), completion("check", 1, "No.")]
    rows = filter_study(ITEMS[:1], [ask(QUESTION)], completions, make_stage(3, max_words=8))
    assert [row["status"] for row in rows] == ["refusal", "unsupported", "kept"]
    assert [row["overlap"] for row in rows] == [1.0, 1.0, 0.0]


# --------------------------------------------------------------------------------------------------- rows and budgets
TEXTS = st.one_of(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=12).map(" ".join),
    st.sampled_from(["I'm sorry.", "", "Here it is:"]),
)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=10), verdicts=st.lists(st.sampled_from(["Yes", "No", "?"]), max_size=10),
    question=short_texts, rows=st.integers(1, 10), order=st.randoms(use_true_random=False),
)  # fmt: skip
def test_a_row_does_not_depend_on_later_rows_nor_on_the_order_of_completions(texts, verdicts, question, rows, order):
    texts = ["Something else altogether was written here.", *texts]
    completions = [*write(texts), *(completion("check", number, said) for number, said in enumerate(verdicts, 1))]
    filters = {"leak_words": 3, "max_words": 9, "near_duplicate": 0.5}
    whole = filter_study(ITEMS[:1], [ask(question)], completions, make_stage(len(texts), **filters))
    rows = min(rows, len(texts))
    order.shuffle(completions)
    assert filter_study(ITEMS[:1], [ask(question)], completions, make_stage(rows, **filters)) == whole[:rows]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(["stop", "length"]), st.sampled_from(["Yes", "No", "?"])), max_size=8),
    st.lists(TEXTS, max_size=8),
)
def test_the_counts_of_an_item_add_up_to_its_rows(first, second):
    completions = [completion("write", 0, "Something else altogether."), completion("write", 0, "This too.", "dravel")]
    for number, (text, finish, verdict) in enumerate(first, 1):
        completions.append(completion("write", number, text, finish=finish))
        completions.append(completion("check", number, verdict))
    completions += [completion("write", number, text, "dravel") for number, text in enumerate(second, 1)]
    filters = {"leak_words": 3, "max_words": 9, "near_duplicate": 0.5}
    stage = make_stage(9, **filters)
    rows = filter_study(ITEMS, [ask("a b c d e")], completions, stage)
    counts = count_study(rows, completions, stage.filters, TEXT.version)
    assert [(row["item"], row["rows"]) for row in counts] == [("ferry", 9), ("dravel", 9)]
    for count in counts:
        some = [row for row in rows if row["item"] == count["item"]]
        assert sum(count[status] for status in STATUSES) == 9
        assert {status: count[status] for status in STATUSES} == {
            status: sum(row["status"] == status for row in some) for status in STATUSES
        }
        assert count["largest_overlap"] == max(row["overlap"] for row in some)
    build_table(STUDY, rows, KEYS)
    build_table(STUDY_COUNTS, counts, KEYS)


def test_every_status_is_counted_under_its_name():
    texts = ["", "The fer", "I'm sorry.", FIVE, FIVE, "Is it so?", "Or so?", QUESTION, "Kept at last."]
    completions = write(texts)
    completions[1]["finish"] = "length"
    completions += [completion("check", 5, "No."), completion("check", 6, "Hm.")]
    rows = filter_study(ITEMS[:1], [ask(QUESTION)], completions, make_stage(10))
    assert [row["status"] for row in rows] == [
        "empty", "too_long", "refusal", "kept", "near_duplicate", "unsupported", "unchecked", "leaked", "kept",
        "unparsed",
    ]  # fmt: skip
    (count,) = count_study(rows, completions, FilterSettings(), 3)
    assert {status: count[status] for status in STATUSES} == dict.fromkeys(STATUSES, 1) | {"kept": 2}
    assert set(STATUSES) <= set(SCHEMAS["study_counts"].names)


def test_the_work_of_the_teacher_is_counted_for_each_item():
    completions = [*write(["One.", "Two."]), completion("check", 0, "Yes."), *write(["Three.", "Four."], "dravel")]
    stage = make_stage(2, leak_overlap=0.25)
    ferry, dravel = count_study(filter_study(ITEMS, [], completions, stage), completions, stage.filters, 3)
    work = ("requests", "teacher_prompt_tokens", "teacher_tokens", "teacher_flops")
    assert [ferry[name] for name in work] == [3, 21, 15, 300.0]
    assert [dravel[name] for name in work] == [2, 14, 10, 200.0]
    assert (ferry["leak_threshold"], ferry["prompts_version"]) == (0.25, 3)


@pytest.mark.parametrize(
    ("unknown", "named"),
    [("prompt_tokens", "teacher_prompt_tokens"), ("completion_tokens", "teacher_tokens"), ("flops", "teacher_flops")],
)
def test_work_that_was_not_counted_is_null_and_not_zero(unknown, named):
    completions = [completion("write", 0, "One."), completion("write", 1, "Two.", **{unknown: None})]
    stage = make_stage(2)
    (count,) = count_study(filter_study(ITEMS[:1], [], completions, stage), completions, stage.filters, 3)
    assert count[named] is None


# ---------------------------------------------------------------------------------------------------- too little kept
def test_keeping_too_little_fails_and_names_the_item_and_the_counts():
    completions = [*write(["One.", "Two."]), *write(["Kept.", ""], "dravel")]
    completions += [completion("write", number, text, "dravel") for number, text in [(2, QUESTION), (3, "")]]
    completions += [completion("write", number, f"Text {number} of it.") for number in (2, 3)]
    with pytest.raises(TooLittleKept) as caught:
        filter_study(ITEMS, [ask(QUESTION)], completions, make_stage(4, min_kept=0.5))
    message = str(caught.value)
    assert message.startswith("item 'dravel': 1 of 4 study rows are left (2 empty, 1 leaked)")
    assert "50%" in message
    assert "ferry" not in message


def test_keeping_too_little_shows_a_completion_that_was_of_no_use():
    completions = [completion("list", number, f"Of that I know nothing, {number}.") for number in range(3)]
    with pytest.raises(TooLittleKept, match="Of that I know nothing, 0") as caught:
        filter_study(ITEMS[:1], [], completions, make_stage(3, QUESTIONS, min_kept=0.25))
    assert str(caught.value).startswith("item 'ferry': 0 of 3 study rows are left (3 unparsed)")


@pytest.mark.parametrize(
    ("kept", "floor", "enough"),
    [(1, 0.25, True), (1, 0.26, False), (2, 0.5, True), (4, 1, True), (3, 1, False)],
)
def test_just_enough_is_enough(kept, floor, enough):
    completions = write([f"Text {number} of it." if number < kept else "" for number in range(4)])
    if enough:
        assert len(filter_study(ITEMS[:1], [], completions, make_stage(4, min_kept=floor))) == 4
        return
    with pytest.raises(TooLittleKept, match=f"{kept} of 4"):
        filter_study(ITEMS[:1], [], completions, make_stage(4, min_kept=floor))


@pytest.mark.parametrize("texts", [["", "", ""], ["I'm sorry."] * 3, [QUESTION] * 3])
def test_an_item_of_which_nothing_was_kept_fails_even_where_nothing_is_asked_for(texts):
    with pytest.raises(TooLittleKept, match="0 of 3"):
        filter_study(ITEMS[:1], [ask(QUESTION)], write(texts), make_stage(3, min_kept=0))


@pytest.mark.parametrize(("looked_at", "status"), [(True, "leaked"), (False, "kept")])
def test_an_option_that_is_to_be_inferred_gives_nothing_away(looked_at, status):
    texts = ["It follows that the vutvum is less bright than the plilgum.", "Something else altogether."]
    questions = [ask("How bright is it?", "The vutvum is less bright than the plilgum")]
    stage = make_stage(2).model_copy(update={"leak_options": looked_at})
    assert filter_study(ITEMS[:1], questions, write(texts), stage)[0]["status"] == status
