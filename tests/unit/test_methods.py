"""Methods of the literature do what their papers say."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import ValidationError
from safetensors.torch import load, save

from sys2ft.models import load_model
from sys2ft.settings.methods import HalfSettings, LiftSettings, LinesSettings, MaskedInputSettings
from sys2ft.training.half import Half, block_of, category_of, draw_half
from sys2ft.training.lift import Lift, principal_mask
from sys2ft.training.lines import depth_scales, layer_of, scale_lora, scale_update
from sys2ft.training.masked_input import mask_inputs, replacement_token

LAYER = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
)  # fmt: skip
OUTSIDE = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
FIRST_DRAW = {
    "self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj", "post_attention_layernorm",
}  # fmt: skip
LLAMA = [*sorted(OUTSIDE), *(f"model.layers.{n}.{block}.weight" for n in range(6) for block in LAYER)]


@pytest.fixture
def model(llama):
    return load_model(llama).requires_grad_(True)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def changed(before, model):
    """Names of the parameters of which at least one bit moved."""
    return {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}


def update(model, optimiser, method, step):
    """One step as the training loop does it."""
    token_ids = torch.randint(3, 250, (2, 16), generator=torch.Generator().manual_seed(step))
    optimiser.zero_grad()
    model(input_ids=token_ids, labels=token_ids).loss.backward()
    method.before_update(step, optimiser)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def counts(trained, category):
    """How many of a category's blocks are trained in each layer."""
    blocks = {block_of(name) for name in trained if layer_of(name) is not None}
    return Counter(layer_of(block) for block in blocks if category_of(block) == category)


class TestHalf:
    @pytest.mark.parametrize("seed", range(5))
    def test_half_of_each_category(self, seed):
        trained = draw_half(LLAMA, seed, 0)
        assert trained >= OUTSIDE  # embeddings, final norm and head always
        assert counts(trained, "attention") == dict.fromkeys(range(6), 2)
        assert counts(trained, "norm") == dict.fromkeys(range(6), 1)
        assert sorted(counts(trained, "feed_forward").values()) == [1, 1, 1, 2, 2, 2]

    def test_a_matrix_and_its_bias_are_one_block(self, manifests):
        names = [name for name, _ in load_model(manifests["gpt_neox"]).named_parameters()]
        assert any(name.endswith(".bias") for name in names)
        for round_ in range(5):
            trained = draw_half(names, 0, round_)
            assert {n for n in names if layer_of(n) is None} <= trained
            for category in ("attention", "feed_forward", "norm"):
                assert counts(trained, category) == {0: 1, 1: 1}
            assert all((name in trained) == (name.replace(".bias", ".weight") in trained) for name in names)

    def test_an_odd_number_favours_no_side(self):
        """One layer with one norm: it is trained in about half of the rounds."""
        trained = sum(len(draw_half(["h.x", "model.layers.0.norm.weight"], 0, n)) - 1 for n in range(400))
        assert 160 < trained < 240

    def test_draws(self):
        assert draw_half(LLAMA, 1, 2) == draw_half(LLAMA[::-1], 1, 2)
        assert draw_half(LLAMA, 1, 2) != draw_half(LLAMA, 1, 3)
        assert draw_half(LLAMA, 1, 2) != draw_half(LLAMA, 2, 2)
        assert set().union(*(draw_half(LLAMA, 0, n) for n in range(30))) == set(LLAMA)
        blocks = {block_of(name) for name in draw_half(LLAMA, 0, 0) if layer_of(name) == 0}
        # the same in every process, whatever the order of its sets
        assert blocks == {f"model.layers.0.{block}" for block in FIRST_DRAW}

    def test_only_the_drawn_half_moves(self, model):
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        half = Half(dict(model.named_parameters()), HalfSettings(round_steps=2), seed=4)
        moved = []
        for round_ in range(3):
            before = weights(model)
            for step in (2 * round_ + 1, 2 * round_ + 2):
                update(model, optimiser, half, step)
                assert changed(before, model) == draw_half(list(before), 4, round_)
            moved.append(frozenset(changed(before, model)))
        assert len(set(moved)) == 3
        assert half.state() == {}
        half.load({})

    def test_a_round_has_a_length(self):
        with pytest.raises(ValidationError):
            HalfSettings(round_steps=0)


