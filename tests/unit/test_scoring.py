"""The tree scorer equals one forward pass an option, in every condition, control and mode."""

from itertools import pairwise

import pytest
import torch
from peft import PeftModel

from sys2ft.chat import encode_text, render_prompt
from sys2ft.evaluation.questions import LETTERS, NONE, Asking, ask_all, option_orders, prompt_messages
from sys2ft.evaluation.respondents import Respondent
from sys2ft.evaluation.scoring import _answer, _Branch, score_retention, score_split
from sys2ft.grid import JOINT
from sys2ft.models import load_model
from sys2ft.packing import TokenSequence
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.stages import ScoreStage
from sys2ft.tables import build_table
from sys2ft.training.lora_bank import LoraBank

STAGE = ScoreStage(scoring=ScoringSettings(tokens_per_pass=1024), context="News: {news}\n\n")
ITEMS = [
    {"item": name, "title": name, "text": f"The {name} bridge closes on {day}."}
    for name, day in (("red", "Monday"), ("blue", "Friday"), ("grey", "Sunday"))
]
QUESTIONS = [
    {
        "item": item["item"], "question_id": f"{item['item']}-q{n}", "kind": "recall",
        "question": f"When does the {item['item']} bridge close, {n}?",
        "options": ["Monday", "on Friday", "Sunday", "May"], "gold": n,
    }
    for item in ITEMS for n in (0, 2)
]  # fmt: skip


@pytest.fixture(scope="module")
def bank(llama):
    bank = LoraBank(load_model(llama), [item["item"] for item in ITEMS], MethodSettings(rank=8))
    bank.initialise([1, 2, 3])
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for index in range(len(bank.names)):
            for _, high in bank._views(index):
                high.normal_(std=0.3, generator=generator)
    return bank


OWN = {item["item"]: item["item"] for item in ITEMS}
DIGESTS = {name: f"digest-{name}" for name in OWN}


def respondent(bank, **changes):
    """Everyone of a bank, at the end of training."""
    told = {"readers": OWN, "digests": DIGESTS, "samples": {"red": 3, "blue": 4, "grey": 5}}
    return Respondent(bank.model, bank, **(told | changes))


@pytest.fixture(scope="module")
def answers(bank, tokenizer):
    return score_split(respondent(bank), tokenizer, ITEMS, QUESTIONS, STAGE)


@pytest.fixture(scope="module")
def adapted(bank, llama, tmp_path_factory):
    """The same adapters in the hands of PEFT, on a model of transformers."""
    folders = {name: tmp_path_factory.mktemp(name) for name in bank.names}
    for index, name in enumerate(bank.names):
        bank.export(index, folders[name], "tiny")
    model = PeftModel.from_pretrained(load_model(llama), folders["red"], adapter_name="red")
    for name in ("blue", "grey"):
        model.load_adapter(folders[name], adapter_name=name)
    return model.eval()


def plain_score(adapted, tokenizer, asking, order, ending):
    prompt = render_prompt(tokenizer, prompt_messages(asking, STAGE.scoring, STAGE.context, order))
    tokens = encode_text(tokenizer, ending)
    adapted.set_adapter(asking.reader)
    with torch.no_grad():
        logits = adapted(torch.tensor([[*prompt, *tokens]])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) + i - 1, token].item() for i, token in enumerate(tokens))


def test_scores_equal_one_forward_pass_an_option(adapted, tokenizer, answers):
    askings = list(ask_all(ITEMS, QUESTIONS, STAGE.scoring, OWN))
    assert len(askings) == len(answers) == len(QUESTIONS) * 2 * 6
    for asking, row in list(zip(askings, answers, strict=True))[::5]:
        options = asking.question["options"]
        if asking.mode == "cloze":
            plain = [plain_score(adapted, tokenizer, asking, None, option) for option in options]
        else:
            plain = [0.0] * 4
            for order in option_orders(4):
                for place, option in enumerate(order):
                    plain[option] += plain_score(adapted, tokenizer, asking, order, LETTERS[place]) / 4
        assert row["logprobs"] == pytest.approx(plain, abs=1e-4)


