"""What a step computes: the next sequences of every member, packed into passes and shared among processes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sys2ft.grid import derive_seed
from sys2ft.packing import Forest, Pass, TokenSequence, collate, make_passes, pack
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.learners import Member
from sys2ft.training.masked_input import mask_inputs
from sys2ft.training.objective import Context

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Share:
    """One process's share of the passes; all processes have equally many.

    Attributes:
        rank: this process.
        world: how many there are.
        tokens_per_pass: of one forward and backward pass.
        replacement: the token that hides others (`masked_input`).
    """

    tokens_per_pass: int
    rank: int = 0
    world: int = 1
    replacement: int = 0


@dataclass
class Batch:
    """The sequences of a step.

    Attributes:
        rows: for each member its rows of the table `sequences`.
        sequences: all of them, to be packed.
        contexts: for each sequence the same with the news in context, where the base is imitated.
        loss_tokens: (N,) trained tokens of each member.
    """

    rows: list[Sequence[Row]]
    sequences: list[TokenSequence]
    contexts: list[TokenSequence | None]
    loss_tokens: Tensor

    @property
    def active(self) -> list[bool]:
        """Which members have sequences left."""
        return [bool(rows) for rows in self.rows]


def step_count(members: Sequence[Member], method: MethodSettings) -> int:
    """Steps until the member with the most sequences is done."""
    return math.ceil(max(len(member.rows) for member in members) / method.batch_size)


def take_batch(members: Sequence[Member], step: int, method: MethodSettings, replacement: int = 0) -> Batch:
    """The sequences of a step, counted from 0."""
    start, end = step * method.batch_size, (step + 1) * method.batch_size
    rows = [member.rows[start:end] for member in members]
    sequences, contexts = [], []
    for index, (member, chosen) in enumerate(zip(members, rows, strict=True)):
        for number, row in enumerate(chosen, start):
            sequences.append(_sequence(row, index, method, replacement, derive_seed(member.seed, number)))
            contexts.append(None if row["context_ids"] is None else _plain(row["context_ids"], row["context_mask"]))
    owners = torch.tensor([sequence.adapter for sequence in sequences])
    lengths = torch.tensor([float(len(sequence.scored)) for sequence in sequences])
    return Batch(rows, sequences, contexts, torch.zeros(len(members)).index_add(0, owners, lengths))


def _plain(token_ids: Sequence[int], loss_mask: Sequence[bool]) -> TokenSequence:
    return TokenSequence(tuple(token_ids), tuple(i for i, loss in enumerate(loss_mask) if loss))


def _sequence(row: Row, member: int, method: MethodSettings, replacement: int, seed: int) -> TokenSequence:
    plain = _plain(row["token_ids"], row["loss_mask"])
    if method.masked_input is None:
        return TokenSequence(plain.tokens, plain.scored, member)
    inputs = mask_inputs(plain.tokens, plain.scored, method.masked_input.share, replacement, seed)
    return TokenSequence(inputs, plain.scored, member, tuple(plain.tokens[place] for place in plain.scored))


def share_passes(
    batch: Batch, share: Share, adapters: int, top_k: int | None
) -> Iterator[tuple[Pass, Context | None, Tensor]]:
    """This process's passes: what is read, what is imitated, and (P,) the weight of each scored token.

    A member's loss is the mean over the trained tokens of its own batch, so that its result depends on no other. Where
    the passes do not come out even, some processes repeat one with weight 0: with ZeRO all must compute in step, and
    imitate in step.

    Args:
        adapters: how many the learner has.
    """
    total = sum(len(sequence.tokens) for sequence in batch.sequences)
    limit = share.tokens_per_pass if share.world == 1 else min(share.tokens_per_pass, -(-total // share.world))
    owners = torch.tensor([sequence.adapter for sequence in batch.sequences])
    for forests in (_pack_part(batch, part, limit) for part in _by_objective(batch)):
        for number in range(share.rank, -(-len(forests) // share.world) * share.world, share.world):
            step = collate(forests[min(number, len(forests) - 1)], batch.sequences, adapters)
            weights = float(number < len(forests)) / batch.loss_tokens[owners[step.sequences]]
            yield step, _context(batch, step, top_k), weights


def _by_objective(batch: Batch) -> list[list[int]]:
    """The sequences that are trained and those that imitate, by number."""
    parts = [
        [i for i, context in enumerate(batch.contexts) if (context is None) == trained] for trained in (True, False)
    ]
    return [part for part in parts if part]


def _pack_part(batch: Batch, part: Sequence[int], limit: int) -> list[Forest]:
    forests = pack([batch.sequences[number] for number in part], limit)
    for forest in forests:
        forest.sequences = [part[number] for number in forest.sequences]
    return forests


def _context(batch: Batch, step: Pass, top_k: int | None) -> Context | None:
    """The same scored tokens with the news in context, and where each is found there.

    One pass, which shares the news among its sequences: it may be larger than others, but keeps no activations.
    """
    numbers = list(dict.fromkeys(step.sequences.tolist()))
    contexts = [context for number in numbers if (context := batch.contexts[number]) is not None]
    if not contexts:
        return None
    (read,) = make_passes(contexts, sum(len(context.tokens) for context in contexts), 0)
    found = torch.tensor(numbers)[read.sequences]
    order = torch.empty(len(found), dtype=torch.int64)
    # Both hold a sequence's scored tokens in a row and in order: sorted by sequence, they agree token by token.
    order[step.sequences.argsort(stable=True)] = found.argsort(stable=True)
    return Context(read, order, top_k)