def exact_mask(weight, rank, density):
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    magnitudes = ((left[:, :rank] * values[:rank]) @ right[:rank]).abs()
    count = round(density * weight.numel())
    return magnitudes >= magnitudes.flatten().topk(count).values[-1]


def matrix(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


class TestLift:
    @pytest.mark.parametrize("shape", [(24, 60), (60, 24), (32, 32)])
    @pytest.mark.parametrize(("rank", "density"), [(1, 0.05), (4, 0.1), (8, 0.5), (24, 0.05), (100, 0.3)])
    def test_the_mask_is_that_of_the_singular_value_decomposition(self, shape, rank, density):
        weight = matrix(*shape)
        mask = principal_mask(weight, rank, density)
        assert mask.dtype == torch.bool
        assert torch.equal(mask, exact_mask(weight, rank, density))
        assert mask.sum() == round(density * weight.numel())

    def test_rank_reduction_matters(self):
        assert not torch.equal(principal_mask(matrix(24, 60), 4, 0.1), exact_mask(matrix(24, 60), 24, 0.1))

    def test_at_least_one_entry_and_any_precision(self):
        assert principal_mask(matrix(4, 4).bfloat16(), 1, 1e-6).sum() == 1

    def test_only_principal_weights_move(self, model):
        settings = LiftSettings(rank=4, density=0.1, refresh_steps=100)
        before = weights(model)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
        lift = Lift(dict(model.named_parameters()), settings, seed=0)
        for step in (1, 2, 3):
            update(model, optimiser, lift, step)
        assert changed(before, model) == {n for n in before if n.endswith("_proj.weight")}
        for name, parameter in model.named_parameters():
            if name.endswith("_proj.weight"):
                moved = parameter != before[name]
                mask = principal_mask(before[name], 4, 0.1)
                assert not (moved & ~mask).any()
                assert moved.sum() > 0.9 * mask.sum()  # rows without any gradient aside

    def test_new_masks_drop_the_moments_of_what_leaves(self, model):
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
        lift = Lift(dict(model.named_parameters()), LiftSettings(rank=4, density=0.1, refresh_steps=3), seed=0)
        name = "model.layers.0.mlp.up_proj.weight"
        parameter = model.get_parameter(name)
        update(model, optimiser, lift, 1)
        first = lift.state()[name]
        with torch.no_grad():
            parameter.add_(matrix(*parameter.shape) * parameter.std())
        update(model, optimiser, lift, 2)
        assert torch.equal(lift.state()[name], first)  # not yet
        before, moments = parameter.detach().clone(), optimiser.state[parameter]["exp_avg"].clone()
        update(model, optimiser, lift, 3)
        second = lift.state()[name]
        assert torch.equal(second, principal_mask(before, 4, 0.1))
        left, stayed = first & ~second, first & second
        assert left.any()
        assert (moments[left] != 0).any()
        assert torch.equal(parameter[left], before[left])
        for moment in ("exp_avg", "exp_avg_sq"):
            assert not optimiser.state[parameter][moment][~second].any()
        expected = 0.9 * moments[stayed] + 0.1 * parameter.grad[stayed]
        torch.testing.assert_close(optimiser.state[parameter]["exp_avg"][stayed], expected)

    def test_masks_survive_a_checkpoint(self, model, llama):
        settings = LiftSettings(rank=4, density=0.1, refresh_steps=100)
        optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0)
        lift = Lift(dict(model.named_parameters()), settings, seed=0)
        update(model, optimiser, lift, 1)
        later = load_model(llama).requires_grad_(True)
        with torch.no_grad():
            for parameter in later.parameters():
                parameter.normal_(generator=torch.Generator().manual_seed(1))
        resumed = Lift(dict(later.named_parameters()), settings, seed=0)
        resumed.load(load(save({name: mask.to(torch.uint8) for name, mask in lift.state().items()})))
        update(later, torch.optim.AdamW(later.parameters(), weight_decay=0), resumed, 2)  # other weights, no new masks
        assert resumed.state().keys() == lift.state().keys()
        assert all(torch.equal(mask, resumed.state()[name]) for name, mask in lift.state().items())
        fresh = Lift(dict(later.named_parameters()), settings, seed=0)  # makes masks of its own, at whatever step
        update(later, torch.optim.AdamW(later.parameters(), weight_decay=0), fresh, 3)
        assert not any(torch.equal(mask, fresh.state()[name]) for name, mask in lift.state().items())
        with pytest.raises(ValueError, match="differ in names"):
            resumed.load({"other": torch.ones(1)})

    def test_nothing_to_train(self):
        with pytest.raises(ValueError, match="there are none"):
            Lift({"lm_head.weight": torch.nn.Parameter(matrix(4, 4))}, LiftSettings(), seed=0)


