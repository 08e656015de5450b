"""Packing: many token sequences in few passes, without padding and with shared prefixes computed once.

A pass is a forest of tokens: sequences that begin alike share the tokens they have in common, and each token attends
to its ancestors alone, at positions counted along its own branch. Training and scoring pack alike: a training sequence
is a branch whose trained tokens carry weight, an answer option is a branch whose tokens are scored. In exact
arithmetic the result equals one sequence at a time. A sequence's last token is not computed: nothing is predicted from
it.

A model computes exactly the tokens of a pass, laid end to end. Only attention sees them as rows: each sequence's own
tokens ask, all tokens on its path from the root answer, and rows of like length are padded to the longest.
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
        targets: the tokens that stand at the scored places for the loss, where the model reads others (masked input).
    """

    tokens: tuple[int, ...]
    scored: tuple[int, ...]
    adapter: int = BASE
    targets: tuple[int, ...] | None = None


@dataclass
class Forest:
    """The tokens of a pass. The first three lists have an entry a token, the others one a sequence."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    adapters: list[int] = field(default_factory=list)
    paths: list[np.ndarray] = field(default_factory=list)
    """The places of its tokens, from the root."""
    new_from: list[int] = field(default_factory=list)
    """How many of its tokens an earlier sequence brought."""
    sequences: list[int] = field(default_factory=list)
    """Its number in the call of `pack`."""


def pack(sequences: Sequence[TokenSequence], tokens_per_pass: int, share_prefixes: bool = True) -> list[Forest]:
    """Lay sequences into passes of at most `tokens_per_pass` tokens (more where one sequence is longer).

    Sequences are ordered by adapter, so that the tokens of an adapter are contiguous. Those of different adapters
    never share tokens, and those of the base never stand in a pass with others.
    """
    order = sorted(range(len(sequences)), key=lambda i: (sequences[i].adapter, sequences[i].tokens))
    passes: list[Forest] = []
    for index in order:
        sequence = sequences[index]
        tokens = sequence.tokens[:-1]
        last = sequences[passes[-1].sequences[-1]] if passes else None
        shared = _shared(last, sequence) if last and share_prefixes else 0
        mixed = last is not None and (last.adapter == BASE) != (sequence.adapter == BASE)
        if not passes or mixed or len(passes[-1].tokens) + len(tokens) - shared > tokens_per_pass:
            passes.append(Forest())
            shared = 0
        forest = passes[-1]
        start = len(forest.tokens)
        prefix = forest.paths[-1][:shared] if shared else np.empty(0, np.int64)
        path = np.concatenate([prefix, np.arange(start, start + len(tokens) - shared)])
        forest.tokens += tokens[shared:]
        forest.positions += range(shared, len(tokens))
        forest.adapters += [sequence.adapter] * (len(tokens) - shared)
        forest.paths.append(path.astype(np.int64))
        forest.new_from.append(shared)
        forest.sequences.append(index)
    return passes


def _shared(last: TokenSequence, sequence: TokenSequence) -> int:
    """How many leading tokens the last sequence shares with the next; in sorted order none shares more."""
    if last.adapter != sequence.adapter:
        return 0
    shared = 0
    for one, other in zip(last.tokens[:-1], sequence.tokens[:-1], strict=False):
        if one != other:
            break
        shared += 1
    return shared


@dataclass
class Block:
    """Rows of attention of like length. R rows, Q asking and K answering tokens in the longest.

    Attributes:
        queries: (R, Q) places among the pass's tokens; padding repeats the row's first.
        positions: (R, Q) of the asking tokens along their branch: each sees the keys up to its own position.
        keys: (R, K) places of the tokens on the path from the root; padding, beyond all positions, is never seen.
        plain: every row asks from its start on: causal attention without a mask.
    """

    queries: "torch.Tensor"
    positions: "torch.Tensor"
    keys: "torch.Tensor"
    plain: bool

    def to(self, device: "torch.device") -> "Block":
        """The same on a device."""
        return Block(self.queries.to(device), self.positions.to(device), self.keys.to(device), self.plain)


@dataclass
class Pass:
    """What one forward pass takes. T tokens, P scored tokens, N adapters.

    Attributes:
        input_ids: (T,).
        position_ids: (T,).
        blocks: rows of attention; each token asks in one row of one block.
        restore: (T,) where each token's answer stands in the blocks' (R, Q), flattened and end to end.
        offsets: (N,) end of each adapter's tokens; None where the base reads.
        places: (P,) places among the T from whose logits a scored token is predicted.
        targets: (P,) the scored tokens.
        sequences: (P,) number of the sequence that each scored token belongs to.
    """

    input_ids: "torch.Tensor"
    position_ids: "torch.Tensor"
    blocks: list[Block]
    restore: "torch.Tensor"
    offsets: "torch.Tensor | None"
    places: "torch.Tensor"
    targets: "torch.Tensor"
    sequences: "torch.Tensor"

    @property
    def computed_tokens(self) -> int:
        """T."""
        return self.input_ids.numel()

    def to(self, device: "torch.device") -> "Pass":
        """The same on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if name not in ("blocks", "offsets")}
        offsets = None if self.offsets is None else self.offsets.to(device)
        return Pass(**moved, blocks=[block.to(device) for block in self.blocks], offsets=offsets)


