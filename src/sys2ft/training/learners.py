"""What is trained: a bank of adapters on a frozen base, or the weights themselves; opened by a method's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sys2ft.grid import JOINT, derive_seed
from sys2ft.models import load_manifest, load_model
from sys2ft.packing import Pass
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.full_weights import FullWeights
from sys2ft.training.launch import world_size
from sys2ft.training.lora_bank import LoraBank
from sys2ft.training.objective import Context

Row = Mapping[str, Any]


class Learner(Protocol):
    """What the training loop asks of what it trains."""

    names: list[str]
    method: MethodSettings

    @property
    def device(self) -> torch.device:
        """Where it is."""

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """For each name what is trained."""

    def __call__(self, step: Pass, context: Context | None = None) -> Tensor:
        """The loss of every scored token."""

    def export(self, index: int, folder: Path, base_name: str) -> None:
        """Write what was learned under one name."""


@dataclass(frozen=True)
class Member:
    """What is learned under one name, apart from all others.

    Attributes:
        name: an item, or `JOINT`.
        rows: rows of the table `sequences`, in training order.
        lr: learning rate after warm-up; None: the method's.
        seed: of whatever is drawn in its training.
    """

    name: str
    rows: Sequence[Row]
    lr: float | None = None
    seed: int = 0


def make_members(sequences: Sequence[Row], method: MethodSettings, seed_parts: Sequence[object]) -> list[Member]:
    """One member an item, or one for the split, which takes the items in turn, each in its own order.

    Args:
        sequences: rows of the table `sequences` of one cell.
        seed_parts: what, beside the name, seeds are derived from.
    """
    by_item: dict[str, list[Row]] = {}
    for row in sequences:
        by_item.setdefault(row["item"], []).append(row)
    if method.per == "split":
        by_item = {JOINT: sorted(sequences, key=lambda row: row["position"])}
    return [Member(name, rows, seed=derive_seed(*seed_parts, name, "training")) for name, rows in by_item.items()]


def open_learner(
    manifest: Path, members: Sequence[Member], method: MethodSettings, seed_parts: Sequence[object] = ()
) -> Learner:
    """Load the model and make it ready to learn.

    Args:
        manifest: the model's `model.json`.
        members: several for a bank of adapters, one for full weights.
    """
    # Several processes: the engine brings the weights to the GPU, with ZeRO 3 each process its part.
    device = "cpu" if world_size() > 1 else None
    if method.kind == "lora":
        bank = LoraBank(load_model(manifest, device=device), [member.name for member in members], method)
        bank.initialise([derive_seed(*seed_parts, member.name, "adapter") for member in members])
        return bank
    (member,) = members
    dtype = getattr(torch, load_manifest(manifest)["dtype"])
    imitates = any(row["context_ids"] is not None for row in member.rows)
    return FullWeights(load_model(manifest, "float32", device), member.name, method, dtype, imitates)


def save_memory(learner: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them (Chen et al. 2016, arXiv 1604.06174)."""
    learner.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    learner.model.train()  # or transformers would not do it; nothing is dropped, see below
    for module in learner.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in [name for name, value in vars(module).items() if "drop" in name and isinstance(value, float)]:
            setattr(module, name, 0.0)
