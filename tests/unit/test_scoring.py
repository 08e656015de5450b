"""The tree scorer equals one forward pass an option, in every condition, control and mode."""

from itertools import pairwise

import pytest
import torch

from sys2ft.chat import encode_text, render_prompt
from sys2ft.evaluation.questions import LETTERS, Asking, ask_all, option_orders, prompt_messages
from sys2ft.evaluation.scoring import _answer, _Branch, score_retention, score_split
from sys2ft.models import load_model
from sys2ft.packing import TokenSequence
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.stages import ScoreStage
from sys2ft.tables import build_table
from sys2ft.training.lora_bank import LoraBank

STAGE = ScoreStage(scoring=ScoringSettings(row_tokens=512, tokens_per_pass=1024), context="News: {news}\n\n")
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
    with torch.no_grad():
        for module in bank.modules.values():
            module.lora_B.normal_(std=0.3, generator=torch.Generator().manual_seed(4))
    return bank


@pytest.fixture(scope="module")
def answers(bank, tokenizer):
    digests = {item["item"]: f"digest-{item['item']}" for item in ITEMS}
    return score_split(bank.model, tokenizer, ITEMS, QUESTIONS, STAGE, bank, digests)


def plain_score(bank, tokenizer, asking, order, ending):
    prompt = render_prompt(tokenizer, prompt_messages(asking, STAGE.scoring, STAGE.context, order))
    tokens = encode_text(tokenizer, ending)
    ids = torch.tensor([[*prompt, *tokens]])
    offsets = torch.zeros(len(ITEMS), dtype=torch.int32)
    offsets[bank.names.index(asking.reader) :] = ids.shape[1]
    bank.routing.offsets = offsets
    with torch.no_grad():
        logits = bank.model(ids).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) + i - 1, token].item() for i, token in enumerate(tokens))


def test_scores_equal_one_forward_pass_an_option(bank, tokenizer, answers):
    askings = list(ask_all(ITEMS, QUESTIONS, STAGE.scoring, tuned=True))
    assert len(askings) == len(answers) == len(QUESTIONS) * 2 * 6
    for asking, row in list(zip(askings, answers, strict=True))[::5]:
        options = asking.question["options"]
        if asking.mode == "cloze":
            plain = [plain_score(bank, tokenizer, asking, None, option) for option in options]
        else:
            plain = [0.0] * 4
            for order in option_orders(4):
                for place, option in enumerate(order):
                    plain[option] += plain_score(bank, tokenizer, asking, order, LETTERS[place]) / 4
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
    rows = score_split(load_model(llama), tokenizer, ITEMS, QUESTIONS, STAGE)
    assert {row["control"] for row in rows} == {"none", "blank_question"}
    assert {row["adapter"] for row in rows} == {None}


def test_blank_question_keeps_the_options_and_hides_the_question():
    for asking in ask_all(ITEMS, QUESTIONS, STAGE.scoring, tuned=True):
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
        score_split(load_model(llama), tokenizer, long, QUESTIONS, STAGE)


# ------------------------------------------------------------------------------------------------------------ retention
GENERAL = [
    {"question_id": "days", "question": "How many days has a week?", "options": ["seven", "five"], "gold": 0},
    {"question_id": "sky", "question": "What colour is the sky?", "options": ["green", "blue", "red"], "gold": 1},
]


def test_general_questions_are_put_to_the_base_once_and_to_every_adapter(bank, llama, tokenizer):
    base = score_retention(load_model(llama), tokenizer, GENERAL, STAGE)
    digests = {item["item"]: f"digest-{item['item']}" for item in ITEMS}
    tuned = score_retention(bank.model, tokenizer, GENERAL, STAGE, bank, digests)
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


def test_general_questions_are_put_in_the_modes_asked_for(llama, tokenizer):
    both = STAGE.model_copy(update={"scoring": ScoringSettings(retention_modes=("letter", "cloze"), modes=("cloze",))})
    rows = score_retention(load_model(llama), tokenizer, GENERAL, both)
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
