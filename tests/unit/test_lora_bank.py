"""A bank trained together equals PEFT trained alone, item by item."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from sys2ft.models import load_model
from sys2ft.packing import TokenSequence, make_passes
from sys2ft.training import lora_bank
from sys2ft.training.lora_bank import LoraBank
from tests.unit.conftest import SHAPES
from tests.unit.training import LINEAR, METHOD, item_rows, members_of, train, train_plainly

COUNTS = {"one": 100, "two": 40, "three": 7}  # sequences an item: 50, 20 and 4 steps
RATES = {"two": 2e-4}  # the others have the method's


@pytest.fixture(scope="module")
def sequences(tokenizer):
    return {name: item_rows(tokenizer, name, count) for name, count in COUNTS.items()}


@pytest.fixture(scope="module")
def short(sequences):
    return {name: rows[:20] for name, rows in sequences.items()}


def make_bank(manifest, names, method=METHOD, dtype=None):
    bank = LoraBank(load_model(manifest, dtype), names, method)
    bank.initialise([11 * (1 + i) for i in range(len(names))])
    return bank


def train_with_peft(manifest, initial, rows, method, lr):
    """Returns losses and weights."""
    targets = "all-linear" if method is LINEAR else list(method.targets)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=targets, bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(load_model(manifest), config)
    parameters = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    assert parameters.keys() == initial.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(initial[name])
    losses = train_plainly(model, list(parameters.values()), rows, method, lr)
    return losses, {name: parameter.detach() for name, parameter in parameters.items()}


@pytest.mark.parametrize("architecture", SHAPES)
def test_bank_equals_peft_trained_alone(manifests, sequences, architecture):
    method = METHOD if architecture == "llama" else LINEAR
    bank = make_bank(manifests[architecture], list(COUNTS), method)
    initial = [bank.state(index) for index in range(len(COUNTS))]
    log = train(bank, members_of(sequences, RATES))
    for index, name in enumerate(COUNTS):
        losses, weights = train_with_peft(
            manifests[architecture], initial[index], sequences[name], method, RATES.get(name)
        )
        assert [row["loss"] for row in log if row["item"] == name] == pytest.approx(losses, abs=1e-5)
        for key, weight in bank.state(index).items():
            assert torch.norm(weight - weights[key]) <= 1e-3 * torch.norm(weights[key]), key
        assert losses[-1] < losses[0] - 0.005, "nothing was learned: the comparison would show nothing"


def test_adapter_does_not_depend_on_its_neighbours(llama, short):
    together, alone = make_bank(llama, list(COUNTS)), make_bank(llama, ["one"])
    train(together, members_of(short))
    train(alone, members_of({"one": short["one"]}))
    for key, weight in alone.state(0).items():
        torch.testing.assert_close(together.state(0)[key], weight, rtol=1e-3, atol=1e-5)


def test_an_adapter_without_data_left_rests(llama, short):
    bank = make_bank(llama, ["one", "three"])
    log = train(bank, members_of({name: short[name] for name in ("one", "three")}))
    assert [row["step"] for row in log if row["item"] == "three"] == [1, 2, 3, 4]
    assert [row["samples"] for row in log if row["item"] == "three"] == [2, 2, 2, 1]
    assert len([row for row in log if row["item"] == "one"]) == 10


@pytest.mark.parametrize("tokens_per_pass", [60, 96, 100_000])
def test_one_large_pass_equals_many_small_ones(llama, short, tokens_per_pass):
    """1 x 8 = 8 x 1: how a step is cut into passes does not matter."""
    method = METHOD.model_copy(update={"batch_size": 8})
    logs, weights = [], []
    for tokens in (2048, tokens_per_pass):
        bank = make_bank(llama, ["two"], method)
        logs.append([row["loss"] for row in train(bank, members_of({"two": short["two"]}), tokens)])
        weights.append(bank.adapter(0).detach())
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


def test_what_is_computed_holds_no_padding(llama, short):
    log = train(make_bank(llama, list(COUNTS)), members_of(short), tokens_per_pass=512)
    assert min(row["useful_share"] for row in log) >= 0.95


def test_exported_adapter_gives_the_same_logits_in_peft(llama, short, tmp_path):
    bank = make_bank(llama, ["one", "two"])
    train(bank, members_of({name: short[name] for name in ("one", "two")}))
    bank.export(1, tmp_path / "two", "tiny")
    peft = PeftModel.from_pretrained(load_model(llama), str(tmp_path / "two")).eval()
    tokens = tuple(short["two"][0]["token_ids"])
    sequence = TokenSequence(tokens, tuple(range(1, len(tokens))), 1)
    with torch.no_grad():
        ours = bank.log_probabilities(next(make_passes([sequence], 512, 2)))
        logits = peft(torch.tensor([tokens])).logits[0].log_softmax(-1)
        bare = load_model(llama)(torch.tensor([tokens])).logits[0].log_softmax(-1)
    theirs = logits[range(len(tokens) - 1), tokens[1:]]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (theirs - bare[range(len(tokens) - 1), tokens[1:]]).abs().max() > 0.01, "the adapter does nothing"


def test_export_and_load_is_a_round_trip(manifests, short, tmp_path):
    bank = make_bank(manifests["gpt_neox"], ["one"], LINEAR)
    train(bank, members_of({"one": short["one"]}))
    bank.export(0, tmp_path / "one", "tiny")
    other = make_bank(manifests["gpt_neox"], ["x", "one"], LINEAR)
    other.load(1, tmp_path / "one")
    for key, weight in bank.state(0).items():
        assert torch.equal(other.state(1)[key], weight)


def test_adapter_of_another_rank_is_refused(llama, tmp_path):
    make_bank(llama, ["one"]).export(0, tmp_path / "one", "tiny")
    other = make_bank(llama, ["one"], METHOD.model_copy(update={"rank": 16}))
    with pytest.raises(ValueError, match="does not fit"):
        other.load(0, tmp_path / "one")


def test_model_without_target_modules_is_refused(manifests):
    with pytest.raises(ValueError, match=r"method\.targets"):
        LoraBank(load_model(manifests["gpt_neox"]), ["one"], METHOD)


def test_in_bfloat16_neighbours_change_rounding_and_no_more(llama, short):
    """Products of other shapes round otherwise; adapters, gradients and moments are float32 all the same."""
    losses = {}
    for dtype, names in (("bfloat16", list(COUNTS)), ("bfloat16", ["one"]), ("float32", ["one"])):
        bank = make_bank(llama, names, dtype=dtype)
        log = train(bank, members_of({name: short[name] for name in names}))
        losses[dtype, len(names)] = torch.tensor([row["loss"] for row in log if row["item"] == "one"])
        assert bank.adapter(0).dtype == torch.float32
    together, alone, exact = losses.values()
    assert together[-1] < together[0] - 0.005, "nothing was learned: the comparison would show nothing"
    assert (together - alone).abs().max() < 0.02
    assert (together - exact).abs().max() < 0.05


def test_a_pass_casts_only_the_adapters_it_has_tokens_of(llama, short, monkeypatch):
    bank = make_bank(llama, list(COUNTS))
    given = []
    stack = lora_bank._stack
    monkeypatch.setattr(lora_bank, "_stack", lambda adapters: given.append(len(adapters)) or stack(adapters))
    train(bank, members_of({name: rows[:2] for name, rows in short.items()}), tokens_per_pass=60)
    assert len(given) > 1
    assert max(given) < len(COUNTS), "all of them, in every pass"


def test_a_target_that_matches_nothing_is_named(llama):
    with pytest.raises(ValueError, match="no linear module named qkv_proj"):
        LoraBank(load_model(llama), ["one"], METHOD.model_copy(update={"targets": ("q_proj", "qkv_proj")}))


def test_the_output_layer_is_no_target(llama):
    """It reads the scored tokens only."""
    with pytest.raises(ValueError, match="no linear module named lm_head"):
        LoraBank(load_model(llama), ["one"], METHOD.model_copy(update={"targets": ("q_proj", "lm_head")}))
