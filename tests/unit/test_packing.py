"""Packed rows give what one sequence a row gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sys2ft.forward import token_log_probabilities
from sys2ft.models import load_model
from sys2ft.packing import BASE, TokenSequence, make_passes, pack
from tests.unit.conftest import SHAPES

SEQUENCES = st.lists(
    st.tuples(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(0, 2)), min_size=1, max_size=12
)


def make_sequence(tokens, adapter=BASE):
    return TokenSequence(tuple(tokens), tuple(range(1, len(tokens))), adapter)


def random_sequences(count, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    prefix = torch.randint(3, 250, (length,), generator=generator).tolist()
    tails = [torch.randint(3, 250, (3 + i,), generator=generator).tolist() for i in range(count)]
    return [make_sequence(prefix[: length - i] + tail) for i, tail in enumerate(tails)]


@given(SEQUENCES, st.integers(8, 40), st.booleans())
def test_every_path_spells_its_sequence_at_its_own_positions(raw, row_tokens, share):
    sequences = [make_sequence(tokens, adapter) for tokens, adapter in raw]
    rows = pack(sequences, row_tokens, share)
    assert sorted(number for row in rows for number in row.sequences) == list(range(len(sequences)))
    for row in rows:
        for path, number in zip(row.paths, row.sequences, strict=True):
            assert [row.tokens[place] for place in path] == list(sequences[number].tokens[:-1])
            assert [row.positions[place] for place in path] == list(range(len(path)))
            assert {row.adapters[place] for place in path} <= {sequences[number].adapter}


@given(SEQUENCES, st.integers(8, 40))
def test_tokens_of_an_adapter_are_contiguous_and_counted(raw, row_tokens):
    sequences = [make_sequence(tokens, adapter) for tokens, adapter in raw]
    for step in make_passes(sequences, row_tokens, 64, adapters=3):
        assert step.offsets is not None
        assert step.offsets[-1] == step.computed_tokens
        assert (step.offsets.diff() >= 0).all()


@given(SEQUENCES, st.integers(8, 40))
def test_sharing_never_computes_more(raw, row_tokens):
    sequences = [make_sequence(tokens, adapter) for tokens, adapter in raw]
    shared = sum(len(row.tokens) for row in pack(sequences, row_tokens))
    assert shared <= sum(len(row.tokens) for row in pack(sequences, row_tokens, share_prefixes=False))


def test_a_row_is_no_longer_than_asked_unless_one_sequence_is():
    rows = pack(random_sequences(8, 20), row_tokens=64)
    assert all(len(row.tokens) <= 64 for row in rows)
    assert len(pack([make_sequence(range(100))], row_tokens=16)[0].tokens) == 99


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("share", [True, False])
def test_packed_log_probabilities_equal_those_of_plain_forward_passes(manifests, architecture, share):
    model = load_model(manifests[architecture])
    sequences = random_sequences(7, 20)
    found: dict[int, list[float]] = {}
    with torch.no_grad():
        for step in make_passes(sequences, 64, 128, 0, share):
            values = token_log_probabilities(model, step, torch.device("cpu"))
            for number, value in zip(step.sequences.tolist(), values.tolist(), strict=True):
                found.setdefault(number, []).append(value)
        for number, sequence in enumerate(sequences):
            logits = model(torch.tensor([sequence.tokens])).logits[0].log_softmax(-1)
            plain = [logits[i - 1, sequence.tokens[i]].item() for i in sequence.scored]
            assert found[number] == pytest.approx(plain, abs=1e-4)


def test_a_sequence_beyond_the_attention_window_is_refused(manifests):
    model = load_model(manifests["gemma2"])
    step = next(make_passes([make_sequence([5] * 300)], 512, 512, 0))
    with pytest.raises(ValueError, match="attention window of 256"):
        token_log_probabilities(model, step, torch.device("cpu"))
