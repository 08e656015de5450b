"""Packed rows give what one sequence a row gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from sys2ft.forward import Layout, packed_attention, token_log_probabilities, use_packed_attention
from sys2ft.models import load_model
from sys2ft.packing import BASE, TokenSequence, collate, make_passes, pack
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
def test_every_path_spells_its_sequence_at_its_own_positions(raw, tokens_per_pass, share):
    sequences = [make_sequence(tokens, adapter) for tokens, adapter in raw]
    forests = pack(sequences, tokens_per_pass, share)
    assert sorted(number for forest in forests for number in forest.sequences) == list(range(len(sequences)))
    for forest in forests:
        for path, number in zip(forest.paths, forest.sequences, strict=True):
            assert [forest.tokens[place] for place in path] == list(sequences[number].tokens[:-1])
            assert [forest.positions[place] for place in path] == list(range(len(path)))
            assert {forest.adapters[place] for place in path} <= {sequences[number].adapter}


@given(SEQUENCES, st.integers(8, 40))
def test_tokens_of_an_adapter_are_contiguous_and_counted(raw, tokens_per_pass):
    sequences = [make_sequence(tokens, adapter) for tokens, adapter in raw]
    for step in make_passes(sequences, tokens_per_pass, adapters=3):
        assert step.offsets is not None
        assert step.offsets[-1] == step.computed_tokens
        assert (step.offsets.diff() >= 0).all()


@given(SEQUENCES, st.integers(8, 40))
def test_every_token_asks_once_and_is_answered_along_its_path(raw, tokens_per_pass):
    sequences = [make_sequence(tokens, adapter) for tokens, adapter in raw]
    for forest in pack(sequences, tokens_per_pass):
        step = collate(forest, sequences, adapters=3)
        asking = torch.cat([block.queries.flatten() for block in step.blocks])
        assert asking[step.restore].tolist() == list(range(step.computed_tokens))
        ancestors = {int(path[-1]): path for path in forest.paths}
        for block in step.blocks:
            for queries, positions, keys in zip(block.queries, block.positions, block.keys, strict=True):
                for query, position in zip(queries.tolist(), positions.tolist(), strict=True):
                    seen = keys[: position + 1].tolist()
                    if step.position_ids[query] == position:  # not padding
                        assert seen[-1] == query
                        assert step.position_ids[seen].tolist() == list(range(position + 1))
        assert all(len(path) == step.position_ids[last] + 1 for last, path in ancestors.items())


@given(SEQUENCES, st.integers(8, 40))
def test_sharing_never_computes_more(raw, tokens_per_pass):
    sequences = [make_sequence(tokens, adapter) for tokens, adapter in raw]
    shared = sum(len(forest.tokens) for forest in pack(sequences, tokens_per_pass))
    assert shared <= sum(len(forest.tokens) for forest in pack(sequences, tokens_per_pass, share_prefixes=False))


def test_a_pass_is_no_larger_than_asked_unless_one_sequence_is():
    assert all(len(forest.tokens) <= 64 for forest in pack(random_sequences(8, 20), 64))
    assert len(pack([make_sequence(range(100))], 16)[0].tokens) == 99


def test_nothing_computed_is_padding():
    sequences = [make_sequence(range(3, 3 + length), adapter) for adapter, length in enumerate((5, 9, 40))]
    (step,) = make_passes(sequences, 512, adapters=3)
    assert step.computed_tokens == sum(len(sequence.tokens) - 1 for sequence in sequences)


def log_probabilities(model, sequences, tokens_per_pass, share):
    found: dict[int, list[float]] = {}
    with torch.no_grad():
        for step in make_passes(sequences, tokens_per_pass, 0, share):
            values = token_log_probabilities(model, step, torch.device("cpu"))
            for number, value in zip(step.sequences.tolist(), values.tolist(), strict=True):
                found.setdefault(number, []).append(value)
    return found


def plain_log_probabilities(model, sequence):
    with torch.no_grad():
        logits = model(torch.tensor([sequence.tokens])).logits[0].log_softmax(-1)
    return [logits[i - 1, sequence.tokens[i]].item() for i in sequence.scored]


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("tokens_per_pass", [64, 1000])
def test_packed_log_probabilities_equal_those_of_plain_forward_passes(manifests, architecture, share, tokens_per_pass):
    sequences = random_sequences(7, 20) + random_sequences(2, 50, seed=1)
    found = log_probabilities(load_model(manifests[architecture]), sequences, tokens_per_pass, share)
    plain = load_model(manifests[architecture])  # attends as transformers has it
    for number, sequence in enumerate(sequences):
        assert found[number] == pytest.approx(plain_log_probabilities(plain, sequence), abs=1e-4)


@pytest.mark.parametrize("share", [True, False])
def test_a_sequence_beyond_the_attention_window_is_read_within_it(manifests, share):
    sequences = [sequence for sequence in random_sequences(3, 300) if sequence.tokens]
    found = log_probabilities(load_model(manifests["gemma2"]), sequences, 1024, share)
    plain = load_model(manifests["gemma2"])
    for number, sequence in enumerate(sequences):
        assert found[number] == pytest.approx(plain_log_probabilities(plain, sequence), abs=1e-4)
    wide = load_model(manifests["gemma2"])
    for layer in wide.model.layers:
        layer.self_attn.sliding_window = None
    other = log_probabilities(wide, sequences, 1024, share)
    assert max(abs(a - b) for a, b in zip(other[0], found[0], strict=True)) > 1e-3, "the window changes nothing"


@pytest.mark.parametrize("architecture", ["mamba", "bloom"])
def test_a_model_that_packed_rows_cannot_express_is_refused(architecture):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "n_layer": 1, "n_head": 2, "vocab_size": 64}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **shape))
    with pytest.raises(ValueError, match=f"'{architecture}' cannot be read in packed rows"):
        use_packed_attention(model)


def test_a_model_that_reads_packed_rows_reads_nothing_else(model):
    use_packed_attention(model)
    with pytest.raises(ValueError, match="does not hand on the layout"):
        model(torch.tensor([[5, 6, 7]]))


def test_a_mask_of_the_models_own_is_refused(model):
    step = next(make_passes([make_sequence([5, 6, 7])], 64, 0))
    attention = model.model.layers[0].self_attn
    with pytest.raises(ValueError, match="a mask of its own"):
        packed_attention(attention, *torch.zeros(3, 1, 4, 2, 8), torch.zeros(1), layout=Layout(step))


def test_positions_that_depend_on_the_longest_sequence_are_refused_beyond_their_limit(model):
    model.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    model.config.max_position_embeddings = 4
    token_log_probabilities(model, next(make_passes([make_sequence([5, 6, 7])], 64, 0)), torch.device("cpu"))
    step = next(make_passes([make_sequence([5, 6, 7, 8, 9, 10])], 64, 0))
    with pytest.raises(ValueError, match="goes beyond the 4"):
        token_log_probabilities(model, step, torch.device("cpu"))