def make_passes(
    sequences: Sequence[TokenSequence], tokens_per_pass: int, adapters: int, share_prefixes: bool = True
) -> Iterator[Pass]:
    """Pack sequences and yield the passes, on the CPU.

    Args:
        adapters: how many adapters the bank has.
    """
    for forest in pack(sequences, tokens_per_pass, share_prefixes):
        yield collate(forest, sequences, adapters)


def collate(forest: Forest, sequences: Sequence[TokenSequence], adapters: int) -> Pass:
    """A packed forest as the tensors of a pass."""
    import torch

    places: list[int] = []
    targets: list[int] = []
    numbers: list[int] = []
    for path, number in zip(forest.paths, forest.sequences, strict=True):
        sequence = sequences[number]
        places += [path[place - 1] for place in sequence.scored]
        targets += sequence.targets or [sequence.tokens[place] for place in sequence.scored]
        numbers += [number] * len(sequence.scored)
    blocks, restore = _make_blocks(forest)
    return Pass(
        torch.tensor(forest.tokens, dtype=torch.int64),
        torch.tensor(forest.positions, dtype=torch.int64),
        blocks,
        restore,
        None if forest.adapters[0] == BASE else _offsets(np.array(forest.adapters), adapters),
        torch.tensor(np.array(places, np.int64)),
        torch.tensor(targets, dtype=torch.int64),
        torch.tensor(numbers, dtype=torch.int64),
    )


def _make_blocks(forest: Forest) -> tuple[list[Block], "torch.Tensor"]:
    """Rows of attention; in one block those that ask and are asked about equally often (to a factor of 2)."""
    import torch

    rows: dict[tuple[int, int], list[tuple[np.ndarray, int]]] = {}
    for path, shared in zip(forest.paths, forest.new_from, strict=True):
        if shared < len(path):
            rows.setdefault((len(path).bit_length(), (len(path) - shared).bit_length()), []).append((path, shared))
    blocks: list[Block] = []
    restore = np.empty(len(forest.tokens), np.int64)
    end = 0
    for _, members in sorted(rows.items()):
        asking, answering = max(len(p) - s for p, s in members), max(len(p) for p, _ in members)
        queries, keys = (np.zeros((len(members), size), np.int64) for size in (asking, answering))
        positions = np.zeros((len(members), asking), np.int64)
        for r, (path, shared) in enumerate(members):
            own = path[shared:]
            queries[r], keys[r] = own[0], path[0]
            queries[r, : len(own)], keys[r, : len(path)] = own, path
            positions[r, : len(own)] = range(shared, len(path))
            restore[own] = end + r * asking + np.arange(len(own))
        end += queries.size
        plain = all(shared == 0 for _, shared in members)
        blocks.append(Block(torch.from_numpy(queries), torch.from_numpy(positions), torch.from_numpy(keys), plain))
    return blocks, torch.from_numpy(restore)


def _offsets(owners: np.ndarray, adapters: int) -> "torch.Tensor":
    import torch

    assert (np.diff(owners) >= 0).all(), "tokens of an adapter must be contiguous"
    return torch.from_numpy(np.cumsum(np.bincount(owners, minlength=adapters)).astype(np.int32))