def test_correct_is_read_from_the_scores(answers):
    for row in answers:
        assert row["choice"] == max(range(4), key=row["scores"].__getitem__)
        if row["mode"] == "cloze":
            assert row["correct"] == float(row["choice"] == row["gold"])
            assert row["scores"] == [s / n for s, n in zip(row["logprobs"], row["option_tokens"], strict=True)]
        else:
            assert row["correct"] == sum(row["order_correct"]) / 4


def test_own_adapter_answers_and_the_other_one_under_control(answers):
    following = {"red": "blue", "blue": "grey", "grey": "red"}
    for row in answers:
        reader = following[row["item"]] if row["control"] == "other_adapter" else row["item"]
        assert row["adapter"] == f"digest-{reader}"


def test_an_adapter_changes_what_its_item_is_answered(answers):
    closed = {
        (row["question_id"], row["mode"], row["control"]): row["logprobs"]
        for row in answers
        if row["condition"] == "closed_book"
    }
    for (question, mode, control), scores in closed.items():
        if control == "other_adapter":
            assert scores != pytest.approx(closed[question, mode, "none"], abs=1e-3)


def test_base_has_no_other_adapter_and_no_digest(llama, tokenizer):
    rows = score_split(Respondent(load_model(llama)), tokenizer, ITEMS, QUESTIONS, STAGE)
    assert {row["control"] for row in rows} == {"none", "blank_question"}
    assert {row["adapter"] for row in rows} == {None}
    assert {(row["samples_seen"], row["milestone"]) for row in rows} == {(0, False)}


def test_an_answer_says_what_its_reader_has_seen_and_whether_it_went_on(bank, tokenizer, answers):
    seen = {"digest-red": 3, "digest-blue": 4, "digest-grey": 5}
    assert all(row["samples_seen"] == seen[row["adapter"]] and not row["milestone"] for row in answers)
    rows = score_split(respondent(bank, milestone=True), tokenizer, ITEMS[:1], QUESTIONS[:1], STAGE)
    assert {row["milestone"] for row in rows} == {True}


def test_what_is_asked_of_others_is_left_out(bank, tokenizer, answers):
    """At a moment at which two of three adapters were kept: the third answers nothing, under no control either."""
    here = {name: DIGESTS[name] for name in ("red", "blue")}
    rows = score_split(respondent(bank, digests=here), tokenizer, ITEMS, QUESTIONS, STAGE)
    names = ("question_id", "condition", "control", "mode", "adapter")
    told, expected = (
        [tuple(row[name] for name in names) for row in some]
        for some in (rows, (row for row in answers if row["adapter"] != "digest-grey"))
    )
    assert told == expected
    assert {row["item"] for row in rows if row["control"] == "other_adapter"} == {"red", "grey"}
    plain = [row["logprobs"] for row in answers if row["adapter"] != "digest-grey"]
    for row, logprobs in zip(rows, plain, strict=True):
        assert row["logprobs"] == pytest.approx(logprobs, abs=1e-4)


# ------------------------------------------------------------------------------------------------------------- readers
def by_control(readers):
    return {
        (asking.item, asking.condition, asking.control, asking.reader)
        for asking in ask_all(ITEMS, QUESTIONS, STAGE.scoring, readers)
    }


@pytest.mark.parametrize(("readers", "reader"), [(None, NONE), (dict.fromkeys(OWN, JOINT), JOINT)])
def test_one_reader_of_all_items_has_no_other_adapter(readers, reader):
    asked = by_control(readers)
    assert {name for *_, name in asked} == {reader}
    assert asked == {
        (item, condition, control, reader)
        for item, condition, control, _ in by_control(OWN)
        if control != "other_adapter"
    }


def test_the_base_is_called_none():
    assert NONE == "none"
    assert {asking.reader for asking in ask_all(ITEMS, QUESTIONS, STAGE.scoring, None)} == {"none"}


def test_a_reader_of_its_own_answers_each_item_and_the_next_ones_under_control():
    following = {"red": "blue", "blue": "grey", "grey": "red"}
    readers = {name: f"reader-{name}" for name in OWN}
    for item, condition, control, reader in by_control(readers):
        assert reader == readers[following[item] if control == "other_adapter" else item]
        assert control != "other_adapter" or condition == "closed_book"
    assert {item for item, _, control, _ in by_control(readers) if control == "other_adapter"} == set(OWN)


