"""The bill: sizes against published ones, work against hand counts and measured runs, needs that are sane."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from sys2ft.cost.amounts import SequenceSize, asked_ways, measure_split, moments, scored_tokens, step_count, step_size
from sys2ft.cost.answers import retention_work, score_work
from sys2ft.cost.bill import RULES, Bill
from sys2ft.cost.calibration import ARTEFACTS, LEAST, benchmark_path
from sys2ft.cost.devices import DEVICES, speed
from sys2ft.cost.generation import Calls, generation_work
from sys2ft.cost.memory import Spread, training_bytes
from sys2ft.cost.models import find_shape
from sys2ft.cost.shape import (
    FAMILIES,
    activation_bytes,
    adapter_parameters,
    body_parameters,
    cache_bytes,
    count_parameters,
    forward_flops,
)
from sys2ft.cost.training import fine_tune_work
from sys2ft.cost.work import Work, seconds
from sys2ft.errors import InputError
from sys2ft.learned import training_points
from sys2ft.news.items import load_news
from sys2ft.paths import artefact_path
from sys2ft.preflight import open_study
from sys2ft.settings.catalogue import MethodSettings, ModelSettings
from sys2ft.settings.choices import ScoringSettings
from sys2ft.settings.resources import Launch, ModelShape
from sys2ft.settings.study import load_study
from sys2ft.training.batches import step_count as taken_steps
from sys2ft.training.learners import Member
from tests.unit.conftest import SHAPES

ROOT = Path(__file__).parents[2]
FILE = "config/mine.yaml"


def shape_of(model_type: str, hidden: int, inner: int, layers: int, heads: int, vocabulary: int, **others: Any):
    return ModelShape(
        model_type=model_type, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, vocab_size=vocabulary, **others,
    )  # fmt: skip


# Shapes are those of the models' config.json on the Hugging Face hub, and so are the counts (the hub's "model size",
# from the safetensors files' headers; for Llama 3.1 also table 3 of arXiv 2407.21783, rounded).
PUBLISHED = {
    "Qwen2.5-0.5B": (
        shape_of("qwen2", 896, 4864, 24, 14, 151936, num_key_value_heads=2, tie_word_embeddings=True),
        494_032_768,
    ),
    "Qwen2.5-1.5B": (
        shape_of("qwen2", 1536, 8960, 28, 12, 151936, num_key_value_heads=2, tie_word_embeddings=True),
        1_543_714_304,
    ),
    "Qwen2.5-3B": (
        shape_of("qwen2", 2048, 11008, 36, 16, 151936, num_key_value_heads=2, tie_word_embeddings=True),
        3_085_938_688,
    ),
    "Qwen2.5-7B": (shape_of("qwen2", 3584, 18944, 28, 28, 152064, num_key_value_heads=4), 7_615_616_512),
    "Qwen2.5-14B": (shape_of("qwen2", 5120, 13824, 48, 40, 152064, num_key_value_heads=8), 14_770_033_664),
    "Qwen2.5-32B": (shape_of("qwen2", 5120, 27648, 64, 40, 152064, num_key_value_heads=8), 32_763_876_352),
    "SmolLM2-135M": (
        shape_of("llama", 576, 1536, 30, 9, 49152, num_key_value_heads=3, tie_word_embeddings=True),
        134_515_008,
    ),
    "Llama-3.1-8B": (shape_of("llama", 4096, 14336, 32, 32, 128256, num_key_value_heads=8), 8_030_261_248),
    "Gemma-2-2B": (
        shape_of("gemma2", 2304, 9216, 26, 8, 256000, num_key_value_heads=4, head_dim=256),
        2_614_341_888,
    ),
    "Pythia-410M": (shape_of("gpt_neox", 1024, 4096, 24, 16, 50304), 405_334_016),
}
QWEN7, QWEN32, SMOL = (PUBLISHED[name][0] for name in ("Qwen2.5-7B", "Qwen2.5-32B", "SmolLM2-135M"))
LORA, JOINT, FULL = (
    MethodSettings(batch_size=8),
    MethodSettings(per="split", batch_size=8),
    MethodSettings(kind="full", per="split", batch_size=8),
)


def parameters_of(shape: ModelShape) -> int:
    """As transformers makes it, without storage."""
    told = shape.model_dump(exclude_none=True, exclude={"model_type"})
    if not shape.mlp_bias:
        told.pop("mlp_bias")
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(shape.model_type, **told)).num_parameters()


# --------------------------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    shape, published = PUBLISHED[name]
    assert count_parameters(shape) == published
    assert parameters_of(shape) == published


VARIANTS = {
    **{name: {"model_type": name, "vocab_size": 100, **shape} for name, shape in SHAPES.items()},
    "mistral": {"model_type": "mistral", "vocab_size": 100, **SHAPES["llama"], "head_dim": 16},
    "qwen3": {"model_type": "qwen3", "vocab_size": 100, **SHAPES["llama"], "tie_word_embeddings": True},
    "llama with biases": {
        "model_type": "llama", "vocab_size": 100, **SHAPES["llama"], "attention_bias": True, "mlp_bias": True,
    },
    "gpt_neox without biases": {
        "model_type": "gpt_neox", "vocab_size": 100, **SHAPES["gpt_neox"], "attention_bias": False,
    },
    "llama, tied": {"model_type": "llama", "vocab_size": 100, **SHAPES["llama"], "tie_word_embeddings": True},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_those_of_transformers(name):
    known = {key: value for key, value in VARIANTS[name].items() if key in ModelShape.model_fields}
    shape = ModelShape.model_validate(known)
    assert count_parameters(shape) == parameters_of(shape)


def test_every_family_is_compared():
    assert {shape["model_type"] for shape in VARIANTS.values()} == set(FAMILIES)


def test_an_adapter_has_two_factors_a_matrix():
    tiny = shape_of("llama", 32, 64, 2, 4, 100, num_key_value_heads=2)
    attention, feed_forward = (32 + 32) + 2 * (32 + 16) + (32 + 32), 3 * (32 + 64)
    assert adapter_parameters(tiny, 8, LORA.targets) == 2 * 8 * (attention + feed_forward)
    assert adapter_parameters(tiny, 8, ["q_proj"]) == 2 * 8 * 64
    assert adapter_parameters(tiny, 8, ["all-linear"]) == adapter_parameters(tiny, 8, LORA.targets)


def test_flops_of_a_forward_pass_by_hand():
    """One layer: hidden 8, 2 heads of 4, inner 16, 10 tokens in the vocabulary; 3 tokens see 5, logits of 2."""
    tiny = shape_of("llama", 8, 16, 1, 2, 10)
    matrices = 4 * 8 * 8 + 3 * 8 * 16
    norms = 3 * 8
    assert body_parameters(tiny) == matrices + norms
    attention = 2 * 2 * (2 * 4) * 5  # scores and sums, a product and an addition each, of a token that sees 5
    assert forward_flops(tiny, 3, 5, 2) == 3 * (2 * (matrices + norms) + attention) + 2 * 2 * 10 * 8
    assert cache_bytes(tiny, "bfloat16") == 2 * 2 * 8


def test_recomputed_activations_take_a_fraction():
    kept, recomputed = (activation_bytes(QWEN7, "bfloat16", checkpointing) for checkpointing in (False, True))
    assert 4e6 < kept < 7e6, "some megabytes a token of a model of 7B"
    assert 0.05 < recomputed / kept < 0.15


# -------------------------------------------------------------------------------------------------------------- amounts
def test_equal_beginnings_are_read_once_where_sequences_are_packed():
    sizes = [(1.0, SequenceSize(shared=100, own=10, scored=8, distinct=4))]
    packed = step_size(LORA, sizes, items=3, news=90)
    assert packed.tokens == 3 * (100 + 4 * 10), "of eight sequences of an item four differ"
    assert packed.scored == 3 * 8 * 8
    joint = step_size(JOINT, sizes, items=3, news=90)
    assert joint.tokens == pytest.approx(3 * 100 + 8 * 10)
    alone = step_size(LORA, sizes, items=3, news=90, packed=False)
    assert alone.tokens > 3 * 8 * 110 > packed.tokens
    assert packed.imitated == 0
    imitating = step_size(LORA, [(1.0, replace(sizes[0][1], imitates=True))], items=3, news=90)
    assert imitating.imitated == 3 * (100 + 90 + 4 * 10)


def test_a_mix_lies_between_its_parts():
    short, long = SequenceSize(20, 10, 8, 100), SequenceSize(20, 200, 180, 100)
    ends = [step_size(LORA, [(1.0, size)], 5, 100).tokens for size in (short, long)]
    assert ends[0] < step_size(LORA, [(0.5, short), (0.5, long)], 5, 100).tokens < ends[1]


@given(
    samples=st.integers(1, 70), batch=st.integers(1, 9), items=st.integers(1, 4), per=st.sampled_from(["item", "split"])
)
def test_steps_and_moments_are_those_of_training(samples, batch, items, per):
    method = MethodSettings(per=per, batch_size=batch)
    whole = samples * (items if per == "split" else 1)
    member = Member("one", [{}] * whole)
    steps = step_count(method, samples, items)
    assert steps == taken_steps([member], method)
    log = [{"item": "one", "samples": len(member.rows[n * batch : (n + 1) * batch])} for n in range(steps)]
    assert moments(method, samples, items, milestones=True) == len(training_points(log, True))
    assert moments(method, samples, items, milestones=False) == 1


def test_ways_of_asking_are_those_of_the_scorer():
    scoring = ScoringSettings()
    assert len(asked_ways(scoring, tuned=False, others=False)) == 5
    assert len(asked_ways(scoring, tuned=True, others=True)) == 6
    assert len(asked_ways(scoring, tuned=True, others=False)) == 5
    assert asked_ways(ScoringSettings(conditions=("closed_book",), controls=()), True, True) == [("closed_book", False)]


def test_trees_save_what_the_log_says():
    """1200 sequences of letters and options held 183,768 tokens, and 15,315 were computed (docs/log.md)."""
    size = measure_split(load_news(ROOT / "data/new_news/events.yaml", "events"))
    assert (size.items, size.questions, size.options) == (15, 5, 4)
    assert 120 < size.news < 220
    saved = [
        sum(scored_tokens(ScoringSettings(), size, mode, False, size.news, packed)[0] for mode in ("letter", "cloze"))
        for packed in (False, True)
    ]
    assert 8 < saved[0] / saved[1] < 40


# ------------------------------------------------------------------------------------------------------------- the bill
def shipped(*names: str, **changes: Any) -> dict[str, Any]:
    """Shipped configurations, merged, with absolute paths and results where there are none; dotted keys are changed."""
    config: dict[str, Any] = {}
    for name in ("config.yaml", *names):
        _merge(config, yaml.safe_load((ROOT / "config" / name).read_text()))
    config["results"] = "results/none"
    for dotted, value in changes.items():
        *parts, last = dotted.split("__")
        place = config
        for part in parts:
            place = place[part]
        place[last] = copy.deepcopy(value)
    return config


def _merge(config: dict, other: dict) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        else:
            config[key] = value


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def bill_of(*names: str, **changes: Any) -> Bill:
    return Bill(load_study(shipped(*names, **changes), FILE), FILE)


def cell(model: str = "smollm2-135m", method: str = "lora", protocol: str = "self_qa", split: str = "events") -> dict:
    return {"model": model, "method": method, "protocol": protocol, "split": split}


SPLITS = ["mathematics", "coding", "discoveries", "leaderboards", "events"]
WHOLE = {
    "budget__items": None, "grid__split": SPLITS, "scoring__modes": ["letter", "cloze"],
    "models__smollm2-135m__resources": {"threads": 2},
}  # fmt: skip


def within(expected: float, measured: float, factor: float) -> bool:
    return measured / factor < expected < measured * factor


def test_every_rule_of_the_bill_has_its_benchmark_files():
    assert set(RULES) == set(ARTEFACTS)


# Rule, method, protocol, seconds, MB: jobs of 5 items of `events` on one core of a busy machine, 2026-11-21. Shares of
# the CPU in `devices` were fitted to them: they only tell whether something has moved.
FITTED = [
    ("score_base", "lora", "naive", 33, 948),
    ("score_answers", "lora", "naive", 50, 1138),
    ("score_answers", "full", "naive", 40, 947),
    ("write_base", "lora", "naive", 76, 1439),
    ("write_answers", "lora", "self_qa", 106, 1459),
    ("score_base_retention", "lora", "naive", 18, 1440),
    ("score_retention", "lora", "naive", 42, 1445),
    ("score_retention", "full", "naive", 15, 1217),
    ("fine_tune", "full", "naive", 43, 3211),
]


@pytest.mark.parametrize(("rule", "method", "protocol", "measured", "memory"), FITTED)
def test_the_jobs_that_the_cpu_was_fitted_to(rule, method, protocol, measured, memory):
    modes = {"path": "data/new_news/events.yaml", "modes": ["letter", "cloze", "statement", "generate"]}
    changes = {"models__smollm2-135m__resources": {}, "splits__events": modes}
    charge = bill_of(grid__method=["lora", "full"], **changes).charge(rule, cell(method=method, protocol=protocol))
    assert within(charge.seconds or 0, measured, 2)
    assert within(charge.needs.mem_mb, 1.3 * memory, 1.8)


def test_scoring_all_questions_takes_what_the_log_says():
    """375 questions by 15 adapters a split took 280 s on two cores, in 2.2 GB (docs/log.md)."""
    bill = bill_of(**WHOLE)
    charges = [bill.charge("score_answers", cell(split=split)) for split in SPLITS]
    assert within(sum(charge.seconds or 0 for charge in charges), 280, 2)
    assert within(max(charge.needs.mem_mb for charge in charges), 2200, 2)


def test_the_embedded_study_takes_what_the_readme_says():
    """14 minutes, of which retention takes a quarter, two jobs at a time; a job at most 2.7 GB. Fitted in part: four
    of the five constants of `devices` come from single jobs of one of these cells."""
    bill = bill_of(**{"models__smollm2-135m__resources": {}})
    charges = {(rule, *keys.values()): bill.charge(rule, keys) for rule, keys in bill.jobs()}
    whole = sum(charge.seconds or 0 for charge in charges.values()) / 2
    retention = sum(charge.seconds or 0 for which, charge in charges.items() if "retention" in which[0]) / 2
    assert within(whole, 14 * 60, 1.5)
    assert 0.15 < retention / whole < 0.4
    assert within(max(charge.needs.mem_mb for charge in charges.values()), 2700, 1.5)


@pytest.mark.parametrize(("tokens", "measured"), [(2048, 5.4e9), (4096, 6.5e9)])
def test_a_bank_of_fifteen_takes_the_memory_that_the_log_says(tokens, measured):
    """Fine-tuning with four sequences an item in bfloat16, by tokens in a pass (docs/log.md)."""
    resources = {"threads": 2, "tokens_per_pass": tokens}
    bill = bill_of(**WHOLE | {"models__smollm2-135m__resources": resources, "methods__lora__batch_size": 4})
    assert within(bill.charge("fine_tune", cell()).needs.mem_mb * 1e6, measured, 1.5)


def test_a_generation_job_takes_about_a_minute():
    """As docs/log.md has it of the embedded study, six rows an item."""
    bill = bill_of()
    told = {"teacher": "smollm2-135m", "split": "events"}
    charges = [
        bill.charge("generate_study", told | {"kind": kind}) for kind in ("paraphrase", "implication", "self_qa")
    ]
    assert all(within(charge.seconds or 0, 60, 2.5) for charge in charges)


# ----------------------------------------------------------------------------------------------------- the paper's grid
@pytest.fixture(scope="module")
def paper():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return bill_of("paper.yaml")


SIZES = ["qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b", "qwen2.5-7b", "qwen2.5-14b", "qwen2.5-32b"]


@pytest.mark.parametrize("model", SIZES)
def test_the_shapes_of_the_paper_are_the_published_ones(paper, model):
    published = {name.lower(): count for name, (_, count) in PUBLISHED.items()}
    assert count_parameters(paper.shape(model)) == published[model]


@pytest.mark.parametrize("model", SIZES[:5])
def test_adapters_of_the_paper_are_trained_on_one_gpu(paper, model):
    needs = paper.charge("fine_tune", cell(model)).needs
    assert (needs.gpu, needs.nodes, needs.launch.world, needs.launch.deepspeed) == (1, 1, 1, None)


def test_fifteen_adapters_on_32b_need_a_second_h100_and_no_second_h200(paper):
    """65.5 GB of weights, and 16 bytes for each of 15 x 134 million numbers: 98 GB."""
    needs = paper.charge("fine_tune", cell("qwen2.5-32b")).needs
    assert (needs.gpu, needs.nodes, needs.launch.deepspeed) == (2, 1, "config/deepspeed/zero3.json")
    assert bill_of("paper.yaml", device="h200").charge("fine_tune", cell("qwen2.5-32b")).needs.all_gpus == 1


def test_all_weights_take_several_gpus_and_then_nodes():
    bill = bill_of("paper.yaml", grid__method=["full"])
    needs = {model: bill.charge("fine_tune", cell(model, "full")).needs for model in SIZES}
    gpus = [needs[model].all_gpus for model in SIZES]
    assert gpus == sorted(gpus)
    assert gpus[0] == 1
    assert 2 <= gpus[3] <= 4
    assert needs["qwen2.5-32b"].nodes > 1
    assert needs["qwen2.5-32b"].gpu == 8
    assert all(one.launch.world == one.all_gpus for one in needs.values())
    assert needs["qwen2.5-32b"].launch.deepspeed == "config/deepspeed/zero3.json"


@pytest.mark.parametrize("rule", ["score_base", "score_answers", "score_retention", "score_base_retention"])
def test_scoring_and_retention_take_one_gpu(paper, rule):
    assert {paper.charge(rule, cell(model)).needs.all_gpus for model in SIZES} == {1}


def test_fewer_answers_are_written_together_where_keys_and_values_would_not_fit(paper):
    batches = [paper.charge("score_retention", cell(model)).needs.batch_size for model in SIZES]
    assert batches[0] == paper.study.retention.batch_size
    assert 1 <= batches[-1] < batches[0]


def test_a_teacher_inside_vllm_is_spread_over_gpus_where_one_does_not_hold_it():
    told = {"teacher": "qwen2.5-32b", "kind": "self_qa", "split": "events"}
    assert bill_of("paper.yaml").charge("generate_study", told).needs.gpu == 1
    wide = bill_of("paper.yaml", **{"models__qwen2.5-32b__dtype": "float32"})
    assert wide.charge("generate_study", told).needs.gpu == 2


def test_every_job_of_the_paper_is_in_the_bill_once(paper):
    jobs = list(paper.jobs())
    counts = {rule: sum(one == rule for one, _ in jobs) for rule in RULES}
    assert counts == {
        "generate_study": 270, "fine_tune": 1080, "score_base": 30, "score_answers": 1080, "write_base": 30,
        "write_answers": 1080, "score_base_retention": 6, "score_retention": 1080,
    }  # fmt: skip
    assert len({benchmark_path("results", rule, keys) for rule, keys in jobs}) == len(jobs)


def test_the_papers_bill_is_of_the_right_order(paper):
    """Training alone: 135 cells x 12 x 1024 samples of a few hundred tokens, 4 FLOPs a parameter and token read."""
    hours, flops = dict.fromkeys(RULES, 0.0), dict.fromkeys(RULES, 0.0)
    for rule, keys in paper.jobs():
        charge = paper.charge(rule, keys)
        hours[rule] += charge.gpu_hours or 0.0
        flops[rule] += charge.work.flops if charge.work else 0.0
    assert 5e19 < flops["fine_tune"] < 5e20
    assert 50 < hours["fine_tune"] < 1000
    assert 10 < hours["generate_study"] < 300
    assert hours["score_base"] < hours["score_answers"] < 300
    assert 2 * hours["fine_tune"] < hours["score_retention"] < 20 * hours["fine_tune"], "5 adapters write 80 documents"
    whole = bill_of("paper.yaml", retention__limit=50, retention__adapters=None)
    most = sum(whole.charge(rule, keys).gpu_hours or 0.0 for rule, keys in whole.jobs() if rule == "score_retention")
    assert most > 15 * hours["score_retention"], "15 adapters write 800"


# ------------------------------------------------------------------------------------------------------------ monotone
def test_larger_models_and_more_samples_cost_more(paper):
    seconds_of = [[paper.charge(rule, cell(model)).seconds or 0.0 for model in SIZES] for rule in RULES
                  if rule != "generate_study"]  # fmt: skip
    flops = [paper.charge("fine_tune", cell(model)).work.flops for model in SIZES]
    assert flops == sorted(flops)
    assert all(some[0] < some[-1] for some in seconds_of)
    few, many = (bill_of("paper.yaml", budget__samples=count) for count in (64, 2048))
    for rule in ("fine_tune", "score_answers", "write_answers"):
        assert (few.charge(rule, cell(SIZES[3])).seconds or 0) < (many.charge(rule, cell(SIZES[3])).seconds or 0)


def job_of(bill: Bill, rule: str = "fine_tune", **keys: str) -> Any:
    return bill._hold(rule, cell(**keys)).job


def test_training_costs_twice_or_thrice_a_forward_pass():
    bill = bill_of("paper.yaml", grid__method=["lora_joint", "full"])
    adapters, full = (job_of(bill, model="qwen2.5-7b", method=method) for method in ("lora_joint", "full"))
    ratio = fine_tune_work(full).training / fine_tune_work(adapters).training
    assert ratio == pytest.approx(3 / 2, rel=0.03), "the adapters' own products are small"
    saving = bill_of(
        "paper.yaml",
        **{"models__qwen2.5-7b__resources": {"tokens_per_pass": 4096, "activation_checkpointing": True},
           "grid__method": ["full"]},
    )  # fmt: skip
    again = fine_tune_work(job_of(saving, model="qwen2.5-7b", method="full")).training
    assert again / fine_tune_work(full).training == pytest.approx(4 / 3)


def test_what_is_imitated_is_read_by_the_base_and_prefixes_are_read_too():
    bill = bill_of(grid__protocol=["self_qa", "self_qa_distilled", "self_qa_shadowed"])
    plain, imitated, shadowed = (
        fine_tune_work(job_of(bill, protocol=name)) for name in ("self_qa", "self_qa_distilled", "self_qa_shadowed")
    )
    assert plain.reading == 0 < imitated.reading
    assert imitated.training == plain.training < shadowed.training


def test_padding_and_repeated_beginnings_cost_more():
    bill = bill_of("paper.yaml")
    for rule, work in (("fine_tune", fine_tune_work), ("score_answers", score_work)):
        job = job_of(bill, rule, model="qwen2.5-7b", protocol="self_qa_shadowed")
        assert work(job, packed=False).flops > 2 * work(job).flops


def test_adapters_and_models_on_disk_by_hand():
    bill = bill_of(budget__samples=6, budget__milestones=True, grid__method=["lora", "full"])
    each = 4 * adapter_parameters(SMOL, 16, LORA.targets)
    assert fine_tune_work(job_of(bill)).written == 4 * 5 * each, "five adapters after 1, 2, 4 and 6 sequences"
    moments_of_30 = 3  # after 4, 8 and 16 of 30 sequences, four a step
    assert fine_tune_work(job_of(bill, method="full")).written == (moments_of_30 + 1) * 2 * 134_515_008


def test_vllm_reads_shared_prompts_once_and_keeps_its_batch_full():
    job = job_of(bill_of("paper.yaml"), model="qwen2.5-7b")
    calls = Calls(requests=1000, groups=10, shared=200, own=50, limit=100)
    plain, vllm = (generation_work(job, calls, engine, 50) for engine in ("transformers", "vllm"))
    assert vllm.reading < plain.reading / 3
    assert vllm.writing < plain.writing
    assert vllm.streamed < plain.streamed


def test_a_smaller_batch_takes_more_steps():
    job = job_of(bill_of("paper.yaml"), "score_retention", model="qwen2.5-7b")
    one, many = (retention_work(job, batch) for batch in (1, 16))
    assert one.steps > 10 * many.steps
    assert one.reading == pytest.approx(many.reading)


@given(gpus=st.sampled_from([1, 2, 4, 8]), flops=st.floats(1e12, 1e19))
def test_seconds_grow_with_work_and_shrink_with_gpus(gpus, flops):
    device = DEVICES["h100"]
    work = Work(training=flops, layers=100)
    assert seconds(work, device, gpus=gpus) <= seconds(work, device, gpus=1)
    assert seconds(work, device, gpus=gpus) < seconds(work + work, device, gpus=gpus)
    assert seconds(work.times(2), device) == pytest.approx(seconds(work + work, device))
    assert 1 < speed(2) < 2


def test_what_zero_shares_out_by_hand():
    """Full weights of 7B: 2 bytes of weights, 4 of gradient, 4 of master and 8 of moments a parameter."""
    job = job_of(bill_of("paper.yaml", grid__method=["full"]), model="qwen2.5-7b", method="full")
    parameters = 7_615_616_512
    held = {stage: training_bytes(job, Spread(4, stage)) for stage in (1, 2, 3)}
    assert held[1] - held[2] == pytest.approx(parameters * 4 * 3 / 4)
    assert held[2] - held[3] == pytest.approx(parameters * 2 * 3 / 4)
    alone = training_bytes(job, Spread())
    assert parameters * 18 < alone < parameters * 18 + 40e9, "18 bytes a parameter, and activations"


# -------------------------------------------------------------------------------------------------------------- needs
def test_memory_and_minutes_grow_with_each_attempt_and_nothing_else_does():
    bill = bill_of("paper.yaml")
    for name in ("mem_mb", "runtime"):
        first, second, third = (bill.resource("fine_tune", name, cell("qwen2.5-7b"), attempt) for attempt in (1, 2, 3))
        assert (second, third) == (2 * first, 3 * first)
    for name in ("gpu", "threads", "nodes", "launch", "batch_size"):
        assert len({bill.resource("fine_tune", name, cell("qwen2.5-7b"), attempt) for attempt in (1, 2)}) == 1


def test_given_resources_win():
    given = {
        "gpu": 4, "nodes": 2, "mem_mb": 1234, "runtime": 77, "threads": 3, "processes": 2,
        "deepspeed": "config/deepspeed/zero1.json",
    }  # fmt: skip
    bill = bill_of("paper.yaml", **{"models__qwen2.5-7b__resources": given})
    found = {name: bill.resource("fine_tune", name, cell("qwen2.5-7b")) for name in ("mem_mb", "runtime", "threads")}
    assert found == {"mem_mb": 1234, "runtime": 77, "threads": 3}
    names = ("gpu", "gres", "mpi", "tasks_per_node", "cpus_per_task")
    spread = {name: bill.resource("fine_tune", name, cell("qwen2.5-7b")) for name in names}
    assert spread == {"gpu": None, "gres": "gpu:4", "mpi": "srun", "tasks_per_node": 2, "cpus_per_task": 2}
    alone = bill_of("paper.yaml", **{"models__qwen2.5-7b__resources": given | {"nodes": 1}})
    spread = {name: alone.resource("fine_tune", name, cell("qwen2.5-7b")) for name in names}
    assert spread == dict.fromkeys(names) | {"gpu": 4}, "what only several nodes need is left out"
    launch = Launch.model_validate_json(str(bill.resource("fine_tune", "launch", cell("qwen2.5-7b"))))
    assert (launch.nodes, launch.processes, launch.world) == (2, 2, 4)
    assert launch.deepspeed == "config/deepspeed/zero1.json"


@pytest.mark.parametrize(
    ("resources", "processes", "world"),
    [
        ({}, 1, 1),
        ({"gpu": 4}, 4, 4),
        ({"gpu": 4, "nodes": 2}, 4, 8),
        ({"nodes": 2}, 1, 2),
        ({"processes": 2}, 2, 2),
        ({"gpu": 4, "processes": 1}, 1, 1),
    ],
)
def test_a_process_a_gpu_trains_unless_a_model_says_otherwise(resources, processes, world):
    launch = bill_of(**{"models__smollm2-135m__resources": resources}).launch(cell())
    assert (launch.processes, launch.world) == (processes, world)


def test_a_job_without_a_gpu_asks_for_none():
    bill = bill_of()
    assert {bill.charge(rule, keys).needs.all_gpus for rule, keys in bill.jobs()} == {0}
    assert {bill.charge(rule, keys).needs.mem_mb for rule, keys in bill.jobs()} == {3000}


def test_scoring_is_billed_on_the_one_gpu_that_computes_however_many_hold_the_model():
    one, eight = (bill_of("paper.yaml", **{"models__qwen2.5-7b__resources": {"gpu": gpu}}) for gpu in (1, 8))
    keys = cell("qwen2.5-7b")
    for rule in ("score_answers", "score_retention"):
        assert eight.expected(rule, keys) == one.expected(rule, keys)
        assert eight.charge(rule, keys).needs.gpu == 8
    faster = eight.expected("fine_tune", keys), one.expected("fine_tune", keys)
    assert faster[0] < faster[1] / 2, "training computes on all"


def test_a_job_that_is_given_no_gpu_takes_a_cpus_time():
    resources = {"gpu": 0, "threads": 8}
    without, cpu = (
        bill_of("paper.yaml", device=device, **{"models__qwen2.5-0.5b__resources": resources})
        for device in ("h100", "cpu")
    )
    keys = cell("qwen2.5-0.5b")
    for rule in ("fine_tune", "score_answers"):
        assert without.expected(rule, keys) == cpu.expected(rule, keys)


def test_only_training_takes_several_nodes_where_the_shape_is_unknown():
    given = {"gpu": 8, "nodes": 2, "mem_mb": 1000, "runtime": 10}
    source = {"kind": "directory", "path": "models/unknown"}
    bill = bill_of(models__unknown={"source": source, "resources": given}, grid__model=["unknown"])
    for rule in ("score_answers", "score_retention"):
        assert (bill.resource(rule, "gpu", cell("unknown")), bill.resource(rule, "nodes", cell("unknown"))) == (8, 1)
    assert (
        bill.resource("fine_tune", "gres", cell("unknown")),
        bill.resource("fine_tune", "nodes", cell("unknown")),
    ) == (
        "gpu:8",
        2,
    )


def test_who_reads_a_file_or_asks_a_server_needs_no_gpu_and_a_server_takes_its_time():
    served = {"engine": "openai", "served_model": "m", "revision": "1"}
    bill = bill_of("paper.yaml", teachers__served=served, grid__teacher=["served", "reference"])
    told = {"kind": "self_qa", "split": "events"}
    charges = [bill.charge("generate_study", told | {"teacher": name}) for name in ("served", "reference")]
    assert [charge.needs.all_gpus for charge in charges] == [0, 0]
    assert [charge.needs.threads for charge in charges] == [1, 1]
    assert (charges[0].seconds or 0) > 10 * (charges[1].seconds or 0)
    slower = bill_of("paper.yaml", teachers__served={**served, "batch_size": 1}, grid__teacher=["served"])
    found = slower.charge("generate_study", told | {"teacher": "served"})
    assert found.needs.runtime > charges[0].needs.runtime


# --------------------------------------------------------------------------------------------------------- calibration
def finish(results: Path, rule: str, keys: dict[str, Any], took: float) -> None:
    path = benchmark_path(str(results), rule, keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{took}\t0:00:01\t100.5\n")


def test_benchmark_files_correct_what_is_expected(monkeypatch, tmp_path):
    bill = bill_of("paper.yaml")
    bill.check()
    monkeypatch.chdir(tmp_path)
    expected = {}
    for rule, keys in bill.jobs():
        if rule == "fine_tune" and keys["model"] in SIZES[:2] and keys["seed"] == 0:
            expected[benchmark_path("results/none", rule, keys)] = (rule, keys, bill.expected(rule, keys))
    factors = {SIZES[0]: 3.0, SIZES[1]: 5.0}
    for rule, keys, before in expected.values():
        finish(Path("results/none"), rule, keys, factors[keys["model"]] * before)
    found = bill.calibration
    assert found.factor("fine_tune", SIZES[0]) == pytest.approx(3.0)
    assert found.factor("fine_tune", SIZES[1]) == pytest.approx(5.0)
    assert found.factor("fine_tune", "unseen") == pytest.approx(4.0), "the median of all its rule's files"
    assert found.factor("score_base", SIZES[0]) == 1.0
    assert found.files == 6, "a few of each rule and model, so that parsing stays fast"
    some = cell(SIZES[0])
    assert bill.charge("fine_tune", some).seconds == pytest.approx(3 * bill.expected("fine_tune", some))


def test_a_resumed_jobs_file_and_a_torn_one_do_little_harm(monkeypatch, tmp_path):
    bill = bill_of()
    bill.check()
    keys = [keys for rule, keys in bill.jobs() if rule == "fine_tune"]
    monkeypatch.chdir(tmp_path)
    finish(Path("results/none"), "fine_tune", dict(keys[0]), 0.001)
    benchmark_path("results/none", "fine_tune", keys[1]).parent.mkdir(parents=True)
    benchmark_path("results/none", "fine_tune", keys[1]).write_text("s\th:m:s")
    assert bill.calibration.factor("fine_tune", "smollm2-135m") == LEAST
    assert bill.calibration.files == 1


# -------------------------------------------------------------------------------------------------------- bad input
HUB = {"kind": "hub", "repository": "owner/name", "revision": "0123456789" * 4}


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        open_study(config, FILE)
    return str(caught.value)


def with_model(**model: Any) -> dict[str, Any]:
    config = shipped(grid__model=["mine"], grid__protocol=["naive"])
    config["models"]["mine"] = model
    return config


def test_a_model_of_unknown_shape_is_refused_unless_all_it_needs_is_given():
    message = refusal(with_model(source=HUB))
    assert message.startswith(f"{FILE}: models.mine.shape: missing, and gpu, mem_mb, runtime of its jobs")
    assert "config.json" in message
    told = refusal(with_model(source=HUB, resources={"gpu": 1, "runtime": 60}))
    assert "missing, and mem_mb of its jobs" in told
    study = open_study(with_model(source=HUB, resources={"gpu": 1, "runtime": 60, "mem_mb": 5000}), FILE)
    charge = Bill(study, FILE).charge("fine_tune", cell("mine", protocol="naive"))
    assert (charge.work, charge.seconds, charge.gpu_hours) == (None, None, None)
    assert (charge.needs.gpu, charge.needs.runtime, charge.needs.mem_mb) == (1, 60, 5000)


def test_an_architecture_of_unknown_size_is_named():
    message = refusal(with_model(source=HUB, shape=SMOL.model_dump() | {"model_type": "mamba"}))
    assert message.startswith(f"{FILE}: models.mine.shape.model_type: the size of a mamba is not known")


def test_a_shape_with_a_part_missing_is_named():
    shape = SMOL.model_dump(exclude={"hidden_size"})
    assert f"{FILE}: models.mine.shape.hidden_size: missing" in refusal(with_model(source=HUB, shape=shape))


def test_a_random_model_with_half_a_shape_is_refused():
    source = {"kind": "random", "architecture": "llama", "shape": {"hidden_size": 32}}
    assert f"{FILE}: models.mine.source.shape: incomplete" in refusal(with_model(source=source))


def prepared(folder: Path, parameters: int) -> None:
    path = Path(artefact_path(str(folder), "model", model="mine"))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"parameters": parameters}))


def test_a_prepared_model_of_another_size_is_refused(monkeypatch, tmp_path):
    prepared(tmp_path / "results/none", 134_515_008)
    right, wrong = (
        load_study(with_model(source=HUB, shape=SMOL.model_dump() | {"num_hidden_layers": layers}), FILE)
        for layers in (30, 31)
    )
    monkeypatch.chdir(tmp_path)
    assert Bill(right, FILE).shape("mine") == SMOL
    with pytest.raises(InputError) as caught:
        Bill(wrong, FILE).shape("mine")
    message = str(caught.value)
    assert message.startswith(f"{FILE}: models.mine.shape: its shape has 138055104 parameters, and results/none")
    assert "says 134515008" in message


def test_the_shape_of_a_directory_is_read_from_it(tmp_path):
    config = {**SMOL.model_dump(), "rope_theta": 1e5, "bos_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    study = load_study(with_model(source={"kind": "directory", "path": str(tmp_path)}), FILE)
    assert Bill(study, FILE).shape("mine") == SMOL


def test_a_model_that_no_gpu_holds_is_refused_with_what_to_do():
    config = shipped("paper.yaml", device="a100", grid__model=["qwen2.5-32b"], grid__protocol=["self_qa"])
    config["models"]["qwen2.5-32b"]["dtype"] = "float32"
    message = refusal(config)
    assert message.startswith(f"{FILE}: models.qwen2.5-32b.resources.gpu: ")
    assert "on one GPU, the only one that it can use, and a100 has 79 for it" in message
    assert "take a device with more memory" in message
    config["models"]["qwen2.5-32b"]["resources"] |= {"gpu": 1}
    open_study(config, FILE)


def test_a_pass_that_no_number_of_gpus_holds_is_refused_with_what_to_do():
    config = shipped("paper.yaml", grid__model=["qwen2.5-7b"], grid__protocol=["self_qa"])
    config["models"]["qwen2.5-7b"]["resources"] = {"tokens_per_pass": 60000}
    assert "lower tokens_per_pass there or set activation_checkpointing: true" in refusal(config)


def test_a_method_of_one_process_is_refused_where_it_needs_several_gpus():
    config = shipped("paper.yaml", grid__model=["qwen2.5-14b"], grid__method=["half"], grid__protocol=["self_qa"])
    assert "fine_tune with 'qwen2.5-14b', trained by 'half' needs" in refusal(config)


@pytest.mark.parametrize(
    "names",
    [(), ("smoke.yaml",), ("paper.yaml",), ("paper.yaml", "teachers.yaml"), ("audit.yaml",), ("embedded.yaml",)],
)
def test_every_shipped_configuration_has_its_bill(names):
    bill = bill_of(*names)
    charges = [bill.charge(rule, keys) for rule, keys in bill.jobs()]
    assert all(charge.seconds and charge.seconds > 0 for charge in charges)
    assert all(charge.needs.runtime >= 5 and charge.needs.mem_mb > 0 for charge in charges)


def test_where_the_hub_cannot_be_asked_what_jobs_need_is_what_was_given(tmp_path, monkeypatch):
    """The environment that plans and draws has no huggingface_hub."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    model = {"source": {"kind": "hub", "repository": "someone/tiny", "revision": "0" * 40}}
    (tmp_path / "prepare_model/model=m/weights").mkdir(parents=True)
    assert find_shape("m", ModelSettings.model_validate(model), str(tmp_path)) is None
