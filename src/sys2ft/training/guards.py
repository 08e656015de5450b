"""What stops a cell: each names the item, the place or the step, and what would mend it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from sys2ft.packing import Pass
from sys2ft.training.learners import Member

Row = Mapping[str, Any]


def check_sequences(
    sequences: Sequence[Row], samples: int | None, padding: int | None, context: int | None = None
) -> None:
    """Check what is to be trained, before the model is loaded.

    Args:
        sequences: rows of the table `sequences`.
        samples: how many each item is to have; None where they are matched otherwise.
        padding: the token that fills batches elsewhere and ends no text; None where there is none.
        context: tokens that the model can read.

    Raises:
        ValueError: an item has fewer sequences than asked for; a sequence has nothing to train, trains padding, is
            longer than the model's context, or cannot be distilled.
    """
    counts: dict[str, int] = {}
    for row in sequences:
        where = f"item '{row['item']}', sequence {row['position']}"
        counts[row["item"]] = counts.get(row["item"], 0) + 1
        trained = [token for token, loss in zip(row["token_ids"], row["loss_mask"], strict=True) if loss]
        if not trained:
            raise ValueError(f"{where}: no token has loss: look at the protocol's ask and the chat template")
        if padding in trained:
            raise ValueError(f"{where}: the padding token {padding} is trained: the text was padded, or holds it")
        read = row["token_ids"] if row["context_ids"] is None else row["context_ids"]
        if row["context_ids"] is not None and trained != [
            token for token, loss in zip(read, row["context_mask"], strict=True) if loss
        ]:
            raise ValueError(f"{where}: with the news in context other tokens have loss: it cannot be distilled")
        if context and len(read) > context:
            raise ValueError(f"{where}: its {len(read)} tokens exceed the {context} of the model's context")
    for item, count in counts.items():
        if samples is not None and count < samples:
            raise ValueError(f"item '{item}': {samples} samples are asked for, and {count} sequences exist")


def trained_padding(config: Any) -> int | None:
    """The padding token of a model, unless it ends texts as well: then it is rightly trained."""
    text = config.get_text_config()
    ends = text.eos_token_id if isinstance(text.eos_token_id, list) else [text.eos_token_id]
    return None if text.pad_token_id in ends else text.pad_token_id


def check_finite(step: int, rows: Sequence[Row]) -> None:
    """Check a step's rows of the training log.

    Raises:
        FloatingPointError: a loss or a gradient is not finite.
    """
    for row in rows:
        if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
            raise FloatingPointError(
                f"item '{row['item']}', step {step}: the loss is {row['loss']} and the gradient's norm "
                f"{row['grad_norm']}; lower the learning rate or take dtype float32"
            )


def check_moved(members: Sequence[Member], log: Sequence[Row]) -> None:
    """Check that every member learned something.

    Raises:
        RuntimeError: the gradients of a member were 0, or its learning rate was.
    """
    moved = {row["item"] for row in log if row["grad_norm"] > 0 and row["lr"] > 0}
    if still := [member.name for member in members if member.name not in moved]:
        raise RuntimeError(f"what {', '.join(still)} trains did not move: look at sequences, loss masks and lr")


@contextmanager
def explain_memory(step: int, batch: Pass | None = None, names: Sequence[str] = ()) -> Iterator[None]:
    """Say what was too large, and which setting makes it smaller.

    Args:
        step: under way.
        batch: the pass under way; None: weights are updated, and the first update makes the optimiser's state.
        names: the items of the pass.

    Raises:
        MemoryError: in place of whatever the device says when it has no memory left.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        out = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
        if not out:
            raise
        if batch is None:
            raise MemoryError(
                f"step {step}: no memory to update the weights: share the optimiser's state among several processes "
                "(models.<name>.resources.gpu, .deepspeed), or choose a method that trains fewer weights"
            ) from error
        tokens, longest = batch.computed_tokens, max(block.keys.shape[1] for block in batch.blocks)
        smaller = f"tokens_per_pass to {tokens // 2}, or " if tokens > longest else ""  # one sequence is not cut
        raise MemoryError(
            f"step {step}: no memory for a pass of {tokens} tokens (the longest sequence has {longest}; items "
            f"{', '.join(names)}): set models.<name>.resources.{smaller}activation_checkpointing to true (of kind full "
            "in bfloat16 with several GPUs only)"
        ) from error
