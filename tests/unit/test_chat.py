"""The loss mask covers what is trained and nothing else, with the real template of the embedded model."""

import copy
import json
import shutil

import pytest
from tokenizers import Tokenizer
from transformers import AddedToken, PreTrainedTokenizerFast

from sys2ft.chat import PLAIN_TEMPLATE, Message, encode_text, render_prompt, render_training, trained_assistant, user
from sys2ft.models import load_tokenizer
from sys2ft.worked_example import mark_loss

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

THINKING = CHATML.replace("'\n' + m['content']", "'\n' + thoughts(m) + m['content']").replace(
    "assistant\n' }}", "assistant\n' }}{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)  # fmt: skip
THINKING = (
    "{% macro thoughts(m) %}{% if m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endmacro %}"
    + THINKING
)


@pytest.fixture(scope="module")
def chatml(llama):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(llama.parent / "weights")
    tokenizer.chat_template = CHATML
    return tokenizer


def test_answer_and_its_end_are_trained(chatml):
    ids, mask = render_training(chatml, [user("Who won?"), trained_assistant("Ada won: é, 漢.")])
    assert mark_loss(chatml, ids, mask) == (
        "<|im_start|>user\nWho won?<|im_end|>\n<|im_start|>assistant\n⟦Ada won: é, 漢.<|im_end|>⟧\n"
    )


def test_trained_part_of_a_prefix_is_trained_exactly(chatml):
    ids, mask = render_training(chatml, [user("News: it rained. Who won?", ((6, 16),)), trained_assistant("Ada.")])
    assert "News: ⟦it rained.⟧ Who won?" in mark_loss(chatml, ids, mask)


def test_training_begins_as_the_prompt_does(chatml):
    messages = [user("Who won?")]
    prompt = render_prompt(chatml, messages)
    ids, mask = render_training(chatml, [*messages, trained_assistant("Ada.")])
    assert ids[: len(prompt)] == prompt
    assert mask.index(True) == len(prompt)


def test_answer_that_stands_in_the_question_too_is_found_in_its_place(chatml):
    ids, mask = render_training(chatml, [user("Ada or Bob?"), trained_assistant("Ada")])
    assert mark_loss(chatml, ids, mask).count("⟦") == 1
    assert "assistant\n⟦Ada<|im_end|>⟧" in mark_loss(chatml, ids, mask)


def test_plain_template_serves_models_without_one(tokenizer):
    ids, mask = render_training(tokenizer, [user("Who won?"), trained_assistant("Ada.")])
    assert mark_loss(tokenizer, ids, mask) == "user:\nWho won?<|im_end|>\nassistant:\n⟦Ada.<|im_end|>⟧\n"


def test_an_answer_has_the_same_tokens_where_it_is_trained_and_where_it_is_scored(chatml):
    """Also in the plain template, with a tokenizer that merges a space with the letter after it."""
    told = json.loads(chatml.backend_tokenizer.to_str())
    told["model"]["vocab"]["ĠA"] = len(told["model"]["vocab"])
    told["model"]["merges"] = [["Ġ", "A"]]
    merging = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)), eos_token="<|im_end|>")
    assert len(encode_text(merging, " A")) == 1
    merging.chat_template = PLAIN_TEMPLATE
    messages = [user("Who won?")]
    ids, _ = render_training(merging, [*messages, trained_assistant("Ada won.")])
    prompt, answer = render_prompt(merging, messages), encode_text(merging, "Ada won.")
    assert ids[: len(prompt) + len(answer)] == prompt + answer


def test_the_plain_template_begins_with_the_token_that_begins_texts(chatml):
    chatml = copy.deepcopy(chatml)
    chatml.chat_template, chatml.bos_token = PLAIN_TEMPLATE, "<|endoftext|>"
    ids = render_prompt(chatml, [user("Who won?"), user("Who lost?")])
    assert ids.count(chatml.bos_token_id) == 1
    assert ids[0] == chatml.bos_token_id


@pytest.mark.parametrize("answer", ["start", "n", "assistant", "im"])
def test_an_answer_that_the_template_has_too_is_found_in_its_place(chatml, answer):
    ids, mask = render_training(chatml, [user("Which word?"), trained_assistant(answer)])
    assert mark_loss(chatml, ids, mask).endswith(f"<|im_start|>assistant\n⟦{answer}<|im_end|>⟧\n")


def test_the_end_of_a_turn_is_trained_also_where_its_token_has_no_name(chatml):
    chatml = copy.deepcopy(chatml)
    chatml.add_tokens([AddedToken("<|end|>", special=True)])
    chatml.chat_template = CHATML.replace("<|im_end|>", "<|end|>")
    ids, mask = render_training(chatml, [user("Who won?"), trained_assistant("Ada.")])
    assert "⟦Ada.<|end|>⟧" in mark_loss(chatml, ids, mask)


def test_a_model_that_thinks_is_asked_and_trained_without_thoughts(chatml):
    chatml = copy.deepcopy(chatml)
    chatml.chat_template = THINKING
    prompt = render_prompt(chatml, [user("Who won?")])
    ids, mask = render_training(chatml, [user("Who won?"), trained_assistant("Ada.")])
    assert ids[: len(prompt)] == prompt
    assert "<think>\n\n</think>\n\n⟦Ada.<|im_end|>⟧" in mark_loss(chatml, ids, mask)
    chatml.chat_template = THINKING.replace("enable_thinking is false", "false")
    with pytest.raises(ValueError, match=r"asks for an answer by .* and begins one in another way"):
        render_training(chatml, [user("Who won?"), trained_assistant("Ada.")])


def test_prompts_do_not_depend_on_the_day(llama, tmp_path):
    shutil.copytree(llama.parent, tmp_path / "model")
    path = tmp_path / "model/weights/tokenizer_config.json"
    dated = "{{ strftime_now('%d %b %Y') }}" + CHATML
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": dated}))
    tokenizer = load_tokenizer(tmp_path / "model/model.json")
    assert tokenizer.decode(render_prompt(tokenizer, [user("Who won?")])).startswith("26 Jul 2024<|im_start|>user")


def test_sequence_without_loss_is_refused(chatml):
    with pytest.raises(ValueError, match="no token"):
        render_training(chatml, [user("Who won?"), Message("assistant", "Ada.")])
