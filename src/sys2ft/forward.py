"""One forward pass over packed rows: what the model says at each scored token, and nothing else.

The model reads a pass as one sequence without padding. Only attention has to tell its branches apart:
`packed_attention` takes the place of the model's own attention function, which transformers calls by name, so any
architecture that does so can be read. What cannot be read rightly is refused (`use_packed_attention`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from sys2ft.packing import Pass

PACKED = "sys2ft_packed"
SHORT = 512  # tokens; up to there torch's fused attention trains more slowly on a CPU in bfloat16 than plain products
LAYERS = {"full_attention", "sliding_attention"}  # the kinds of layers that a mask can express


class Layout:
    """How the tokens of a pass see each other, as attention asks for it layer by layer."""

    def __init__(self, step: Pass):
        self.blocks, self.restore = step.blocks, step.restore
        self.masks: dict[tuple[int, torch.dtype, int | None], Tensor] = {}
        """What is added to attention scores, by block, precision and window: made once a pass, used by every layer."""

    def is_causal(self, number: int, window: int | None) -> bool:
        """Whether a block needs no mask: every row asks from its start on, and no window cuts it."""
        block = self.blocks[number]
        return block.plain and (window is None or block.keys.shape[1] <= window)

    def mask(self, number: int, dtype: torch.dtype, window: int | None) -> Tensor:
        """(R, 1, Q, K): 0 where a key is seen and the least number elsewhere."""
        block = self.blocks[number]
        length = block.keys.shape[1]
        if (number, dtype, window) not in self.masks:
            behind = block.positions[:, None, :, None] - torch.arange(length, device=block.keys.device)
            seen = behind >= 0 if window is None else (behind >= 0) & (behind < window)
            mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            self.masks[number, dtype, window] = mask.masked_fill_(~seen, torch.finfo(dtype).min)
        return self.masks[number, dtype, window]


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, layout: Layout | None = None,
    scaling: float | None = None, sliding_window: int | None = None, softcap: float | None = None, **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention along the branches of a pass, in the form in which transformers calls attention functions. Nothing is
    dropped out.

    Args:
        query: (1, H, T, D); key and value may have fewer heads.
        layout: which tokens see which; given to the model's forward, which hands it on.

    Raises:
        ValueError: the model hands on no layout, or wants what is not done here (attention sinks, position biases).
    """
    if layout is None:
        raise ValueError(f"{type(module).__name__} does not hand on the layout of packed rows: it cannot be read")
    strange = [name for name in ("s_aux", "position_bias") if others.get(name) is not None]
    strange += ["a mask of its own"] * (mask is not None) + ["what comes later"] * (
        not getattr(module, "is_causal", True)
    )
    if strange:
        raise ValueError(f"{type(module).__name__} attends with {', '.join(strange)}, which packed rows do not have")
    flat_query, flat_key, flat_value = (states[0].transpose(0, 1) for states in (query, key, value))  # (T, H, D)
    outputs = []
    for number, block in enumerate(layout.blocks):
        rows = (_rows(flat_query, block.queries), _rows(flat_key, block.keys), _rows(flat_value, block.keys))
        causal = layout.is_causal(number, sliding_window)
        seen = None if causal else layout.mask(number, query.dtype, sliding_window)
        output = _attend(*rows, seen, query.shape[-1] ** -0.5 if scaling is None else scaling, softcap)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs).index_select(0, layout.restore)[None], None


def _rows(states: Tensor, places: Tensor) -> Tensor:
    """(T, H, D) -> (R, H, L, D)."""
    return states.index_select(0, places.flatten()).view(*places.shape, *states.shape[1:]).transpose(1, 2)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
) -> Tensor:
    """Attention of rows; where `mask` is None each token sees those up to its own place."""
    short = query.requires_grad and query.device.type == "cpu" and key.shape[2] <= SHORT
    if softcap is None and not (short and query.dtype == torch.bfloat16):
        shared = query.shape[1] != key.shape[1]
        return functional.scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=shared
        )
    return _attend_plainly(query, key, value, mask, scaling, softcap)


