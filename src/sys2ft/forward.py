"""One forward pass over packed rows: the log-probability of each scored token, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sys2ft.packing import Pass


class Routing:
    """Where each adapter's tokens end in the flattened rows of the pass under way; None: the base alone."""

    offsets: Tensor | None = None


def token_log_probabilities(model: Any, step: Pass, device: torch.device, routing: Routing | None = None) -> Tensor:
    """Run one pass and return the log-probability of every scored token, (P,) in float32.

    The hidden states are cut to the scored places just before the output projection, by a hook, so that whatever the
    architecture does to its logits afterwards (scaling, soft capping) still happens.

    Raises:
        ValueError: the model attends within a window that the longest sequence exceeds.
    """
    check_window(model.config, int(step.position_ids.max()) + 1)
    if routing is not None:
        routing.offsets = None if step.offsets is None else step.offsets.to(device)
    elif step.offsets is not None:
        raise ValueError("sequences of an adapter were given to a bare model")
    with _only_at(model.get_output_embeddings(), step.places.to(device)):
        output = model(
            input_ids=step.input_ids.to(device),
            position_ids=step.position_ids.to(device),
            attention_mask=_additive(step.attention_mask.to(device), model.dtype),
            use_cache=False,
        )
    targets = step.targets.to(device)
    return -functional.cross_entropy(output.logits.float(), targets, reduction="none")


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a token is seen and the least number elsewhere: the form that every attention implementation adds."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def check_window(config: Any, longest: int) -> None:
    """Refuse what a packed row's mask does not express: attention limited to a window shorter than a sequence."""
    text = config.get_text_config()
    layers = getattr(text, "layer_types", None) or []
    window = getattr(text, "sliding_window", None)
    if window and longest > window and ("sliding_attention" in layers or not layers):
        raise ValueError(f"a sequence of {longest} tokens exceeds the model's attention window of {window}")


@contextmanager
def _only_at(projection: nn.Module, places: Tensor) -> Iterator[None]:
    handle = projection.register_forward_pre_hook(lambda _, args: (args[0].flatten(0, 1)[places],))
    try:
        yield
    finally:
        handle.remove()
