"""Masked thought fine-tuning: random input tokens of what is trained are hidden, while the targets stay.

Source: Chen et al. (2024, arXiv 2403.02178), equation 1: each token of the answer is replaced by a mask with a chance
p of its own; the question never is. Replaced tokens are attended to like others.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def mask_inputs(
    token_ids: Sequence[int], candidates: Sequence[int], share: float, replacement: int, seed: int
) -> tuple[int, ...]:
    """The inputs of a sequence with some of its tokens hidden; the targets are `token_ids` still.

    Args:
        token_ids: (T,) of the sequence.
        candidates: places that may be hidden, those with loss.
        share: chance of each candidate, independent of the others. With the same seed, a larger share hides the same
            places and more, so that it can grow in training.
        replacement: the token that stands in their place.
        seed: one for each visit of each sequence: the paper hides other tokens every time.

    Returns:
        (T,).

    Raises:
        IndexError: a candidate is beyond the sequence.
    """
    random, inputs = Random(seed), list(token_ids)
    for place in candidates:
        if random.random() < share:
            inputs[place] = replacement
    return tuple(inputs)


def replacement_token(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token that hides others: it is to mean as little as possible (section 2.1).

    The authors add a token `<mask>`, or take the padding of the tokenizer ("train with your own code" in their
    README); a model keeps its vocabulary here. So: the tokenizer's mask, else its padding, else its unknown token,
    each only where it does not also begin or end a text. Where all of them do, the end of text has to serve.

    Raises:
        ValueError: the tokenizer has none of these.
    """
    known = (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id)
    usable = [token for token in known if token is not None]
    if not usable:
        raise ValueError("the tokenizer has no mask, padding, unknown or end token to hide inputs with; give it one")
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return next((token for token in usable if token not in ends), usable[-1])