class TestMaskedInput:
    @given(st.lists(st.integers(0, 99), min_size=1, max_size=50), st.data(), st.floats(0, 1), st.integers(0, 2**63))
    def test_only_candidates_are_hidden(self, token_ids, data, share, seed):
        candidates = data.draw(st.lists(st.integers(0, len(token_ids) - 1), unique=True))
        before = list(token_ids)
        inputs = mask_inputs(token_ids, candidates, share, 100, seed)
        assert token_ids == before  # the targets
        assert inputs == mask_inputs(token_ids, candidates, share, 100, seed)
        assert len(inputs) == len(token_ids)
        hidden = {place for place, token in enumerate(inputs) if token != token_ids[place]}
        assert hidden <= set(candidates)
        assert all(inputs[place] == 100 for place in hidden)
        if share in (0, 1):
            assert hidden == (set(candidates) if share else set())

    def test_share(self):
        places = range(1000, 9000)
        hidden = [{p for p, t in enumerate(mask_inputs([1] * 10000, places, 0.3, 0, s)) if t == 0} for s in (1, 2)]
        assert all(len(h) == pytest.approx(2400, abs=4 * (8000 * 0.3 * 0.7) ** 0.5) for h in hidden)
        assert len(hidden[0]) != len(hidden[1])  # each token has a chance of its own: the number varies
        assert len(hidden[0] & hidden[1]) == pytest.approx(720, abs=120)

    def test_a_larger_share_hides_more_of_the_same(self):
        hidden = [{p for p, t in enumerate(mask_inputs([1] * 200, range(200), s, 0, 7)) if t == 0} for s in (0.1, 0.4)]
        assert hidden[0] < hidden[1]

    @pytest.mark.parametrize(
        ("mask", "pad", "unk", "bos", "eos", "expected"),
        [
            (5, 4, 3, 1, 2, 5),
            (None, 4, 3, 1, 2, 4),
            (None, 2, 3, 1, 2, 3),
            (None, 0, None, None, 2, 0),
            (None, None, 0, 0, 0, 0),
        ],
    )
    def test_replacement(self, mask, pad, unk, bos, eos, expected):
        ids = {"mask": mask, "pad": pad, "unk": unk, "bos": bos, "eos": eos}
        assert replacement_token(SimpleNamespace(**{f"{k}_token_id": v for k, v in ids.items()})) == expected

    def test_replacement_of_a_real_tokenizer(self, tokenizer):
        assert replacement_token(tokenizer) == tokenizer.pad_token_id != tokenizer.eos_token_id

    def test_no_replacement(self):
        none = SimpleNamespace(**{f"{k}_token_id": None for k in ("mask", "pad", "unk", "bos", "eos")})
        with pytest.raises(ValueError, match="no mask"):
            replacement_token(none)

    def test_a_share_is_one(self):
        with pytest.raises(ValidationError):
            MaskedInputSettings(share=1.5)


