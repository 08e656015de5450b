"""What jobs need and run on: where a field is null it is computed (`sys2ft.cost`); no result depends on any of it."""

from typing import Literal

from pydantic import Field

from sys2ft.settings.base import Frozen

DeviceName = Literal["cpu", "a100", "h100", "h200"]


class ModelShape(Frozen):
    """What a model's size follows from, in the words of its `config.json`."""

    model_type: str
    """llama, mistral, qwen2, qwen3, gemma2 or gpt_neox."""
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int | None = Field(None, ge=1)
    """Null: as many as attention heads."""
    head_dim: int | None = Field(None, ge=1)
    """Null: as in the architecture, mostly hidden_size / num_attention_heads."""
    vocab_size: int = Field(ge=1)
    tie_word_embeddings: bool | None = None
    """Whether the output layer is the embedding; null: as in the architecture."""
    attention_bias: bool | None = None
    """Whether attention's matrices have biases; null: as in the architecture."""
    mlp_bias: bool = False


class ModelResources(Frozen):
    """What a job that holds this model needs; where it runs is the profile's business. Null: computed for each job."""

    threads: int | None = Field(None, ge=1)
    """Null: 1 without a GPU, 8 with one."""
    gpu: int | None = Field(None, ge=0)
    """On each node. Null: the fewest whose memory holds what the job does, on the study's device."""
    mem_mb: int | None = Field(None, ge=1)
    """Main memory on each node, in MB; a job that is tried again gets as much again."""
    runtime: int | None = Field(None, ge=1)
    """Minutes; a job that is tried again gets as many again."""
    nodes: int | None = Field(None, ge=1)
    """Nodes that fine-tune a cell together, each with the GPUs and processes given here."""
    processes: int | None = Field(None, ge=1)
    """Processes a node that fine-tune a cell together, with DeepSpeed when there are several; null: one a GPU."""
    deepspeed: str | None = None
    """DeepSpeed's configuration, used when several processes fine-tune a cell together; null: one of config/deepspeed,
    of the lowest stage with which the fewest GPUs do."""
    tokens_per_pass: int = Field(2048, ge=16)
    """Tokens in one forward and backward pass of fine-tuning; bounds memory, and results do not depend on it."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""


class Launch(Frozen):
    """How `fine_tune` is spread over processes and passes."""

    nodes: int = Field(1, ge=1)
    processes: int = Field(1, ge=1)
    """On each node; several train with DeepSpeed."""
    deepspeed: str | None = None
    """DeepSpeed's configuration, for several processes."""
    tokens_per_pass: int = Field(2048, ge=16)
    activation_checkpointing: bool = False

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.nodes * self.processes
