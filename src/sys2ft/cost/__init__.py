"""What work costs, from a model's size and its tokens: the only place that knows.

FLOPs are the usual counts a token: 2 x parameters forward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). They
leave out attention's share that grows with the context, and count every prompt in full, cached or not: a count that
does not depend on the machine.
"""

from collections.abc import Sequence


def total(values: Sequence[float | None]) -> float | None:
    """The sum of some costs; None where one of them is unknown."""
    return None if None in values else sum(value for value in values if value is not None)


def generation_flops(parameters: int, prompt_tokens: int, completion_tokens: int) -> float:
    """FLOPs of reading a prompt and writing a completion."""
    return 2.0 * parameters * (prompt_tokens + completion_tokens)


def training_flops(parameters: int, tokens: int, context_tokens: int = 0, method: str = "lora") -> float:
    """FLOPs of training.

    Adapters on a frozen base: forward, and as much again backward through the activations. All weights: the backward
    pass costs twice the forward one. Sequences of the base that are imitated are read once.

    Args:
        context_tokens: of sequences that the base reads to be imitated.
        method: what is updated, `lora` or `full`.
    """
    return (6.0 if method == "full" else 4.0) * parameters * tokens + 2.0 * parameters * context_tokens
