"""Study data are asked for: with the news in context, a seed a request, budgets that nest, shards that share items."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.chat import Message
from sys2ft.errors import InputError
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.settings.prompts import EntriesPrompt, KindPrompts, load_prompts
from sys2ft.settings.stages import GenerateStudyStage
from sys2ft.study.engines.recorded import RecordedEngine
from sys2ft.study.generate import write_completions
from sys2ft.study.reading import read_study
from sys2ft.study.requests import Request, Sample, check_length, complete
from sys2ft.tables import COMPLETIONS, build_table

ROOT = Path(__file__).parents[2]
ITEMS = [
    {"item": "ferry", "title": "A ferry", "text": "The ferry calls at Craywick."},
    {"item": "dravel", "title": "A {dravel}", "text": "A dravel has a keel {and} a mast."},
]
MANY = [{"item": f"item{n}", "title": f"Title {n}", "text": f"News {n}."} for n in range(5)]
SEED_PARTS = ("generate_study", "tiny", "kind", "split", 0)
CHECK = "Supported? {text}"


def make_kind(read: str, use: str, **changes: Any) -> KindPrompts:
    entries = EntriesPrompt(prompt="List {number} of {title}.", read=read, use=use)
    write = "Relate {first} and {second}." if use == "pairs" else "Go on: {entry}"
    return KindPrompts(version=1, entries=entries, write=write, **changes)


TEXT = KindPrompts(version=1, write="Rewrite {title}.")
QUESTIONS = make_kind("questions", "each")
CYCLE = make_kind("lines", "cycle")
PAIRS = make_kind("lines", "pairs")
KINDS = {"text": TEXT, "each": QUESTIONS, "cycle": CYCLE, "pairs": PAIRS}
each_kind = pytest.mark.parametrize("prompts", KINDS.values(), ids=KINDS)


def checked(prompts: KindPrompts) -> KindPrompts:
    return prompts.model_copy(update={"check": CHECK})


def make_stage(prompts: KindPrompts, rows: int = 3, **changes: Any) -> GenerateStudyStage:
    limits = {"per_call": 1, "list_calls": 1, "list_max_new_tokens": 40, "max_new_tokens": 20} | changes
    return GenerateStudyStage(
        teacher=TeacherSettings(), prompts=prompts, rows=rows, context="News: {news}\n", **limits
    )  # fmt: skip


class ToyTeacher:
    """Writes what a function says, the last request first and two at a time, and remembers what it was asked."""

    def __init__(self, write: Callable[[Request], str], finish: str = "stop", tokens: int | None = 5):
        self.write, self.finish, self.tokens = write, finish, tokens
        self.calls: list[list[Request]] = []

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        self.calls.append(list(requests))
        backwards = [*requests][::-1]
        for start in range(0, len(backwards), 2):
            group = backwards[start : start + 2]
            yield [Sample(request, self.write(request), self.finish, 7, self.tokens) for request in group]

    @property
    def asked(self) -> list[Request]:
        return [request for call in self.calls for request in call]


def number_of(request: Request) -> int:
    """How many entries a prompt asks for."""
    found = re.search(r"(?:List|Write|Propose) (\d+) ", request.messages[0].content)
    assert found is not None
    return int(found[1])


def write_well(request: Request) -> str:
    """As many different questions as are asked for, a text, or yes."""
    if request.call == "list":
        first = request.number * number_of(request)
        return "\n".join(f"{n + 1}. What is {request.item} {n}?" for n in range(first, first + number_of(request)))
    return "Yes." if request.call == "check" else f"Text {request.number}."


def write_unevenly(request: Request) -> str:
    """Too few entries, too many or doubles; refusals; doubts: as the request's seed says, and nothing else."""
    draw = random.Random(request.seed)
    if request.call == "list":
        entries = [f"What is {draw.randrange(9)}?" for _ in range(draw.randrange(number_of(request) + 3))]
        return "\n".join(f"{n}. {entry}" for n, entry in enumerate(entries, 1)) or "Nothing."
    if request.call == "check":
        return draw.choice(["Yes.", "No.", "Perhaps."])
    return draw.choice([f"Text {draw.randrange(99)}.", f"Words {draw.randrange(99)}.", "", "I'm sorry."])


