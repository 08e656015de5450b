"""Packing: many token sequences in few rows, without padding and with shared prefixes computed once.

A row is a tree of tokens: sequences that begin alike share the tokens they have in common, and each token attends to
its ancestors alone, at positions counted along its own branch. Training and scoring pack alike: a training sequence
is a branch whose trained tokens carry weight, an answer option is a branch whose tokens are scored. In exact
arithmetic the result equals one sequence a row. A sequence's last token is not computed: nothing is predicted from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

BASE = -1  # the adapter of sequences that the bare base model reads


@dataclass(frozen=True)
class TokenSequence:
    """One sequence to be read.

    Attributes:
        tokens: token ids.
        scored: places whose token's log-probability is wanted, each at least 1.
        adapter: index of the adapter that reads it, or `BASE`.
    """

    tokens: tuple[int, ...]
    scored: tuple[int, ...]
    adapter: int = BASE


@dataclass
class Row:
    """Sequences laid as one tree. All lists but the last three have an entry a token of the row."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    adapters: list[int] = field(default_factory=list)
    paths: list[np.ndarray] = field(default_factory=list)
    """For each sequence the places of its tokens in the row, from the root."""
    new_from: list[int] = field(default_factory=list)
    """For each sequence how many of its tokens an earlier one brought."""
    sequences: list[int] = field(default_factory=list)
    """For each sequence its number in the call of `pack`."""


def pack(sequences: Sequence[TokenSequence], row_tokens: int, share_prefixes: bool = True) -> list[Row]:
    """Lay sequences into rows of at most `row_tokens` tokens (longer where one sequence is longer).

    Rows are ordered by adapter, so that in their concatenation the tokens of an adapter are contiguous. Sequences of
    different adapters never share tokens.
    """
    order = sorted(range(len(sequences)), key=lambda i: (sequences[i].adapter, sequences[i].tokens))
    rows: list[Row] = []
    for index in order:
        sequence = sequences[index]
        tokens = sequence.tokens[:-1]
        shared = _shared_with_last(rows[-1], sequences, sequence) if rows and share_prefixes else 0
        if not rows or len(rows[-1].tokens) + len(tokens) - shared > row_tokens:
            rows.append(Row())
            shared = 0
        row = rows[-1]
        start = len(row.tokens)
        prefix = row.paths[-1][:shared] if shared else np.empty(0, np.int64)
        path = np.concatenate([prefix, np.arange(start, start + len(tokens) - shared)])
        row.tokens += tokens[shared:]
        row.positions += range(shared, len(tokens))
        row.adapters += [sequence.adapter] * (len(tokens) - shared)
        row.paths.append(path.astype(np.int64))
        row.new_from.append(shared)
        row.sequences.append(index)
    return rows


def _shared_with_last(row: Row, sequences: Sequence[TokenSequence], sequence: TokenSequence) -> int:
    """How many leading tokens the row's last sequence shares with the next; in sorted order none shares more."""
    last = sequences[row.sequences[-1]]
    if last.adapter != sequence.adapter:
        return 0
    shared = 0
    for one, other in zip(last.tokens[:-1], sequence.tokens[:-1], strict=False):
        if one != other:
            break
        shared += 1
    return shared


@dataclass
class Pass:
    """What one forward pass takes. R rows, L tokens in the longest row, P scored tokens, N adapters.

    Attributes:
        input_ids: (R, L).
        position_ids: (R, L).
        attention_mask: (R, 1, L, L), True where the row's token (third index) sees the other (fourth).
        offsets: (N,) end of each adapter's tokens in the flattened rows; None where the base reads.
        places: (P,) places in the flattened rows from whose logits a scored token is predicted.
        targets: (P,) the scored tokens.
        sequences: (P,) number of the sequence that each scored token belongs to.
    """

    input_ids: "torch.Tensor"
    position_ids: "torch.Tensor"
    attention_mask: "torch.Tensor"
    offsets: "torch.Tensor | None"
    places: "torch.Tensor"
    targets: "torch.Tensor"
    sequences: "torch.Tensor"

    @property
    def computed_tokens(self) -> int:
        """R x L."""
        return self.input_ids.numel()


def make_passes(
    sequences: Sequence[TokenSequence], row_tokens: int, tokens_per_pass: int, adapters: int,
    share_prefixes: bool = True,
) -> Iterator[Pass]:  # fmt: skip
    """Pack sequences and group the rows into passes of about `tokens_per_pass` computed tokens.

    Args:
        adapters: how many adapters the bank has. Sequences read by the base never stand in a pass with others.
    """
    rows = pack(sequences, row_tokens, share_prefixes)
    group: list[Row] = []
    for row in rows:
        longest = max(len(row.tokens) for row in [*group, row])
        mixed = bool(group) and (group[-1].adapters[-1] == BASE) != (row.adapters[0] == BASE)
        if group and (mixed or longest * (len(group) + 1) > tokens_per_pass):
            yield _collate(group, sequences, adapters)
            group = []
        group.append(row)
    if group:
        yield _collate(group, sequences, adapters)


def _collate(rows: Sequence[Row], sequences: Sequence[TokenSequence], adapters: int) -> Pass:
    import torch

    length = max(len(row.tokens) for row in rows)
    ids = np.zeros((len(rows), length), np.int64)
    positions = np.zeros((len(rows), length), np.int64)
    owners = np.zeros((len(rows), length), np.int64)
    mask = np.zeros((len(rows), length, length), bool)
    mask[:, range(length), range(length)] = True  # padding sees itself: a row of the mask must not be empty
    places, targets, numbers = [], [], []
    for r, row in enumerate(rows):
        size = len(row.tokens)
        ids[r, :size], positions[r, :size], owners[r, :size] = row.tokens, row.positions, row.adapters
        owners[r, size:] = row.adapters[-1]
        for path, shared, number in zip(row.paths, row.new_from, row.sequences, strict=True):
            causal = np.tri(len(path) - shared, len(path), shared, dtype=bool)
            mask[r, path[shared:, None], path[None, :]] = causal
            sequence = sequences[number]
            places += [r * length + path[place - 1] for place in sequence.scored]
            targets += [sequence.tokens[place] for place in sequence.scored]
            numbers += [number] * len(sequence.scored)
    return Pass(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(mask[:, None]),
        None if owners[0, 0] == BASE else _offsets(owners.ravel(), adapters),
        torch.tensor(places, dtype=torch.int64),
        torch.tensor(targets, dtype=torch.int64),
        torch.tensor(numbers, dtype=torch.int64),
    )


def _offsets(owners: np.ndarray, adapters: int) -> "torch.Tensor":
    import torch

    assert (np.diff(owners) >= 0).all(), "tokens of an adapter must be contiguous"
    return torch.from_numpy(np.cumsum(np.bincount(owners, minlength=adapters)).astype(np.int32))
