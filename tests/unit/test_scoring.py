"""The tree scorer equals one forward pass an option, in every condition, control and mode."""

from itertools import pairwise

import pytest
import torch
from peft import PeftModel

from sys2ft.chat import encode_text, render_prompt
from sys2ft.evaluation.questions import LETTERS, NONE, Asking, as_statements, ask_all, option_orders, prompt_messages
from sys2ft.evaluation.respondents import Respondent
from sys2ft.evaluation.scoring import _answer, _Branch, read_sequences, score_split
from sys2ft.forward import own_attention
from sys2ft.grid import JOINT
from sys2ft.models import load_model
from sys2ft.packing import BASE, TokenSequence
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.stages import ScoreStage
from sys2ft.training.lora_bank import LoraBank

STAGE = ScoreStage(scoring=ScoringSettings(), context="News: {news}\n\n")
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


def test_an_option_is_also_scored_without_question_and_news(adapted, tokenizer, answers):
    askings = list(ask_all(ITEMS, QUESTIONS, STAGE.scoring, OWN))
    blanked = {
        (row["question_id"], row["adapter"]): row["logprobs"]
        for row in answers
        if (row["condition"], row["control"], row["mode"]) == ("closed_book", "blank_question", "cloze")
    }
    for asking, row in zip(askings, answers, strict=True):
        if row["mode"] == "letter":
            assert row["unconditional"] is row["choice_unconditional"] is None
            continue
        neutral = Asking(asking.item, asking.question, "closed_book", "blank_question", "cloze", None, asking.reader)
        if asking.control == "other_adapter":
            options = asking.question["options"]
            plain = [plain_score(adapted, tokenizer, neutral, None, option) for option in options]
            assert row["unconditional"] == pytest.approx(plain, abs=1e-4)
        else:
            assert row["unconditional"] == blanked[row["question_id"], row["adapter"]]
        if (asking.condition, asking.control) == ("closed_book", "blank_question"):
            assert row["choice_unconditional"] is None, "both are one prompt"
            continue
        gains = [own - alone for own, alone in zip(row["logprobs"], row["unconditional"], strict=True)]
        assert row["choice_unconditional"] == gains.index(max(gains))
        assert row["choice_sum"] == row["logprobs"].index(max(row["logprobs"]))


STATED = [
    question | {
        "statement": f"The {question['item']} bridge closes on {day}.",
        "false_statement": f"The {question['item']} bridge closes on {other}.",
    }
    for question, day, other in zip(QUESTIONS, ("Monday", "May") * 3, ("Sunday", "Friday") * 3, strict=True)
]  # fmt: skip
STATING = ScoreStage(scoring=ScoringSettings(modes=("statement",)), context=STAGE.context)


def test_a_true_statement_is_compared_with_a_false_one(bank, adapted, tokenizer):
    rows = score_split(respondent(bank), tokenizer, ITEMS, STATED, STATING)
    askings = list(ask_all(ITEMS, STATED, STATING.scoring, OWN))
    assert len(rows) == len(askings) == 6 * 6, "every condition and control"
    for asking, row in zip(askings, rows, strict=True):
        pair = asking.question["options"]
        assert len(pair) == len(row["scores"]) == 2
        whole = [asking.question["statement"], asking.question["false_statement"]]
        assert pair[row["gold"]] in whole[0]
        assert pair[1 - row["gold"]] in whole[1]
        assert set(pair) == set(whole) or asking.control == "blank_question"
        plain = [plain_score(adapted, tokenizer, asking, None, text) for text in pair]
        assert row["logprobs"] == pytest.approx(plain, abs=1e-4)
        assert row["correct"] == float(row["choice"] == row["gold"])
    assert {asking.question["gold"] for asking in askings} == {0, 1}, "ties would go to one of the two"


def test_a_statement_is_not_asked_for():
    asking = next(ask_all(ITEMS, STATED, STATING.scoring, OWN))
    (message,) = prompt_messages(asking, STATING.scoring, STATING.context, None)
    assert message.content == "State a fact."
    inside = next(one for one in ask_all(ITEMS, STATED, STATING.scoring, OWN) if one.news)
    (message,) = prompt_messages(inside, STATING.scoring, STATING.context, None)
    assert message.content == "News: The red bridge closes on Monday.\n\nState a fact."


@pytest.mark.parametrize(
    ("true", "false", "left"),
    [
        ("It opens on Monday.", "It opens on Friday.", {"Monday.", "Friday."}),
        ("Ann leads the team.", "Bob leads the team.", {"Ann", "Bob"}),
        ("The gate is open.", "The gate is not open.", {"open.", "not open."}),
        ("A gate of oak, it says.", "A door of fir, it says.", {"gate of oak,", "door of fir,"}),
        ("Yes.", "No.", {"Yes.", "No."}),
    ],
)
def test_blanked_statements_keep_what_differs(true, false, left):
    question = as_statements(QUESTIONS[0] | {"statement": true, "false_statement": false}, blank=True)
    assert set(question["options"]) == left
    assert question["options"][question["gold"]] in true
    assert question["options"] == sorted(question["options"])


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
    with pytest.raises(ValueError, match=r"question 'red-q0' \(in_context\) has \d+ tokens, .* of .*/weights: shorten"):
        score_split(Respondent(load_model(llama)), tokenizer, long, QUESTIONS, STAGE)


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


def test_an_option_without_a_token_is_named_with_its_question_and_model(llama, tokenizer):
    wordless = [QUESTIONS[0] | {"options": ["Monday", "", "Sunday", "May"]}, *QUESTIONS[1:]]
    cloze = STAGE.model_copy(update={"scoring": STAGE.scoring.model_copy(update={"modes": ("cloze",)})})
    with pytest.raises(
        ValueError, match=r"question 'red-q0': the option '' has no token in the tokenizer of .*weights"
    ):
        score_split(Respondent(load_model(llama)), tokenizer, ITEMS, wordless, cloze)


# ----------------------------------------------------------------------------------------------------------- precision
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox"])
def test_in_bfloat16_options_differ_as_far_as_hidden_states_let_them(manifests, tokenizer, architecture):
    """What comes after the projection, as the soft cap of Gemma 2, still happens."""
    prompts = [encode_text(tokenizer, text) for text in ("When does it close?", "The bridge closes on")]
    letters = [encode_text(tokenizer, letter)[0] for letter in LETTERS]
    sequences = [TokenSequence((*prompt, letter), (len(prompt),), BASE) for prompt in prompts for letter in letters]
    model = load_model(manifests[architecture], "bfloat16")
    with torch.no_grad():
        model.get_output_embeddings().weight *= 30  # logits as far from 0 as those of trained models
    found = [total for total, _ in read_sequences(Respondent(model), sequences, 512)]
    projection = model.get_output_embeddings()
    coarse, weight = [], projection.weight.float()
    for exact in (False, True):
        if exact:
            projection.forward = lambda hidden: torch.nn.functional.linear(hidden.float(), weight)
        for number, prompt in enumerate(prompts):
            with torch.no_grad(), own_attention(model):
                logits = model(torch.tensor([prompt])).logits[0, -1].float()[letters]
            ours = torch.tensor(found[number * len(letters) :][: len(letters)])
            difference = ((ours - ours[0]) - (logits - logits[0])).abs().max().item()
            if exact:
                assert difference < 0.02 * logits.std().item(), "attention rounds in another order"
            else:
                coarse.append(difference)
    assert max(coarse) > 0.005
    assert len(set(found)) == len(found)