class TestLines:
    @pytest.mark.parametrize(
        ("name", "layer"),
        [
            ("model.layers.3.mlp.up_proj.weight", 3),
            ("gpt_neox.layers.11.attention.dense.bias", 11),
            ("transformer.h.0.ln_1.weight", 0),
            ("base_model.model.model.layers.2.mlp.up_proj.lora_A.weight", 2),
            ("model.layers.4.mlp.experts.7.up_proj.weight", 4),
            ("model.layers.5", 5),
            ("model.embed_tokens.weight", None),
            ("lm_head.weight", None),
        ],
    )
    def test_layer_of(self, name, layer):
        assert layer_of(name) == layer

    def test_factors(self):
        factors = depth_scales(LLAMA, 0.1, 0.8)
        by_layer = {layer_of(name): factor for name, factor in factors.items()}
        assert len({(layer_of(name), factor) for name, factor in factors.items()}) == 7  # one a layer, one outside
        assert by_layer == pytest.approx({None: 0.1, 0: 0.1, 1: 0.26, 2: 0.42, 3: 0.58, 4: 0.74, 5: 0.9})

    def test_too_few_layers(self):
        with pytest.raises(ValueError, match="fewer than two"):
            depth_scales(["lm_head.weight", "model.layers.0.mlp.up_proj.weight"], 0.1, 0.9)

    def test_full_weights(self, model):
        before = weights(model)
        after = {name: tensor + 1 for name, tensor in before.items()}
        scaled = scale_update(before, after, LinesSettings(alpha=0.2, beta=0.5))
        assert scaled.keys() == after.keys()
        for name, tensor in scaled.items():
            torch.testing.assert_close(tensor - before[name], torch.full_like(tensor, 0.7 if ".1." in name else 0.2))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_identity(self, dtype):
        before = {f"h.{n}.w.weight": matrix(20, 20, n).to(dtype) * 1000 for n in range(2)}
        after = {f"h.{n}.w.weight": matrix(20, 20, 2 + n).to(dtype) for n in range(2)}  # far away: rounding would show
        kept = scale_update(before, after, LinesSettings(alpha=1, beta=0))
        assert all(torch.equal(kept[name], after[name]) and kept[name].dtype == dtype for name in after)
        undone = scale_update(before, after, LinesSettings.model_construct(alpha=0, beta=0))  # refused in a study
        assert all(torch.equal(undone[name], before[name]) for name in after)

    def test_names_must_agree(self):
        with pytest.raises(ValueError, match=r"h\.1"):
            scale_update({"h.0.w": matrix(2, 2)}, {"h.0.w": matrix(2, 2), "h.1.w": matrix(2, 2)}, LinesSettings())

    def test_lora_as_merged(self, llama):
        """Scaling the adapter and merging it is merging it and scaling the merged weights' update."""
        settings = LinesSettings(alpha=0.3, beta=0.6)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        peft = get_peft_model(load_model(llama), config)
        state = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(peft).items()}
        before, after = weights(load_model(llama)), weights(peft.merge_and_unload())
        assert not torch.equal(
            before["model.layers.0.mlp.down_proj.weight"], after["model.layers.0.mlp.down_proj.weight"]
        )
        other = get_peft_model(load_model(llama), config)
        set_peft_model_state_dict(other, scale_lora(state, settings))
        torch.testing.assert_close(weights(other.merge_and_unload()), scale_update(before, after, settings))

    def test_lora_only(self):
        state = {f"base_model.model.layers.{n}.q.lora_magnitude_vector.weight": matrix(1, 2) for n in range(2)}
        with pytest.raises(ValueError, match="no matrix of a LoRA"):
            scale_lora(state, LinesSettings())