def _attend_plainly(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
) -> Tensor:
    """The same by plain products; heads that share keys ask together."""
    (rows, heads, asking, size), answering = query.shape, key.shape[2]
    together = (query * scaling).reshape(rows, key.shape[1], -1, size)
    scores = (together @ key.transpose(2, 3)).view(rows, heads, asking, answering)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if mask is None:
        later = torch.ones(asking, answering, dtype=torch.bool, device=query.device).triu(1)
        scores = scores.masked_fill_(later, torch.finfo(scores.dtype).min)
    else:
        scores = scores.add_(mask)
    weights = scores.softmax(-1).view(rows, key.shape[1], -1, answering)
    return (weights @ value).view(rows, heads, asking, -1)


AttentionInterface.register(PACKED, packed_attention)


def use_packed_attention(model: Any) -> None:
    """Let a model attend within packed rows from now on, and only so.

    Raises:
        ValueError: it would not be read rightly: it keeps a state along the sequence, has layers of another kind than
            attention, or does not call attention functions by name.
    """
    config = model.config.get_text_config()
    if config._attn_implementation == PACKED:
        return
    strange = set(getattr(config, "layer_types", None) or ()) - LAYERS
    if strange or getattr(model, "_is_stateful", False) or not getattr(model, "_supports_attention_backend", False):
        what = f"its layers are of the kind {', '.join(sorted(strange))}" if strange else "it is no plain transformer"
        raise ValueError(f"models of the type '{config.model_type}' cannot be read in packed rows: {what}")
    model.attention_before = config._attn_implementation
    model.set_attn_implementation(PACKED)


@contextmanager
def own_attention(model: Any) -> Iterator[None]:
    """Within it a model that was put on packed attention attends as it was made to, so that it can generate."""
    packed = model.config.get_text_config()._attn_implementation == PACKED
    if packed:
        model.set_attn_implementation(model.attention_before)
    try:
        yield
    finally:
        if packed:
            model.set_attn_implementation(PACKED)


def _check_positions(config: Any, longest: int) -> None:
    """Refuse positions that change with the longest sequence of a pass: others in it would be read differently."""
    rope = getattr(config, "rope_parameters", None) or {}
    limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
    if rope.get("rope_type") in ("dynamic", "longrope") and longest > limit:
        raise ValueError(f"a sequence of {longest} tokens goes beyond the {limit} up to which positions stay the same")


def token_logits(model: Any, step: Pass) -> Tensor:
    """Run one pass and return the logits from which each scored token is predicted, (P, V), in the model's precision.

    The hidden states are cut to the scored places just before the output projection, by a hook, so that whatever the
    architecture does to its logits afterwards (scaling, soft capping) still happens.

    Args:
        step: on the model's device.
    """
    use_packed_attention(model)
    _check_positions(model.config.get_text_config(), int(step.position_ids.max()) + 1)
    with _only_at(model.get_output_embeddings(), step.places):
        output = model(
            input_ids=step.input_ids[None],
            position_ids=step.position_ids[None],
            use_cache=False,
            layout=Layout(step),
        )
    return output.logits


def token_log_probabilities(model: Any, step: Pass, device: torch.device) -> Tensor:
    """The log-probability of every scored token under a bare model, (P,) in float32.

    Raises:
        ValueError: the pass is for adapters, or the model cannot be read in packed rows.
    """
    if step.offsets is not None:
        raise ValueError("sequences of an adapter were given to a bare model")
    step = step.to(device)
    return -functional.cross_entropy(token_logits(model, step).float(), step.targets, reduction="none")


@contextmanager
def exact_targets(model: Any, places: Tensor, targets: Tensor) -> Iterator[None]:
    """Within it the logits of some tokens are computed in float32, whatever the model's precision.

    In bfloat16 logits lie up to 1/8 apart: options would often have one score, and the choice be an accident of order.

    Args:
        places: (P,) numbers among the scored places of the pass.
        targets: (P,) the tokens.
    """

    def correct(projection: Any, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        hidden, weight = inputs[0][places].float(), projection.weight[targets].float()
        exact = (hidden * weight).sum(-1)
        if projection.bias is not None:
            exact = exact + projection.bias[targets]
        logits = logits.float()
        logits[places, targets] = exact
        return logits

    projection = model.get_output_embeddings()
    needed = type(projection) is nn.Linear and projection.weight.dtype != torch.float32
    handle = projection.register_forward_hook(correct) if needed else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def _only_at(projection: nn.Module, places: Tensor) -> Iterator[None]:
    handle = projection.register_forward_pre_hook(lambda _, args: (args[0].flatten(0, 1)[places],))
    try:
        yield
    finally:
        handle.remove()