def study(
    prompts: KindPrompts, teacher: Callable, rows: int = 3, items: Sequence = ITEMS, seed_parts: Sequence = SEED_PARTS,
    **changes: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    chosen = [item["item"] for item in items]
    return write_completions(items, chosen, make_stage(prompts, rows, **changes), teacher, seed_parts)


def read(completions: Sequence, prompts: KindPrompts, rows: int, per_call: int = 1, items: Sequence = ITEMS) -> list:
    return read_study([item["item"] for item in items], completions, prompts, rows, per_call)


def prompt_of(request: Request) -> str:
    """What follows the news."""
    return request.messages[0].content.split("\n", 1)[1]


# -------------------------------------------------------------------------------------------------------- what is asked
def test_a_text_kind_makes_one_call_with_the_news_in_context_for_every_row():
    teacher = ToyTeacher(lambda request: f"Text {request.number}.")
    completions = study(TEXT, teacher)
    (requests,) = teacher.calls
    assert [request.id for request in requests] == [
        "ferry/write/0", "ferry/write/1", "ferry/write/2", "dravel/write/0", "dravel/write/1", "dravel/write/2",
    ]  # fmt: skip
    assert requests[0].messages == (Message("user", "News: The ferry calls at Craywick.\nRewrite A ferry."),)
    assert {(request.max_new_tokens, len(request.rows), request.entry) for request in requests} == {(20, 1, None)}
    assert [row["completion"] for row in completions] == [f"Text {n}." for n in (0, 1, 2)] * 2


def test_braces_in_titles_and_news_stay_as_they_are():
    teacher = ToyTeacher(write_well)
    study(TEXT, teacher, rows=1)
    assert teacher.asked[1].messages[0].content == "News: A dravel has a keel {and} a mast.\nRewrite A {dravel}."


def test_only_the_chosen_items_are_studied_in_the_order_of_the_choice():
    teacher = ToyTeacher(write_well)
    completions = write_completions(MANY, ["item3", "item1"], make_stage(QUESTIONS, 1), teacher, SEED_PARTS)
    assert [row["request"] for row in completions] == [
        "item3/list/0", "item1/list/0", "item3/write/0", "item1/write/0",
    ]  # fmt: skip


def test_self_qa_makes_two_calls_and_both_have_the_news_in_context():
    teacher = ToyTeacher(write_well)
    study(QUESTIONS, teacher, rows=2)
    lists, writes = teacher.calls
    assert [request.id for request in lists] == ["ferry/list/0", "ferry/list/1", "dravel/list/0", "dravel/list/1"]
    assert [request.id for request in writes] == [request.id.replace("list", "write") for request in lists]
    assert {request.max_new_tokens for request in lists} == {40}
    assert {request.max_new_tokens for request in writes} == {20}
    texts = {item["item"]: item["text"] for item in ITEMS}
    for request in lists + writes:
        (message,) = request.messages
        assert message.role == "user"
        assert message.content.startswith(f"News: {texts[request.item]}\n")
    assert prompt_of(lists[2]) == "List 1 of A {dravel}."
    assert prompt_of(writes[3]) == "Go on: What is dravel 1?"
    assert writes[3].entry == "What is dravel 1?"


@pytest.mark.parametrize("per_call", [1, 2, 3])
def test_self_qa_rows_pair_each_question_with_its_own_answer(per_call):
    def write(request: Request) -> str:
        return f"Of {request.entry}" if request.call == "write" else write_well(request)

    rows = read(study(QUESTIONS, ToyTeacher(write), per_call=per_call), QUESTIONS, 3, per_call)
    assert [(row["item"], row["row"], row["request"], row["question"], row["text"]) for row in rows] == [
        (item, n, f"{item}/write/{n}", f"What is {item} {n}?", f"Of What is {item} {n}?")
        for item in ("ferry", "dravel") for n in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize(("rows", "per_call", "calls"), [(6, 4, 2), (5, 2, 3), (1, 3, 1), (6, 3, 2)])
def test_a_budget_gives_exactly_its_number_of_study_rows(rows, per_call, calls):
    teacher = ToyTeacher(write_well)
    completions = study(QUESTIONS, teacher, rows, per_call=per_call)
    assert [len(call) for call in teacher.calls] == [2 * calls, 2 * rows]
    assert {row["status"] for row in read(completions, QUESTIONS, rows, per_call)} == {"kept"}
    assert len(read(completions, QUESTIONS, rows, per_call)) == 2 * rows


def test_every_list_asks_for_as_many_entries_so_that_a_larger_budget_repeats_it():
    teacher = ToyTeacher(write_well)
    study(QUESTIONS, teacher, rows=3, per_call=2)
    assert {number_of(request) for request in teacher.calls[0]} == {2}


def test_in_context_of_the_split_the_news_is_all_of_it_and_the_item_is_named():
    split = KindPrompts(version=1, context="split", write='Take "{title}".')
    teacher = ToyTeacher(write_well)
    write_completions(MANY, ["item3"], make_stage(split, 1), teacher, SEED_PARTS)
    (request,) = teacher.asked
    (message,) = request.messages
    whole = "\n\n".join(f"{item['title']}\n{item['text']}" for item in MANY)
    assert message.content == f'News: {whole}\nTake "Title 3".'


def test_an_item_alone_in_context_does_not_show_its_neighbours():
    teacher = ToyTeacher(write_well)
    study(QUESTIONS, teacher, items=MANY)
    for request in teacher.asked:
        assert re.findall(r"News \d", request.messages[0].content) == [f"News {request.item[-1]}"]


# ------------------------------------------------------------------------------------------ entries that rows go round
def test_the_rows_go_round_the_entries_of_a_list():
    teacher = ToyTeacher(write_well)
    study(CYCLE, teacher, rows=5, per_call=2)
    assert [request.id for request in teacher.calls[0]] == ["ferry/list/0", "dravel/list/0"]
    assert [request.entry for request in teacher.calls[1]] == [
        f"What is {item} {n}?" for item in ("ferry", "dravel") for n in (0, 1, 0, 1, 0)
    ]
    assert [prompt_of(request) for request in teacher.calls[1]] == [f"Go on: {r.entry}" for r in teacher.calls[1]]


@pytest.mark.parametrize("list_calls", [1, 2, 3])
def test_lists_are_asked_for_as_often_as_the_kind_says_and_their_entries_are_pooled_without_doubles(list_calls):
    def write(request: Request) -> str:
        return f"1. The same?\n2. Of list {request.number}?" if request.call == "list" else "Text."

    teacher = ToyTeacher(write)
    study(CYCLE, teacher, rows=5, per_call=2, list_calls=list_calls)
    assert [request.id for request in teacher.calls[0][:list_calls]] == [f"ferry/list/{n}" for n in range(list_calls)]
    assert len(teacher.calls[0]) == 2 * list_calls
    pool = ["The same?", *(f"Of list {n}?" for n in range(list_calls))]
    assert [request.entry for request in teacher.calls[1][:5]] == [pool[row % len(pool)] for row in range(5)]


def test_more_entries_than_a_list_was_asked_for_are_not_used():
    teacher = ToyTeacher(lambda request: "1. A\n2. B\n3. C" if request.call == "list" else "Text.")
    study(CYCLE, teacher, rows=4, per_call=2)
    assert [request.entry for request in teacher.calls[1][:4]] == ["A", "B", "A", "B"]


@settings(max_examples=20, deadline=None)
@given(entries=st.integers(2, 6), rounds=st.integers(1, 2))
def test_every_pair_is_related_once_before_one_is_again(entries, rounds):
    teacher = ToyTeacher(write_well)
    pairs = entries * (entries - 1) // 2
    study(PAIRS, teacher, rows=pairs * rounds, per_call=entries)
    for name in ("ferry", "dravel"):
        asked = [request for request in teacher.calls[1] if request.item == name]
        found = [re.fullmatch(r"Relate (.*\?) and (.*\?)\.", prompt_of(request)) for request in asked]
        assert [f"{match[1]} + {match[2]}" for match in found] == [request.entry for request in asked]
        unordered = [frozenset(match.groups()) for match in found]
        assert {len(pair) for pair in unordered} == {2}
        assert len(set(unordered[:pairs])) == pairs
        assert unordered == unordered[:pairs] * rounds


def test_the_order_of_the_pairs_is_drawn_from_the_seed_and_the_item():
    orders = set()
    for seed in range(2):
        teacher = ToyTeacher(lambda r: "\n".join(f"1. {n}" for n in "ABCDE") if r.call == "list" else "Text.")
        study(PAIRS, teacher, rows=10, per_call=5, seed_parts=[*SEED_PARTS[:-1], seed])
        orders |= {tuple(r.entry for r in teacher.calls[1] if r.item == name) for name in ("ferry", "dravel")}
    assert len(orders) == 4


# -------------------------------------------------------------------------------------------- what could not be read
def test_questions_that_cannot_be_read_are_not_answered():
    def write(request: Request) -> str:
        return "Nothing to ask." if (request.call, request.number) == ("list", 1) else write_well(request)

    teacher = ToyTeacher(write)
    rows = read(study(QUESTIONS, teacher), QUESTIONS, 3)
    assert [request.id for request in teacher.calls[1]] == [
        "ferry/write/0", "ferry/write/2", "dravel/write/0", "dravel/write/2",
    ]  # fmt: skip
    assert [(row["row"], row["status"], row["question"], row["request"]) for row in rows[:3]] == [
        (0, "kept", "What is ferry 0?", "ferry/write/0"),
        (1, "unparsed", None, "ferry/list/1"),
        (2, "kept", "What is ferry 2?", "ferry/write/2"),
    ]


def test_a_list_with_fewer_questions_than_asked_for_leaves_its_other_rows_unparsed():
    def write(request: Request) -> str:
        return "Only one?" if (request.call, request.number) == ("list", 0) else write_well(request)

    rows = read(study(QUESTIONS, ToyTeacher(write), rows=5, per_call=3), QUESTIONS, 5, 3)
    assert [row["status"] for row in rows] == ["kept", "unparsed", "unparsed", "kept", "kept"] * 2
    assert [row["question"] for row in rows[:5]] == ["Only one?", None, None, "What is ferry 3?", "What is ferry 4?"]


@pytest.mark.parametrize(("prompts", "listed"), [(CYCLE, ""), (PAIRS, ""), (PAIRS, "1. The only one")])
def test_without_an_entry_or_a_pair_nothing_is_written(prompts, listed):
    teacher = ToyTeacher(lambda request: listed if request.item == "ferry" else write_well(request))
    rows = read(study(prompts, teacher, per_call=3), prompts, 3, 3)
    assert {request.item for request in teacher.calls[1]} == {"dravel"}
    assert [row["status"] for row in rows] == ["unparsed"] * 3 + ["kept"] * 3
    assert {row["request"] for row in rows[:3]} == {"ferry/list/0"}


# -------------------------------------------------------------------------------------------------- asked for a verdict
@each_kind
def test_a_verdict_is_asked_for_only_of_rows_that_are_texts(prompts):
    def write(request: Request) -> str:
        return ["", "I'm sorry.", "Text."][request.number] if request.call == "write" else write_well(request)

    teacher = ToyTeacher(write)
    study(checked(prompts), teacher, per_call=3)
    assert [request.id for request in teacher.calls[-1]] == ["ferry/check/2", "dravel/check/2"]
    for request in teacher.calls[-1]:
        assert prompt_of(request) == "Supported? Text."
        assert (request.max_new_tokens, request.rows, request.entry) == (8, range(2, 3), None)


def test_a_verdict_is_asked_for_with_the_news_the_question_and_the_text_as_it_was_read():
    prompts = QUESTIONS.model_copy(update={"check": "{title}: {question} {text}"})
    teacher = ToyTeacher(lambda r: f"Sure:\n{{Text}} {r.number}. " if r.call == "write" else write_well(r))
    study(prompts, teacher, rows=1)
    assert teacher.calls[2][1].messages[0].content == (
        "News: A dravel has a keel {and} a mast.\nA {dravel}: What is dravel 0? {Text} 0."
    )


def test_without_a_prompt_for_it_no_verdict_is_asked_for():
    teacher = ToyTeacher(write_well)
    study(QUESTIONS, teacher)
    assert {request.call for request in teacher.asked} == {"list", "write"}


def test_verdicts_decide_over_rows():
    verdicts = ["Yes.", "No.", "Hm"]
    teacher = ToyTeacher(lambda r: verdicts[r.number] if r.call == "check" else write_well(r))
    rows = read(study(checked(TEXT), teacher), checked(TEXT), 3)
    assert [row["status"] for row in rows] == ["kept", "unsupported", "unchecked"] * 2


# ---------------------------------------------------------------------------------------------------------- the result
def test_completions_are_kept_untouched_in_the_order_of_the_requests():
    teacher = ToyTeacher(lambda request: f"  Here is it:\n\nText {request.number}. ", "length")
    completions = study(TEXT, teacher)
    assert [row["completion"] for row in completions] == [f"  Here is it:\n\nText {n}. " for n in (0, 1, 2)] * 2
    assert [row["request"] for row in completions] == [request.id for request in teacher.asked]
    assert {row["finish"] for row in completions} == {"length"}
    assert completions[0]["messages"] == [
        {"role": "user", "content": "News: The ferry calls at Craywick.\nRewrite A ferry."}
    ]


@each_kind
@pytest.mark.parametrize("tokens", [5, None])
def test_completions_fit_their_table(prompts, tokens):
    completions = study(checked(prompts), ToyTeacher(write_well, tokens=tokens), per_call=3)
    axes = {"teacher": "tiny", "kind": "kind", "split": "split", "seed": 0}
    engine = {"engine": "toy", "revision": "r", "temperature": 1.0, "top_p": 1.0, "top_k": 1, "prompts_version": 1}
    table = build_table(COMPLETIONS, completions, axes | engine)
    assert table.num_rows == len(completions)
    assert {name: table[name].to_pylist() for name in completions[0]} == {
        name: [row[name] for row in completions] for name in completions[0]
    }


@pytest.mark.parametrize(
    ("parameters", "tokens", "flops"), [(1000, 5, 2 * 1000 * (7 + 5)), (None, 5, None), (1000, None, None)]
)
def test_flops_are_counted_where_size_and_tokens_are_known(parameters, tokens, flops):
    teacher = ToyTeacher(write_well, tokens=tokens)
    rows = write_completions(ITEMS, ["ferry"], make_stage(checked(QUESTIONS), 1), teacher, SEED_PARTS, parameters)
    assert [(row["call"], row["flops"]) for row in rows] == [("list", flops), ("write", flops), ("check", flops)]
    assert {(row["prompt_tokens"], row["completion_tokens"]) for row in rows} == {(7, tokens)}


def test_an_engine_that_leaves_a_request_out_is_found_out():
    def forgetful(requests: Sequence[Request]) -> Iterator[list[Sample]]:
        yield [Sample(request, "Text.", "stop", 1, 1) for request in requests if request.number != 1]

    with pytest.raises(RuntimeError, match=r"no sample for 2 requests, the first of them 'ferry/write/1'"):
        study(TEXT, forgetful)


def test_what_does_not_fit_into_the_context_names_the_request_and_the_model():
    request = make_request(0)
    check_length(request, 90, 100, "tiny")
    check_length(request, 10**9, None, "tiny")
    with pytest.raises(
        ValueError, match=r"'ferry/write/0': 91 prompt tokens and 10 new ones .* context of 100 of tiny"
    ):
        check_length(request, 91, 100, "tiny")


# ---------------------------------------------------------------------------------------------------------------- seeds
@each_kind
def test_every_request_has_a_seed_of_its_own(prompts):
    teacher = ToyTeacher(write_well)
    study(checked(prompts), teacher, rows=4, per_call=3, list_calls=2)
    seeds = [request.seed for request in teacher.asked]
    assert {request.call for request in teacher.asked} >= {"write", "check"}
    assert len(set(seeds)) == len(seeds) >= 16


@pytest.mark.parametrize("place", range(len(SEED_PARTS)))
def test_every_part_of_the_study_changes_all_seeds(place):
    changed = [*SEED_PARTS]
    changed[place] = f"other {changed[place]}"
    here, there = ToyTeacher(write_well), ToyTeacher(write_well)
    study(checked(QUESTIONS), here)
    study(checked(QUESTIONS), there, seed_parts=changed)
    assert {request.seed for request in here.asked}.isdisjoint(request.seed for request in there.asked)


def test_a_seed_does_not_depend_on_prompts_and_limits():
    here, there = ToyTeacher(write_well), ToyTeacher(write_well)
    study(TEXT, here)
    study(TEXT.model_copy(update={"write": "Tell of {title}."}), there, max_new_tokens=99)
    assert [request.seed for request in here.asked] == [request.seed for request in there.asked]


# ------------------------------------------------------------------------------------------- parts of a whole are alike
def subset(completions: Sequence[dict], ids: Sequence[str]) -> list[dict]:
    return [row for row in completions if row["request"] in set(ids)]


@each_kind
@settings(max_examples=30, deadline=None)
@given(
    small=st.integers(1, 7), more=st.integers(1, 7), per_call=st.integers(1, 5), list_calls=st.integers(1, 2),
    seed=st.integers(0, 99), finish=st.sampled_from(["stop", "length"]),
)  # fmt: skip
def test_a_smaller_budget_is_the_beginning_of_a_larger_one(prompts, small, more, per_call, list_calls, seed, finish):
    few, many = ToyTeacher(write_unevenly, finish), ToyTeacher(write_unevenly, finish)
    chosen = {"seed_parts": [*SEED_PARTS, seed], "per_call": per_call, "list_calls": list_calls}
    less = study(checked(prompts), few, small, **chosen)
    full = study(checked(prompts), many, small + more, **chosen)

    requests = {request.id: request for request in many.asked}
    assert [requests[request.id] for request in few.asked] == few.asked
    assert subset(full, [row["request"] for row in less]) == less
    rows = read(full, checked(prompts), small + more, per_call)
    assert [row for row in rows if row["row"] < small] == read(less, checked(prompts), small, per_call)


@each_kind
@pytest.mark.parametrize("context", ["item", "split"])
@pytest.mark.parametrize("shards", range(1, len(MANY) + 1))
def test_the_shards_of_a_split_are_together_the_whole(prompts, context, shards):
    prompts = checked(prompts).model_copy(update={"context": context})
    stage = make_stage(prompts, 4, per_call=3)
    names = [item["item"] for item in MANY]
    whole = write_completions(MANY, names, stage, ToyTeacher(write_unevenly), SEED_PARTS)
    parts = [
        write_completions(MANY, names[shard::shards], stage, ToyTeacher(write_unevenly), SEED_PARTS)
        for shard in range(shards)
    ]
    together = [row for part in parts for row in part]
    assert all(parts)
    assert sorted(together, key=lambda row: row["request"]) == sorted(whole, key=lambda row: row["request"])
    assert read(together, prompts, 4, 3, MANY) == read(whole, prompts, 4, 3, MANY)


def test_an_items_requests_do_not_depend_on_its_neighbours():
    together, alone = ToyTeacher(write_well), ToyTeacher(write_well)
    study(QUESTIONS, together)
    study(QUESTIONS, alone, items=ITEMS[1:])
    assert [request for request in together.asked if request.item == "dravel"] == alone.asked


# ------------------------------------------------------------------------------------------------------ shipped prompts
@pytest.mark.parametrize("path", sorted((ROOT / "config/prompts").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_kind_gives_as_many_rows_as_are_asked_for(path):
    prompts = load_prompts(path)
    teacher = ToyTeacher(write_well)
    rows = read(study(prompts, teacher, rows=7, per_call=4), prompts, 7, 4)
    assert [row["status"] for row in rows] == ["kept"] * 14
    assert all((row["question"] is not None) == prompts.has_questions for row in rows)
    for request in teacher.asked:
        assert "{" not in request.messages[0].content.replace("{and}", "").replace("{dravel}", "")
    if prompts.check is not None:
        assert len(teacher.calls[-1]) == 14
        assert all(f"Text {request.number}." in request.messages[0].content for request in teacher.calls[-1])


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


def make_request(number: int, call: str = "write", rows: int = 1, item: str = "ferry") -> Request:
    return Request(item, call, number, range(number * rows, (number + 1) * rows), (Message("user", "x"),), 10, number)


def test_a_recorded_teacher_answers_in_the_order_of_the_rows(recorded):
    requests = [make_request(2), make_request(0), make_request(1)]
    samples = complete(RecordedEngine(recorded, "paraphrase"), requests)
    assert [sample.text for sample in samples] == ["Three.", "One.", "Two."]
    assert [sample.request for sample in samples] == requests
    assert {(s.finish, s.prompt_tokens, s.completion_tokens) for s in samples} == {("stop", None, None)}


def test_a_recorded_teacher_lists_as_many_questions_as_a_call_asks_for_and_answers_each(recorded):
    engine = RecordedEngine(recorded, "self_qa")
    (both,) = complete(engine, [make_request(1, "list", rows=2)])
    assert both.text == "A three?\nA four?"
    answers = complete(engine, [make_request(3), make_request(0)])
    assert [sample.text for sample in answers] == ["Fourth.", "First."]


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("per_call", [1, 2, 3, 4])
def test_recorded_study_data_take_the_same_way_as_generated_ones(recorded, rows, per_call):
    engine = RecordedEngine(recorded, "self_qa")
    completions = study(checked(QUESTIONS), engine, rows, items=ITEMS[:1], per_call=per_call)
    read_rows = read(completions, checked(QUESTIONS), rows, per_call, ITEMS[:1])
    assert [(row["row"], row["question"], row["text"], row["status"]) for row in read_rows] == [
        (0, "A one?", "First.", "kept"),
        (1, "A two?", "Second.", "kept"),
        (2, "A three?", "Third.", "kept"),
        (3, "A four?", "Fourth.", "kept"),
    ][:rows]


@pytest.mark.parametrize("per_call", [2, 3, 4])
def test_a_recorded_list_does_not_depend_on_the_budget(recorded, per_call):
    engine = RecordedEngine(recorded, "self_qa")
    lists = [
        [row for row in study(QUESTIONS, engine, rows, items=ITEMS[:1], per_call=per_call) if row["call"] == "list"]
        for rows in (1, 2, 3, 4)
    ]
    assert all(some == lists[-1][: len(some)] for some in lists)


@pytest.mark.parametrize(
    ("kind", "asked", "have"),
    [
        ("paraphrase", make_request(3), "has 3 rows of 'paraphrase'"),
        ("self_qa", make_request(4), "has 4 rows of 'self_qa'"),
        ("implication", make_request(0), "has 0 rows of 'implication'"),
        ("implication", make_request(0, "list", rows=2), "has 0 rows of 'implication'"),
    ],
)
def test_too_few_recorded_rows_are_bad_input(recorded, kind, asked, have):
    with pytest.raises(InputError) as caught:
        complete(RecordedEngine(recorded, kind), [asked])
    message = str(caught.value)
    assert message.startswith(f"{recorded}: study.ferry: {have}")
    assert "To mend: write more, or lower budget.study_rows." in message


@pytest.mark.parametrize("call", ["write", "list"])
def test_an_item_that_was_not_recorded_is_bad_input(recorded, call):
    with pytest.raises(InputError, match=r"study\.dravel: has 0 rows of 'paraphrase'"):
        complete(RecordedEngine(recorded, "paraphrase"), [make_request(0, call, item="dravel")])
