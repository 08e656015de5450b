"""Answers in writing: what is asked, by whom it is answered, and that nothing is answered for another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sys2ft.evaluation.writing import open_writer, write_split
from sys2ft.grid import JOINT
from sys2ft.learned import THE_BASE, Learned
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import ScoringSettings, WritingSettings
from sys2ft.settings.stages import WriteStage
from sys2ft.study.requests import Request, Sample
from sys2ft.tables import ANSWERS, build_table

ITEMS = [
    {"item": n, "title": n, "text": f"The {n} bridge closes on {d}."} for n, d in (("red", "Monday"), ("blue", "May"))
]
QUESTIONS = [
    {
        "item": item["item"], "question_id": f"{item['item']}-q{n}", "kind": "recall", "question": f"When, {n}?",
        "options": ["Monday", "May", "Sunday"], "gold": gold, "short_answer": "on it", "accepted_answers": [],
        "statement": None, "false_statement": None,
    }
    for gold, item in enumerate(ITEMS) for n in (0, 1)
]  # fmt: skip
STAGE = WriteStage(
    scoring=ScoringSettings(modes=("generate",)), writing=WritingSettings(max_new_tokens=9), context="News: {news}\n\n"
)
BOTH = STAGE.model_copy(
    update={"scoring": STAGE.scoring.model_copy(update={"modes": ("generate", "generate_reasoned")})}
)
IDENTITY = {"revision": "r"}
KEYS = {"model": "m", "method": "lora", "protocol": "p", "teacher": "none", "split": "s", "seed": 0}


def learned(name: str, digest: str, samples: int = 4, milestone: bool = False) -> Learned:
    return Learned(name, Path("nowhere") / name, digest, samples, milestone)


class ToyWriter:
    """Says what it is told to; records what it was asked."""

    def __init__(self, say=lambda one: f"On Monday, {one.digest}."):
        self.say, self.asked = say, []

    def __call__(self, one: Learned, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        for request in requests:
            self.asked.append((one, request))
            yield [Sample(request, self.say(one), "stop", 3, 2)]


def prompts(writer: ToyWriter) -> list[str]:
    return [request.messages[0].content for _, request in writer.asked]


def write(folder, writer, points, readers, stage=STAGE, identity=IDENTITY, questions=QUESTIONS):
    return write_split(ITEMS, questions, stage, writer, points, readers, folder, identity)


OWN = {"red": "red", "blue": "blue"}
END = [[learned("red", "r1"), learned("blue", "b1")]]


def test_every_condition_and_control_is_answered_by_who_learned_the_item(tmp_path):
    writer = ToyWriter()
    rows = write(tmp_path, writer, END, OWN)
    ways = {(row["condition"], row["control"]) for row in rows}
    assert ways == {
        ("closed_book", "none"), ("closed_book", "blank_question"), ("closed_book", "other_adapter"),
        ("in_context", "none"), ("in_context", "blank_question"), ("other_news", "none"),
    }  # fmt: skip
    assert len(rows) == len(QUESTIONS) * len(ways)
    for row in rows:
        other = row["control"] == "other_adapter"
        assert row["adapter"] == {"red": "b1" if other else "r1", "blue": "r1" if other else "b1"}[row["item"]]
        assert row["completion"] == f"On Monday, {row['adapter']}."
        assert (row["choice"], row["correct"], row["unread"]) == (0, float(row["gold"] == 0), None)
    assert build_table(ANSWERS, rows, KEYS).num_rows == len(rows)


def test_the_base_answers_alone(tmp_path):
    rows = write(tmp_path, ToyWriter(), [[THE_BASE]], None)
    assert {row["adapter"] for row in rows} == {None}
    assert {row["control"] for row in rows} == {"none", "blank_question"}
    assert {row["samples_seen"] for row in rows} == {0}


def test_one_learner_of_a_split_and_its_milestones_answer(tmp_path):
    points = [[learned(JOINT, "m2", 2, True)], [learned(JOINT, "m4", 4)]]
    rows = write(tmp_path, ToyWriter(), points, dict.fromkeys(OWN, JOINT))
    assert {(row["adapter"], row["samples_seen"], row["milestone"]) for row in rows} == {
        ("m2", 2, True),
        ("m4", 4, False),
    }
    assert "other_adapter" not in {row["control"] for row in rows}


def test_at_a_milestone_only_those_who_are_there_answer(tmp_path):
    rows = write(tmp_path, ToyWriter(), [[learned("red", "r2", 2, True)], *END], OWN)
    early = [row for row in rows if row["milestone"]]
    assert {row["adapter"] for row in early} == {"r2"}
    assert {(row["item"], row["control"]) for row in early} >= {("red", "none"), ("blue", "other_adapter")}


def test_the_prompt_holds_news_instruction_and_question_and_no_option(tmp_path):
    writer = ToyWriter()
    write(tmp_path, writer, END, OWN, BOTH)
    asked = prompts(writer)
    assert "Answer in a few words.\nWhen, 0?" in asked
    assert "News: The red bridge closes on Monday.\n\nAnswer in a few words.\nWhen, 0?" in asked
    assert "Answer in a few words.\nAnswer the question." in asked
    assert any(prompt.startswith("Think step by step.") and prompt.endswith("\nWhen, 1?") for prompt in asked)
    assert not any("Sunday" in prompt for prompt in asked)
    assert {request.max_new_tokens for _, request in writer.asked} == {9, 512}


def test_a_blanked_question_is_asked_once_and_read_for_each(tmp_path):
    writer = ToyWriter()
    rows = write(tmp_path, writer, END, OWN)
    assert prompts(writer).count("Answer in a few words.\nAnswer the question.") == 2, "once for each item"
    blank = [row for row in rows if (row["condition"], row["control"]) == ("closed_book", "blank_question")]
    assert len(blank) == len(QUESTIONS)
    assert [row["correct"] for row in blank] == [1.0, 1.0, 0.0, 0.0]


def test_what_names_no_option_is_unread_and_neither_right_nor_wrong(tmp_path):
    rows = write(tmp_path, ToyWriter(lambda _: "Monday or May"), END, OWN, BOTH)
    told = {(row["mode"], row["unread"], row["choice"], row["correct"], row["completion"]) for row in rows}
    assert told == {
        ("generate", "several", None, None, "Monday or May"),
        ("generate_reasoned", "no_answer_line", None, None, "Monday or May"),
    }


# ------------------------------------------------------------------------------------------------------------ kept work
def test_what_was_written_is_not_asked_for_again(tmp_path):
    first = write(tmp_path, ToyWriter(), END, OWN)
    again = ToyWriter()
    assert write(tmp_path, again, END, OWN) == first
    assert not again.asked


def test_a_killed_job_goes_on_where_it_stopped(tmp_path):
    class Killed(Exception):
        pass

    def fail_late(one):
        if len(broken.asked) > 7:
            raise Killed
        return f"On Monday, {one.digest}."

    broken = ToyWriter(fail_late)
    with pytest.raises(Killed):
        write(tmp_path, broken, END, OWN)
    rest, whole = ToyWriter(), ToyWriter()
    rows = write(tmp_path, rest, END, OWN)
    assert rows == write(tmp_path / "other", whole, END, OWN)
    assert len(rest.asked) == len(whole.asked) - 7


@pytest.mark.parametrize("change", ["digest", "revision", "question", "engine"])
def test_another_model_question_or_engine_is_asked_anew(tmp_path, change):
    write(tmp_path, ToyWriter(), END, OWN)
    told = {"points": END, "readers": OWN}
    if change == "digest":
        told["points"] = [[learned("red", "r2"), learned("blue", "b1")]]
    if change == "revision":
        told["identity"] = {"revision": "other"}
    if change == "question":
        told["questions"] = [QUESTIONS[0] | {"question": "Where?"}, *QUESTIONS[1:]]
    if change == "engine":
        told["stage"] = STAGE.model_copy(update={"writing": WritingSettings(engine="vllm", max_new_tokens=9)})
    writer = ToyWriter()
    rows = write(tmp_path, writer, **told)
    assert writer.asked
    assert all(row["completion"] == f"On Monday, {row['adapter']}." for row in rows)
    if change == "digest":
        assert {one.digest for one, _ in writer.asked} == {"r2"}
    if change == "question":
        assert {request.messages[0].content.rpartition("\n")[2] for _, request in writer.asked} == {"Where?"}


def test_a_changed_key_is_read_anew_without_asking(tmp_path):
    write(tmp_path, ToyWriter(), END, OWN)
    writer = ToyWriter()
    other = [row | {"options": ["Tuesday", "May", "Sunday"], "accepted_answers": []} for row in QUESTIONS]
    assert {row["unread"] for row in write(tmp_path, writer, END, OWN, questions=other)} == {"none"}
    assert not writer.asked


def test_a_text_that_the_limit_cut_may_go_on_and_is_not_read(tmp_path):
    class Cut(ToyWriter):
        def __call__(self, one, requests):
            for group in super().__call__(one, requests):
                yield [replace(sample, finish="length") for sample in group]

    rows = write(tmp_path, Cut(lambda _: "On Monday"), END, OWN)
    assert {(row["unread"], row["finish"], row["correct"]) for row in rows} == {("unclear", "length", None)}
    rows = write(tmp_path / "longer", Cut(lambda _: "On Monday, as I sai"), END, OWN)
    assert {(row["choice"], row["finish"]) for row in rows} == {(0, "length")}


def test_nothing_is_loaded_before_it_is_asked(tmp_path):
    for engine in ("transformers", "vllm"):
        for method in (None, MethodSettings(), MethodSettings(kind="full")):
            open_writer(tmp_path / "nowhere/model.json", method, WritingSettings(engine=engine), 0)
