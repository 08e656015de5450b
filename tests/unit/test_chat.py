"""The loss mask covers what is trained and nothing else, with the real template of the embedded model."""

import pytest
from transformers import PreTrainedTokenizerFast

from sys2ft.chat import Message, render_prompt, render_training, trained_assistant, user
from sys2ft.worked_example import mark_loss

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
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
    assert mark_loss(tokenizer, ids, mask) == "user: Who won?<|im_end|>\nassistant: ⟦Ada.<|im_end|>⟧\n"


def test_sequence_without_loss_is_refused(chatml):
    with pytest.raises(ValueError, match="no token"):
        render_training(chatml, [user("Who won?"), Message("assistant", "Ada.")])
