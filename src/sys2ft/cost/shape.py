"""A model's size from its shape, without loading anything: parameters, FLOPs and bytes a token.

Matrices, biases and norms are those of transformers' own classes, with which a test compares the counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from sys2ft.settings.base import Dtype
from sys2ft.settings.resources import ModelShape

BYTES: Mapping[Dtype, int] = {"bfloat16": 2, "float32": 4}
QKV = ("q_proj", "k_proj", "v_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Family:
    """What an architecture adds to the sizes of its matrices."""

    attention_biases: tuple[str, ...] = (*QKV, "o_proj")
    """The matrices of attention that have a bias where `attention_bias` is on."""
    attention_bias: bool = False
    mlp_biases: tuple[str, ...] = MLP
    mlp_bias: bool = False
    norms: int = 2
    """Of the hidden size, in each layer."""
    norm_vectors: int = 1
    """Of a norm: its weight, and its bias."""
    head_norms: int = 0
    """Of the size of a head, in each layer."""
    head_dim: int | None = None
    tied: bool = False


FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(attention_biases=QKV, attention_bias=True),
    "qwen3": Family(head_norms=2, head_dim=128),
    "gemma2": Family(norms=4, head_dim=256, tied=True),
    "gpt_neox": Family(
        attention_biases=("query_key_value", "dense"),
        attention_bias=True,
        mlp_biases=("dense_h_to_4h", "dense_4h_to_h"),
        mlp_bias=True,
        norm_vectors=2,
    ),
}


def head_dim(shape: ModelShape) -> int:
    """The size of an attention head."""
    whole = shape.hidden_size // shape.num_attention_heads
    return shape.head_dim or FAMILIES[shape.model_type].head_dim or whole


def key_value_heads(shape: ModelShape) -> int:
    """How many heads have keys and values of their own."""
    return shape.num_key_value_heads or shape.num_attention_heads


def linears(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """The matrices of a layer, by the last names of their modules: (inputs, outputs)."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    if shape.model_type == "gpt_neox":
        attention = {"query_key_value": (hidden, 3 * hidden), "dense": (hidden, hidden)}
        return attention | {"dense_h_to_4h": (hidden, inner), "dense_4h_to_h": (inner, hidden)}
    queries, keys = shape.num_attention_heads * head_dim(shape), key_value_heads(shape) * head_dim(shape)
    attention = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys)}
    feed_forward = {"gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden)}
    return attention | {"o_proj": (queries, hidden)} | feed_forward


def body_parameters(shape: ModelShape) -> int:
    """All parameters but those of embedding and output layer."""
    family, matrices = FAMILIES[shape.model_type], linears(shape)
    on = family.attention_bias if shape.attention_bias is None else shape.attention_bias
    biased = family.attention_biases * on
    biased += family.mlp_biases * (family.mlp_bias or shape.mlp_bias)
    norm = family.norm_vectors * shape.hidden_size
    layer = sum(map(prod, matrices.values())) + sum(matrices[name][1] for name in biased)
    layer += family.norms * norm + family.head_norms * head_dim(shape)
    return shape.num_hidden_layers * layer + norm


def count_parameters(shape: ModelShape) -> int:
    """All parameters, a tied output layer counted once, as transformers counts them."""
    tied = FAMILIES[shape.model_type].tied if shape.tie_word_embeddings is None else shape.tie_word_embeddings
    return body_parameters(shape) + (1 if tied else 2) * shape.vocab_size * shape.hidden_size


def adapter_parameters(shape: ModelShape, rank: int, targets: Sequence[str]) -> int:
    """Of one LoRA adapter; targets that the model has not are left out, and refused when it is loaded."""
    chosen = [size for name, size in linears(shape).items() if name in targets or "all-linear" in targets]
    return shape.num_hidden_layers * rank * sum(map(sum, chosen))


def forward_flops(shape: ModelShape, tokens: float, context: float, predicted: float) -> float:
    """FLOPs of one forward pass: two for each weight and token, attention's products, logits where they are wanted.

    Kaplan et al. 2020 (arXiv 2001.08361, section 2.1, table 1); the embedding is looked up and costs nothing.

    Args:
        tokens: that are computed.
        context: tokens that each of them sees, on average.
        predicted: places whose logits are computed.
    """
    attention = 4 * shape.num_hidden_layers * shape.num_attention_heads * head_dim(shape) * context
    return tokens * (2 * body_parameters(shape) + attention) + 2 * predicted * shape.vocab_size * shape.hidden_size


def cache_bytes(shape: ModelShape, dtype: Dtype) -> float:
    """Bytes of keys and values of a token, in generation."""
    return 2 * BYTES[dtype] * shape.num_hidden_layers * key_value_heads(shape) * head_dim(shape)


def activation_bytes(shape: ModelShape, dtype: Dtype, checkpointing: bool = False) -> float:
    """Bytes that training keeps of a token for its backward pass, logits apart.

    Counted from what torch saves in a layer of transformers' Llama: two norms in float32, the inputs of the matrices
    (for the gradients of adapters), queries, keys and values before and after they are rotated, attention's output,
    and the four inner vectors of the feed-forward part. Recomputed (checkpointing): a layer's input, and one layer.
    """
    size, hidden, layers = BYTES[dtype], shape.hidden_size, shape.num_hidden_layers
    heads = (2 * shape.num_attention_heads + 3 * key_value_heads(shape)) * head_dim(shape)
    layer = 2 * 4 * hidden + size * (2 * hidden + heads + 4 * shape.intermediate_size)
    return layers * size * hidden + layer if checkpointing else layers * layer


def reading_bytes(shape: ModelShape, dtype: Dtype) -> float:
    """Bytes that a token takes while it goes through the widest layer, nothing being kept for a backward pass."""
    heads = (shape.num_attention_heads + 2 * key_value_heads(shape)) * head_dim(shape)
    return 2 * 4 * shape.hidden_size + BYTES[dtype] * (2 * shape.hidden_size + heads + 3 * shape.intermediate_size)
