"""`fine_tune`: the loop that trains a bank, all items of a split at once."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sys2ft.grid import derive_seed
from sys2ft.packing import TokenSequence, make_passes
from sys2ft.progress import progress_bar
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.lora_bank import LoraBank
from sys2ft.training.optimiser import BankAdamW

LogRow = dict[str, Any]


def train_bank(
    bank: LoraBank, sequences: Mapping[str, Sequence[Mapping[str, Any]]], on_step: Callable[[], object] = lambda: None
) -> list[LogRow]:
    """Train every adapter on its own sequences, in their order, to their end.

    A step takes the next `batch_size` sequences of each adapter; an adapter whose sequences are used up rests while
    the others go on. An adapter's loss is the mean over the trained tokens of its own batch, so that its result does
    not depend on the other adapters.

    Args:
        bank: initialised.
        sequences: for each adapter's name rows of the table `sequences`, in training order.
        on_step: called after every step, for progress.

    Returns:
        Rows of `train_log`, without the cell's keys.

    Raises:
        FloatingPointError: a loss or gradient is not finite; names the item and the step.
        RuntimeError: an adapter did not move.
    """
    optimiser = BankAdamW(bank.parameters(), bank.method)
    log: list[LogRow] = []
    for step in range(step_count(sequences, bank.method)):
        batches = {name: _batch(sequences[name], step, bank.method) for name in bank.names}
        log += _train_step(bank, optimiser, step + 1, batches)
        on_step()
    _check_moved(bank)
    return log


def step_count(sequences: Mapping[str, Sequence], method: MethodSettings) -> int:
    """Steps until the adapter with the most sequences is done."""
    return math.ceil(max(len(rows) for rows in sequences.values()) / method.batch_size)


def _batch(rows: Sequence[Mapping[str, Any]], step: int, method: MethodSettings) -> list[TokenSequence]:
    chosen = rows[step * method.batch_size : (step + 1) * method.batch_size]
    return [
        TokenSequence(tuple(row["token_ids"]), tuple(i for i, loss in enumerate(row["loss_mask"]) if loss))
        for row in chosen
    ]


def _train_step(
    bank: LoraBank, optimiser: BankAdamW, step: int, batches: Mapping[str, list[TokenSequence]]
) -> list[LogRow]:
    began = time.perf_counter()
    packed = [
        TokenSequence(sequence.tokens, sequence.scored, index)
        for index, name in enumerate(bank.names)
        for sequence in batches[name]
    ]
    owner = torch.tensor([sequence.adapter for sequence in packed])
    loss_tokens = torch.zeros(len(bank.names)).index_add(0, owner, torch.tensor([float(len(s.scored)) for s in packed]))
    losses = torch.zeros(len(bank.names))
    computed = 0
    method = bank.method
    for pass_ in make_passes(packed, method.row_tokens, method.tokens_per_pass, len(bank.names)):
        log_probabilities = bank.log_probabilities(pass_)
        owners = owner[pass_.sequences]
        weights = (1 / loss_tokens[owners]).to(log_probabilities.device)
        weighted = -log_probabilities * weights
        weighted.sum().backward()
        losses.index_add_(0, owners, weighted.detach().cpu())
        computed += pass_.computed_tokens
    active = loss_tokens > 0
    rates = optimiser.learning_rates().cpu()
    norms = optimiser.step(active.to(optimiser.steps.device)).cpu()
    _check_finite(bank.names, step, active, losses, norms)
    seconds = time.perf_counter() - began
    return [
        {
            "item": name,
            "step": step,
            "loss": losses[i].item(),
            "lr": rates[i].item(),
            "grad_norm": norms[i].item(),
            "samples": len(batches[name]),
            "tokens": sum(len(s.tokens) for s in batches[name]),
            "loss_tokens": int(loss_tokens[i]),
            "computed_tokens": computed,
            "seconds": seconds,
        }
        for i, name in enumerate(bank.names)
        if batches[name]
    ]


def _check_finite(names: Sequence[str], step: int, active: Tensor, losses: Tensor, norms: Tensor) -> None:
    for index, name in enumerate(names):
        if active[index] and not (math.isfinite(losses[index]) and math.isfinite(norms[index])):
            raise FloatingPointError(
                f"item '{name}', step {step}: the loss is {losses[index].item()} and the gradient's norm "
                f"{norms[index].item()}; lower the learning rate or take dtype float32"
            )


def _check_moved(bank: LoraBank) -> None:
    still = torch.stack([module.lora_B.detach().abs().amax((1, 2)) for module in bank.modules.values()]).amax(0) == 0
    if still.any():
        names = [name for name, idle in zip(bank.names, still.tolist(), strict=True) if idle]
        raise RuntimeError(f"the adapters of {', '.join(names)} did not move: look at their sequences and loss masks")


def fine_tune_items(
    model: Any, sequences: Sequence[Mapping[str, Any]], method: MethodSettings, seed_parts: Sequence[object]
) -> tuple[LoraBank, list[LogRow]]:
    """Train one adapter an item.

    Args:
        model: the frozen base.
        sequences: rows of the table `sequences` of one cell.
        seed_parts: what, beside the item, an adapter's initial weights are drawn from.
    """
    by_item: dict[str, list[Mapping[str, Any]]] = {}
    for row in sequences:
        by_item.setdefault(row["item"], []).append(row)
    bank = LoraBank(model, list(by_item), method)
    bank.initialise([derive_seed(*seed_parts, name, "adapter") for name in by_item])
    with progress_bar(step_count(by_item, method), "steps", "fine_tune") as bar:
        log = train_bank(bank, by_item, lambda: bar.update(1))
    return bank, log
