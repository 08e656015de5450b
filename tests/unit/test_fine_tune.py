"""The loop: full weights, methods, objectives, milestones and guards."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from sys2ft.grid import JOINT, Cell
from sys2ft.learned import is_milestone, weights_digest
from sys2ft.models import load_manifest, load_model, load_trained
from sys2ft.packing import TokenSequence, make_passes
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.methods import HalfSettings, LiftSettings, LinesSettings, MaskedInputSettings
from sys2ft.settings.stages import FineTuneStage
from sys2ft.training.batches import Share, share_passes, take_batch
from sys2ft.training.cell import Run, fine_tune_cell
from sys2ft.training.fine_tune import Watch
from sys2ft.training.guards import check_sequences, explain_memory, trained_padding
from sys2ft.training.learners import Member, make_members, open_learner, save_memory
from sys2ft.training.objective import Wanted, token_losses
from tests.unit.training import METHOD, item_rows, members_of, train, train_plainly

FULL = MethodSettings(kind="full", per="split", lr=1e-3, warmup_steps=2, batch_size=2)
CELL = Cell("tiny", "m", "naive", "none", "events", 0)


def changed(method, **values):
    return MethodSettings(**(method.model_dump() | values))


@pytest.fixture(scope="module")
def rows(tokenizer):
    return item_rows(tokenizer, "one", 12)


@pytest.fixture(scope="module")
def distilled(tokenizer):
    return item_rows(tokenizer, "one", 12, context="The one harbour opened all gates. It was cold.")


def learn(manifest, rows, method, **options):
    """A learner of one member, trained."""
    members = [Member("one", rows, seed=7)]
    learner = open_learner(manifest, members, method)
    return learner, train(learner, members, **options)


# --------------------------------------------------------------------------------------------------------- full weights
@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_full_fine_tuning_equals_plain_pytorch(manifests, rows, architecture):
    learner, log = learn(manifests[architecture], rows, FULL)
    plain = load_model(manifests[architecture]).requires_grad_(True)
    losses = train_plainly(plain, list(plain.parameters()), rows, FULL)
    assert [row["loss"] for row in log] == pytest.approx(losses, abs=1e-5)
    for name, weight in plain.named_parameters():
        torch.testing.assert_close(learner.weights()[name], weight, rtol=1e-3, atol=1e-5)
    assert losses[-1] < losses[0] - 0.05


def test_one_large_pass_of_full_weights_equals_many_small_ones(llama, rows):
    """1 x 8 = 8 x 1."""
    logs = [learn(llama, rows, changed(FULL, batch_size=8, eps=1e-6), tokens_per_pass=n)[1] for n in (4096, 50)]
    assert [row["loss"] for row in logs[0]] == pytest.approx([row["loss"] for row in logs[1]], abs=1e-5)


def test_exported_weights_are_read_by_transformers(llama, rows, tmp_path):
    learner, _ = learn(llama, rows, FULL)
    learner.export(0, tmp_path / "all", "tiny")
    again = load_trained(tmp_path / "all")
    for name, weight in again.named_parameters():
        assert torch.equal(weight, learner.weights()[name])
    assert weights_digest(tmp_path / "all") == weights_digest(tmp_path / "all")


def test_what_a_model_stores_beside_its_parameters_is_written_too(llama, rows, tmp_path):
    learner = open_learner(llama, [Member("one", rows, seed=7)], FULL)
    learner.model.model.layers[0].register_buffer("scale", torch.full((1,), 3.0))
    learner.export(0, tmp_path / "out", "tiny")
    written = load_file(tmp_path / "out/model.safetensors")
    assert written["model.layers.0.scale"].item() == 3.0
    assert not any("inv_freq" in name for name in written), "what is computed is not stored"


def test_bfloat16_keeps_its_weights_in_float32(llama, rows, tmp_path):
    manifest = llama.parent / "bfloat16.json"
    manifest.write_text(json.dumps(load_manifest(llama) | {"dtype": "bfloat16"}))
    learner, log = learn(manifest, rows, FULL)
    assert {weight.dtype for weight in learner.weights().values()} == {torch.float32}
    _, exact = learn(llama, rows, FULL)
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in exact], abs=0.05)
    assert [row["loss"] for row in log] != [row["loss"] for row in exact], "it computes in float32"
    learner.export(0, tmp_path / "all", "tiny")
    assert load_trained(tmp_path / "all").dtype == torch.bfloat16


@pytest.mark.parametrize("method", [FULL, METHOD], ids=["full", "lora"])
def test_activation_checkpointing_changes_nothing(llama, rows, method):
    _, log = learn(llama, rows[:4], method)
    members = [Member("one", rows[:4], seed=7)]
    learner = open_learner(llama, members, method)
    save_memory(learner)
    assert [row["loss"] for row in train(learner, members)] == pytest.approx([row["loss"] for row in log], abs=1e-6)


# -------------------------------------------------------------------------------------------------------------- methods
def test_half_trains_half_of_the_blocks_a_round(llama, rows):
    before = {name: weight.clone() for name, weight in load_model(llama).named_parameters()}
    moved = {}
    for steps in (2, 6):  # one round, and three
        learner, _ = learn(llama, rows[: 2 * steps], changed(FULL, half=HalfSettings(round_steps=2)))
        moved[steps] = {n for n, w in learner.weights().items() if "layers" in n and not torch.equal(w, before[n])}
    inside = [name for name in before if "layers" in name]
    assert 0.4 * len(inside) <= len(moved[2]) <= 0.6 * len(inside)
    assert len(moved[6]) > len(moved[2])


def test_lift_moves_its_share_of_the_matrices(llama, rows):
    method = changed(FULL, lift=LiftSettings(rank=4, density=0.05, refresh_steps=100))
    learner, _ = learn(llama, rows, method)
    for name, weight in load_model(llama).named_parameters():
        share = (learner.weights()[name] != weight).float().mean().item()
        assert share == pytest.approx(0.05 if "layers" in name and weight.dim() == 2 else 0.0, abs=0.01), name


def test_masked_inputs_are_read_and_their_targets_trained(rows):
    method = changed(METHOD, masked_input=MaskedInputSettings(share=0.5))
    batch = take_batch([Member("one", rows, seed=7)], 0, method, replacement=2)
    for sequence, row in zip(batch.sequences, rows, strict=False):
        assert list(sequence.targets) == [row["token_ids"][place] for place in sequence.scored]
        hidden = [place for place, token in enumerate(sequence.tokens) if token != row["token_ids"][place]]
        assert hidden
        assert set(hidden) < set(sequence.scored)
        assert {sequence.tokens[place] for place in hidden} == {2}
    (step,) = [pass_ for pass_, _, _ in share_passes(batch, Share(4096), 1, None)]
    assert sorted(step.targets.tolist()) == sorted(t for s in batch.sequences for t in s.targets)


def test_masked_inputs_change_what_is_learned(llama, rows):
    _, plain = learn(llama, rows, METHOD)
    _, masked = learn(llama, rows, changed(METHOD, masked_input=MaskedInputSettings(share=0.5)), replacement=2)
    assert masked[-1]["loss"] < masked[0]["loss"]
    assert [row["loss"] for row in masked] != pytest.approx([row["loss"] for row in plain], abs=1e-3)


@pytest.mark.parametrize("method", [FULL, METHOD], ids=["full", "lora"])
def test_lines_scales_what_is_written_not_what_is_trained(llama, rows, method, tmp_path):
    from safetensors.torch import load_file

    written = {}
    for name, lines in {"plain": None, "scaled": LinesSettings(alpha=0.25, beta=0.5)}.items():
        learner, log = learn(llama, rows, changed(method, lines=lines))
        learner.export(0, tmp_path / name, "tiny")
        (file,) = (tmp_path / name).glob("*.safetensors")
        written[name] = log[-1]["loss"], load_file(file)
    assert written["plain"][0] == written["scaled"][0]
    before = dict(load_model(llama).named_parameters())
    for name, weight in written["plain"][1].items():
        factor = {"0": 0.25, "1": 0.75}.get(name.partition("layers.")[2].partition(".")[0], 0.25)
        start = before[name] if name in before else torch.zeros(())
        factor = 1.0 if "lora_A" in name else factor
        torch.testing.assert_close(written["scaled"][1][name] - start, factor * (weight - start), rtol=1e-4, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- distill
def plain_divergence(base, tuned, row):
    """KL(base with the news in context || learner without), the slow, obvious way."""

    def read(model, ids, mask):
        logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        return torch.stack([logits[place - 1] for place, loss in enumerate(mask) if loss])

    theirs = read(base, row["context_ids"], row["context_mask"])
    ours = read(tuned, row["token_ids"], row["loss_mask"])
    return (theirs.exp() * (theirs - ours)).sum(-1)


@pytest.mark.parametrize("method", [FULL, METHOD], ids=["full", "lora"])
@pytest.mark.parametrize("tokens_per_pass", [40, 1000])
def test_distillation_is_the_divergence_from_the_base_with_the_news(llama, distilled, method, tokens_per_pass):
    base = load_model(llama)
    _, log = learn(llama, distilled, method, tokens_per_pass=tokens_per_pass)
    with torch.no_grad():
        values = torch.cat([plain_divergence(base, base, row) for row in distilled[:2]])
    assert log[0]["loss"] == pytest.approx(values.mean().item(), rel=0.01)
    assert values.mean() > 3e-5, "the news in context says nothing: the comparison would show nothing"
    assert log[0]["context_tokens"] == sum(len(row["context_ids"]) for row in distilled[:2])


def test_the_base_that_is_imitated_is_the_one_that_answers(llama, tokenizer, tmp_path):
    """In bfloat16 too, far into a text: rotary frequencies that are rounded turn by a radian in 300 tokens."""
    shutil.copytree(llama.parent, tmp_path / "model")
    path = tmp_path / "model/model.json"
    path.write_text(json.dumps(load_manifest(path) | {"dtype": "bfloat16"}))
    rows = item_rows(tokenizer, "one", 1, context="The one harbour opened all gates. " * 40)
    learner = open_learner(path, [Member("one", rows, seed=7)], FULL)
    base = load_model(path)
    for name, buffer in learner.base.model.named_buffers():
        assert torch.equal(buffer, base.get_buffer(name)), name
    for name, parameter in learner.base.model.named_parameters():
        assert torch.equal(parameter, base.get_parameter(name)), name


def test_distillation_brings_the_learner_towards_the_base(llama, distilled):
    _, log = learn(llama, distilled[:1] * 30, changed(METHOD, lr=1e-2, batch_size=1))
    assert log[-1]["loss"] < 0.3 * log[0]["loss"]


def test_the_base_is_read_without_adapters(llama, distilled):
    """What is imitated does not move while the learner does."""
    members = [Member("one", distilled, seed=7)]
    learner = open_learner(llama, members, METHOD)
    batch = take_batch(members, 0, METHOD)
    ((_, context, _),) = share_passes(batch, Share(4096), 1, None)
    before = context.distribution(learner.base_logits).log_probabilities
    train(learner, members)
    assert torch.equal(context.distribution(learner.base_logits).log_probabilities, before)


def test_top_k_is_at_most_the_whole_divergence_and_all_of_it_for_all_tokens():
    torch.manual_seed(0)
    ours, theirs = torch.randn(5, 50), torch.randn(5, 50).log_softmax(-1)
    whole = token_losses(ours, torch.zeros(5, dtype=torch.int64), Wanted(theirs))
    for k, tolerance in ((3, None), (50, 1e-4)):
        values, tokens = theirs.topk(k, -1)
        part = token_losses(ours, torch.zeros(5, dtype=torch.int64), Wanted(values, tokens))
        assert (part <= whole + 1e-4).all()
        assert (part >= -1e-6).all()
        if tolerance:
            torch.testing.assert_close(part, whole, rtol=0, atol=tolerance)
    assert token_losses(theirs, torch.zeros(5, dtype=torch.int64), Wanted(theirs)).abs().max() < 1e-6


def test_trained_and_distilled_sequences_may_be_mixed(llama, rows, distilled):
    _, log = learn(llama, [rows[0], distilled[1]], METHOD)
    _, first = learn(llama, [rows[0]], METHOD)
    _, second = learn(llama, [distilled[1]], METHOD)
    tokens = [first[0]["loss_tokens"], second[0]["loss_tokens"]]
    mean = (first[0]["loss"] * tokens[0] + second[0]["loss"] * tokens[1]) / sum(tokens)
    assert log[0]["loss"] == pytest.approx(mean, abs=1e-5)


# ----------------------------------------------------------------------------------------------------------- milestones
def test_milestones_are_the_powers_of_two_before_the_end():
    assert [n for n in range(1, 12) if is_milestone(n - 1, n, 11)] == [1, 2, 4, 8]
    assert [n for n in range(3, 24, 3) if is_milestone(n - 3, n, 21)] == [3, 6, 9, 18]
    assert not is_milestone(3, 4, 4)


def test_a_milestone_is_what_a_shorter_run_ends_with(llama, rows):
    method = changed(METHOD, batch_size=1)
    found = {}
    members = [Member("one", rows, seed=7)]
    learner = open_learner(llama, members, method)
    watch = Watch(milestone=lambda index, samples: found.update({samples: learner.adapter(index).detach().clone()}))
    train(learner, members, watch=watch)
    assert list(found) == [1, 2, 4, 8]
    for samples, weights in found.items():
        shorter, _ = learn(llama, rows[:samples], method)
        assert torch.equal(shorter.adapter(0), weights)


# ---------------------------------------------------------------------------------------------------------------- cells
def cell_run(llama, rows, method, folder, **stage):
    log = fine_tune_cell(llama, rows, FineTuneStage(method=method, **stage), CELL, Run(folder))
    return log, {str(p.relative_to(folder / "adapters")) for p in (folder / "adapters").rglob("*.safetensors")}


@pytest.mark.parametrize(
    ("kind", "per", "names"),
    [("lora", "item", {"one", "two"}), ("lora", "split", {JOINT}), ("full", "item", {"one", "two"}),
     ("full", "split", {JOINT})],
)  # fmt: skip
def test_a_cell_learns_by_item_or_by_split(llama, tokenizer, tmp_path, kind, per, names):
    rows = [row for name in ("one", "two") for row in item_rows(tokenizer, name, 6)]
    method = changed(FULL, kind=kind, per=per, rank=8)
    log, files = cell_run(llama, rows, method, tmp_path, milestones=True)
    file = "adapter_model.safetensors" if kind == "lora" else "model.safetensors"
    points = ("", "samples=2/", "samples=4/") + (("samples=8/",) if per == "split" else ())
    assert files == {f"{name}/{point}{file}" for name in names for point in points}
    assert {row["item"] for row in log} == names
    assert sum(row["samples"] for row in log) == 12
    assert not list(tmp_path.rglob(".*")), "temporary files are left"


def test_a_joint_learner_takes_the_items_in_turn(tokenizer):
    rows = [row for name in ("one", "two") for row in item_rows(tokenizer, name, 3)]
    (member,) = make_members(rows, changed(METHOD, per="split"), ("test",))
    assert [(row["item"], row["position"]) for row in member.rows] == [
        (name, position) for position in range(3) for name in ("one", "two")
    ]


def test_tensorboard_files_are_written(llama, rows, tmp_path):
    pytest.importorskip("tensorboard")
    run = Run(tmp_path / "work", tensorboard=tmp_path / "curves")
    fine_tune_cell(llama, rows[:6], FineTuneStage(method=METHOD), CELL, run)
    assert len(list((tmp_path / "curves/one").glob("events.*"))) == 1


# --------------------------------------------------------------------------------------------------------------- guards
def test_loss_that_is_not_finite_names_item_and_step(llama, rows):
    members = [Member("one", rows)]
    learner = open_learner(llama, members, METHOD)
    with torch.no_grad():
        learner.model.get_output_embeddings().weight[:] = float("nan")
    with pytest.raises(FloatingPointError, match="item 'one', step 1"):
        train(learner, members)


def test_a_loss_that_becomes_infinite_names_the_item_and_its_step(llama, tokenizer):
    sequences = {name: item_rows(tokenizer, name, 6) for name in ("one", "two")}
    members = members_of(sequences, {"two": 1e30})
    learner = open_learner(llama, members, METHOD)
    with pytest.raises(FloatingPointError, match=r"item 'two', step [23]"):
        train(learner, members)


def test_what_did_not_move_is_an_error(llama, rows):
    with pytest.raises(RuntimeError, match="one trains did not move"):
        learn(llama, rows[:2], METHOD.model_copy(update={"lr": 0.0}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda row: row.update(loss_mask=[False] * len(row["loss_mask"])),
            "item 'one', sequence 1: no token has loss",
        ),
        (lambda row: row.update(token_ids=[0] * len(row["token_ids"])), "sequence 1: the padding token 0 is trained"),
        (
            lambda row: row.update(context_ids=[1, 2], context_mask=[False, True]),
            "sequence 1: with the news in context",
        ),
        (lambda row: row.update({k: row[k] * 9 for k in ("token_ids", "loss_mask")}), "the 400 of the model's context"),
        (lambda row: row.update(item="two"), "item 'one': 3 samples are asked for, and 2 sequences exist"),
    ],
)
def test_sequences_that_cannot_be_trained_are_refused(tokenizer, change, message):
    rows = item_rows(tokenizer, "one", 3)
    check_sequences(rows, 3, 0, 400)
    change(rows[1])
    with pytest.raises(ValueError, match=message):
        check_sequences(rows, 3, 0, 400)


def test_padding_that_ends_texts_is_rightly_trained(llama):
    config = load_model(llama).config
    assert trained_padding(config) == 0
    config.pad_token_id = config.eos_token_id
    assert trained_padding(config) is None


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_out_of_memory_says_which_pass_and_which_setting(error):
    (step,) = make_passes([TokenSequence((n, *range(20)), (20,)) for n in (50, 60)], 512, 0)
    said = r"step 3: .*40 tokens .*items one\): set .*tokens_per_pass to 20"
    with pytest.raises(MemoryError, match=said), explain_memory(3, step, ["one"]):
        raise error


def test_a_sequence_that_is_too_long_alone_asks_for_no_smaller_passes():
    (step,) = make_passes([TokenSequence(tuple(range(41)), (40,))], 512, 0)
    said = r"set models.<name>.resources.activation_checkpointing to true"
    with pytest.raises(MemoryError, match=said), explain_memory(3, step, ["one"]):
        raise MemoryError


def test_out_of_memory_in_an_update_says_what_shares_the_state():
    said = r"step 1: no memory to update the weights: .*models.<name>.resources.gpu"
    with pytest.raises(MemoryError, match=said), explain_memory(1):
        raise torch.OutOfMemoryError("CUDA")


def test_another_error_stays_what_it_is():
    (step,) = make_passes([TokenSequence((1, 2), (1,))], 512, 0)
    with pytest.raises(RuntimeError, match="shapes"), explain_memory(3, step, ["one"]):
        raise RuntimeError("shapes")


def test_losses_are_those_of_a_pinned_run(llama, rows):
    """A change that is not to alter numbers leaves these as they are."""
    _, log = learn(llama, rows, METHOD)
    assert [round(row["loss"], 4) for row in log] == PINNED
    assert all(math.isfinite(row["grad_norm"]) for row in log)


PINNED = [5.5635, 5.5588, 5.5549, 5.5475, 5.5476, 5.5462]