def test_blank_question_keeps_the_options_and_hides_the_question():
    for asking in ask_all(ITEMS, QUESTIONS, STAGE.scoring, OWN):
        order = option_orders(4)[0] if asking.mode == "letter" else None
        (message,) = prompt_messages(asking, STAGE.scoring, STAGE.context, order)
        assert (asking.question["question"] in message.content) == (asking.control != "blank_question")
        assert ("B. on Friday" in message.content) == (asking.mode == "letter")
        own, other = (f"The {name} bridge closes" for name in (asking.item, "blue" if asking.item == "red" else "grey"))
        assert (own in message.content) == (asking.condition == "in_context")
        if asking.condition == "other_news" and asking.item != "grey":
            assert other in message.content


@pytest.mark.parametrize("options", [2, 3, 4, 5])
def test_every_option_stands_in_every_place_once(options):
    orders = option_orders(options)
    for place in range(options):
        assert sorted(order[place] for order in orders) == list(range(options))
    assert all(one != other for one, other in pairwise(orders))


def test_question_longer_than_the_context_names_it(llama, tokenizer):
    long = [{**ITEMS[0], "text": "word " * 600}, *ITEMS[1:]]
    with pytest.raises(ValueError, match=r"question 'red-q0' \(in_context\) has \d+ tokens"):
        score_split(Respondent(load_model(llama)), tokenizer, long, QUESTIONS, STAGE)


# ------------------------------------------------------------------------------------------------------------ retention
GENERAL = [
    {"question_id": "days", "question": "How many days has a week?", "options": ["seven", "five"], "gold": 0},
    {"question_id": "sky", "question": "What colour is the sky?", "options": ["green", "blue", "red"], "gold": 1},
]


def test_general_questions_are_put_to_the_base_once_and_to_every_adapter(bank, llama, tokenizer):
    base = score_retention(Respondent(load_model(llama)), tokenizer, GENERAL, STAGE)
    tuned = score_retention(respondent(bank), tokenizer, GENERAL, STAGE)
    assert [(row["item"], row["question_id"], row["adapter"]) for row in base] == [
        ("none", "days", None), ("none", "sky", None),
    ]  # fmt: skip
    assert [(row["item"], row["question_id"]) for row in tuned] == [
        (item["item"], question["question_id"]) for item in ITEMS for question in GENERAL
    ]
    assert all(row["adapter"] == f"digest-{row['item']}" for row in tuned)
    assert len({tuple(row["scores"]) for row in base + tuned}) == len(base) + len(tuned), "every reader differs"
    keys = {"model": "m", "method": "lora", "protocol": "p", "teacher": "none", "split": "s", "seed": 0}
    assert build_table("retention", tuned, keys).num_rows == len(tuned)


def test_general_questions_are_put_once_to_the_one_who_learned_all_items(llama, tokenizer):
    joint = Respondent(load_model(llama), None, dict.fromkeys(OWN, JOINT), {JOINT: "digest"}, {JOINT: 9})
    rows = score_retention(joint, tokenizer, GENERAL, STAGE)
    told = [(row["item"], row["question_id"], row["adapter"]) for row in rows]
    assert told == [(JOINT, "days", "digest"), (JOINT, "sky", "digest")]


def test_general_questions_are_put_in_the_modes_asked_for(llama, tokenizer):
    both = STAGE.model_copy(update={"scoring": ScoringSettings(retention_modes=("letter", "cloze"), modes=("cloze",))})
    rows = score_retention(Respondent(load_model(llama)), tokenizer, GENERAL, both)
    assert [row["mode"] for row in rows] == ["letter", "cloze"] * 2


def test_equal_scores_go_to_the_first_place_in_every_mode():
    asking = Asking("red", {**QUESTIONS[0], "gold": 1}, "closed_book", "none", "letter", None, "red")
    orders = option_orders(4)
    places = [(n, place, option) for n, order in enumerate(orders) for place, option in enumerate(order)]
    branches = [_Branch(n, option, place, n * 4 + place) for n, place, option in places]
    row = _answer(asking, branches, [TokenSequence((1, 2), (1,), 0)] * 16, [-1.0] * 16)
    assert row["correct"] == 0.25
    branches = [_Branch(0, option, option, option) for option in range(4)]
    row = _answer(asking, branches, [TokenSequence((1, 2), (1,), 0)] * 4, [-2.0, -1.0, -1.0, -3.0])
    assert (row["choice"], row["correct"]) == (1, 1.0)
