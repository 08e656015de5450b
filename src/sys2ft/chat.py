"""Chats as token sequences with a loss mask, through the model's own chat template.

Loss is placed on spans of the text: the rendered chat is tokenised once, as a whole, and a token has loss when it
overlaps a trained span. The end-of-turn token after a trained assistant message has loss too: it is how a model
learns to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# For models that ship no template; stated in the documentation. A line's end merges with no word after it, so that an
# answer has the same tokens where it is trained and where it is scored.
PLAIN_TEMPLATE = (
    "{{ bos_token if bos_token is defined else '' }}"
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
MARK = "\ue000"
"""Stands for the text of a message, to see what the template puts around it."""


@dataclass(frozen=True)
class Message:
    """One turn of a chat; `trained` are the parts of `content` that have loss, as (start, end) in characters."""

    role: str
    content: str
    trained: tuple[tuple[int, int], ...] = ()

    def as_dict(self) -> dict[str, str]:
        """What a chat template takes."""
        return {"role": self.role, "content": self.content}


def user(content: str, trained: tuple[tuple[int, int], ...] = ()) -> Message:
    """A turn of the user."""
    return Message("user", content.strip(), trained)


def trained_assistant(content: str) -> Message:
    """A turn of the assistant that is trained as a whole."""
    content = content.strip()
    return Message("assistant", content, ((0, len(content)),))


def with_news(context: str, title: str, news: str, text: str) -> str:
    """`text` with the news before it, as `context` (a template with {news}) places it."""
    return context.format(news=news, title=title) + text


def render_prompt(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[int]:
    """Token ids of a chat up to where the assistant begins to write."""
    return encode_text(tokenizer, _render(tokenizer, messages, add_generation_prompt=True))


def _render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], **options: bool) -> str:
    """A chat as text; a template that knows thoughts is told that there are none, in training and in prompts alike."""
    told = [message.as_dict() for message in messages]
    return tokenizer.apply_chat_template(told, tokenize=False, enable_thinking=False, **options)


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a text that follows a rendered prompt."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def cut_tokens(tokenizer: "PreTrainedTokenizerBase", text: str, like: str) -> str:
    """`text`, repeated and cut to as many tokens as `like` has."""
    length = len(encode_text(tokenizer, like))
    tokens = encode_text(tokenizer, text)
    while len(tokens) < length:
        text = f"{text}\n\n{text}"
        tokens = encode_text(tokenizer, text)
    return tokenizer.decode(tokens[:length]).strip()


def render_training(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Token ids and loss mask of a whole chat.

    Returns:
        Two lists of one length: ids, and True where the token is trained. The first token never is.

    Raises:
        ValueError: the template changed a message's text, begins a trained answer in another way than it asks for one,
            or no token has loss.
    """
    text = _render(tokenizer, messages)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
    frame = _render(tokenizer, [Message(message.role, MARK) for message in messages])
    around = frame.split(MARK)
    spans, turn_ends = _trained_spans(text, messages, around)
    if messages[-1].role == "assistant":
        prompt = _render(tokenizer, messages[:-1], add_generation_prompt=True)
        before = text[: len(text) - len(around[-1]) - len(messages[-1].content)]
        if not before.startswith(prompt) or before[len(prompt) :].strip():  # some templates put a space between
            raise ValueError(f"the chat template asks for an answer by {prompt[-60:]!r}, and begins one in another way")
    mask = [any(start < high and low < end for low, high in spans) for start, end in offsets]
    # `all_special_ids` has those with a name only, and the token that ends a turn may have none.
    added = tokenizer.added_tokens_decoder.items()
    special = {*tokenizer.all_special_ids, *(number for number, token in added if token.special)}
    for turn_end in turn_ends:
        following = next((i for i, (start, _) in enumerate(offsets) if start >= turn_end), None)
        if following is not None and ids[following] in special:
            mask[following] = True
    mask[0] = False  # nothing stands before it, so nothing can predict it
    if not any(mask):
        raise ValueError(f"no token of this sequence has loss: {text[:200]!r}")
    return ids, mask


def _trained_spans(
    text: str, messages: Sequence[Message], around: Sequence[str]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Trained spans in the rendered text, and where each trained assistant turn ends.

    Args:
        around: what the template puts before each message, and after the last.
    """
    spans, turn_ends, cursor = [], [], 0
    for message, before in zip(messages, around, strict=False):
        start = cursor + len(before)
        if len(around) != len(messages) + 1 or not text.startswith(message.content, start):
            raise ValueError(f"the chat template changed the text of a message: {message.content[:100]!r}")
        cursor = start + len(message.content)
        spans += [(start + low, start + high) for low, high in message.trained]
        if message.role == "assistant" and message.trained:
            turn_ends.append(cursor)
    return spans, turn_ends
