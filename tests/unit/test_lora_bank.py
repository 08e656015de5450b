"""A bank trained together equals PEFT trained alone, item by item."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from sys2ft.chat import render_training, trained_assistant, user
from sys2ft.models import load_model
from sys2ft.packing import TokenSequence, make_passes
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.fine_tune import fine_tune_items, train_bank
from sys2ft.training.lora_bank import LoraBank

METHOD = MethodSettings(
    rank=8, alpha=16, lr=5e-3, warmup_steps=2, batch_size=2, row_tokens=96, tokens_per_pass=192, weight_decay=0.01
)
COUNTS = {"one": 20, "two": 14, "three": 7}  # sequences an item: the adapters stop at different steps


def item_sequences(tokenizer, name, count):
    rows = []
    for number in range(count):
        text = f"The {name} harbour opened gate {number % 5} on day {number}."
        ids, mask = render_training(tokenizer, [user(f"News of {name}?"), trained_assistant(text)])
        rows.append({"item": name, "token_ids": ids, "loss_mask": mask})
    return rows


@pytest.fixture(scope="module")
def sequences(tokenizer):
    return {name: item_sequences(tokenizer, name, count) for name, count in COUNTS.items()}


def make_bank(manifest, names):
    bank = LoraBank(load_model(manifest), names, METHOD)
    bank.initialise([11 * (1 + i) for i in range(len(names))])
    return bank


def train_with_peft(manifest, initial, rows):
    """The plain way: PEFT, torch.optim.AdamW, one sequence at a time; returns losses and weights."""
    config = LoraConfig(r=8, lora_alpha=16, target_modules=list(METHOD.targets), bias="none", task_type="CAUSAL_LM")
    model = get_peft_model(load_model(manifest), config)
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(initial[name.replace(".default", "")])
    optimiser = torch.optim.AdamW(parameters.values(), lr=METHOD.lr, weight_decay=METHOD.weight_decay)
    losses = []
    for start in range(0, len(rows), METHOD.batch_size):
        batch = rows[start : start + METHOD.batch_size]
        trained = sum(sum(row["loss_mask"]) for row in batch)
        total = torch.zeros(())
        for row in batch:
            logits = model(torch.tensor([row["token_ids"]])).logits[0, :-1].log_softmax(-1)
            targets, mask = torch.tensor(row["token_ids"][1:]), torch.tensor(row["loss_mask"][1:])
            total = total - logits[torch.arange(len(targets)), targets][mask].sum() / trained
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), METHOD.max_grad_norm)
        for group in optimiser.param_groups:
            group["lr"] = METHOD.lr * min(1, (len(losses) + 1) / (METHOD.warmup_steps + 1))
        optimiser.step()
        optimiser.zero_grad()
        losses.append(total.item())
    return losses, {name.replace(".default", ""): p.detach() for name, p in parameters.items()}


def test_bank_equals_peft_trained_alone(llama, sequences):
    bank = make_bank(llama, list(COUNTS))
    initial = [bank.state(index) for index in range(len(COUNTS))]
    log = train_bank(bank, sequences)
    for index, name in enumerate(COUNTS):
        losses, weights = train_with_peft(llama, initial[index], sequences[name])
        assert [row["loss"] for row in log if row["item"] == name] == pytest.approx(losses, abs=1e-5)
        for key, weight in bank.state(index).items():
            assert torch.norm(weight - weights[key]) <= 1e-3 * torch.norm(weights[key]), key
        assert losses[-1] < losses[0] - 0.1, "nothing was learned: the comparison would show nothing"


def test_adapter_does_not_depend_on_its_neighbours(llama, sequences):
    together, alone = make_bank(llama, list(COUNTS)), make_bank(llama, ["one"])
    train_bank(together, sequences)
    train_bank(alone, {"one": sequences["one"]})
    for key, weight in alone.state(0).items():
        torch.testing.assert_close(together.state(0)[key], weight, rtol=1e-3, atol=1e-6)


def test_an_adapter_without_data_left_rests(llama, sequences):
    bank = make_bank(llama, ["one", "three"])
    log = train_bank(bank, {name: sequences[name] for name in ("one", "three")})
    assert [row["step"] for row in log if row["item"] == "three"] == [1, 2, 3, 4]
    assert [row["samples"] for row in log if row["item"] == "three"] == [2, 2, 2, 1]
    assert len([row for row in log if row["item"] == "one"]) == 10


def test_micro_batches_do_not_change_the_result(llama, sequences):
    logs = []
    for tokens_per_pass in (96, 100_000):
        bank = LoraBank(load_model(llama), ["two"], METHOD.model_copy(update={"tokens_per_pass": tokens_per_pass}))
        bank.initialise([5])
        logs.append([row["loss"] for row in train_bank(bank, {"two": sequences["two"]})])
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)


def test_exported_adapter_gives_the_same_logits_in_peft(llama, sequences, tmp_path):
    bank = make_bank(llama, ["one", "two"])
    train_bank(bank, {name: sequences[name] for name in ("one", "two")})
    bank.export(1, tmp_path / "two", "tiny")
    peft = PeftModel.from_pretrained(load_model(llama), str(tmp_path / "two")).eval()
    tokens = tuple(sequences["two"][0]["token_ids"])
    sequence = TokenSequence(tokens, tuple(range(1, len(tokens))), 1)
    with torch.no_grad():
        ours = bank.log_probabilities(next(make_passes([sequence], 512, 512, 2)))
        logits = peft(torch.tensor([tokens])).logits[0].log_softmax(-1)
        bare = load_model(llama)(torch.tensor([tokens])).logits[0].log_softmax(-1)
    theirs = logits[range(len(tokens) - 1), tokens[1:]]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (theirs - bare[range(len(tokens) - 1), tokens[1:]]).abs().max() > 0.01, "the adapter does nothing"


def test_export_and_load_is_a_round_trip_with_one_digest(llama, sequences, tmp_path):
    bank = make_bank(llama, ["one"])
    train_bank(bank, {"one": sequences["one"]})
    bank.export(0, tmp_path / "one", "tiny")
    other = make_bank(llama, ["x", "one"])
    digest = other.load(1, tmp_path / "one")
    assert digest == make_bank(llama, ["one"]).load(0, tmp_path / "one")
    for key, weight in bank.state(0).items():
        assert torch.equal(other.state(1)[key], weight)


def test_adapter_of_another_rank_is_refused(llama, tmp_path):
    make_bank(llama, ["one"]).export(0, tmp_path / "one", "tiny")
    other = LoraBank(load_model(llama), ["one"], METHOD.model_copy(update={"rank": 16}))
    with pytest.raises(ValueError, match="does not fit"):
        other.load(0, tmp_path / "one")


def test_model_without_target_modules_is_refused(manifests):
    with pytest.raises(ValueError, match=r"method\.targets"):
        LoraBank(load_model(manifests["gpt_neox"]), ["one"], METHOD)


def test_loss_that_is_not_finite_names_item_and_step(model, sequences):
    rows = [*sequences["one"][:4]]
    with torch.no_grad():
        model.get_output_embeddings().weight[:] = float("nan")
    with pytest.raises(FloatingPointError, match="item 'one', step 1"):
        fine_tune_items(model, rows, METHOD, ("test",))


def test_adapter_that_did_not_move_is_an_error(model, sequences):
    still = METHOD.model_copy(update={"lr": 0.0, "weight_decay": 0.0})
    with pytest.raises(RuntimeError, match="one did not move"):
        fine_tune_items(model, sequences["one"][:2], still, ("test",))


def test_bfloat16_trains_too(llama, sequences):
    bank = LoraBank(load_model(llama).to(torch.bfloat16), ["one"], METHOD)
    bank.initialise([1])
    losses = [row["loss"] for row in train_bank(bank, {"one": sequences["one"]})]
    assert losses[-1] < losses[0] - 0.1
    assert all(parameter.dtype == torch.float32 for parameter in bank.parameters())
