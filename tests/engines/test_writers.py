"""Who writes answers: the base, adapters put on one after the other, trained models; one suite for all engines."""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sys2ft.chat import render_prompt, user
from sys2ft.evaluation.writing import open_writer
from sys2ft.learned import THE_BASE, Learned, weights_digest
from sys2ft.models import load_model, load_tokenizer
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.choices import WritingSettings
from sys2ft.study.requests import Request
from tests.engines.conftest import BATCH, IN_VLLM_ENVIRONMENT
from tests.engines.speaker import CONTEXT

ENGINE = "vllm" if IN_VLLM_ENVIRONMENT else "transformers"
METHODS = {"base": None, "lora": MethodSettings(rank=8, alpha=32), "full": MethodSettings(kind="full")}
TARGETS = METHODS["lora"].targets
SEEDS = {"red": 1, "blue": 2}
NEW = 20


def ask(number: int, content: str, new: int = NEW) -> Request:
    return Request("ferry", "generate", number, range(0), (user(content),), new, 0, name=f"ferry-q{number}/closed_book")


REQUESTS = [ask(number, "Where did the ferry" + " go" * number) for number in range(6)]


@pytest.fixture(params=[ENGINE], autouse=True)
def engine(request):
    """Its name in each test's, so that `-k vllm` finds the suite."""
    return request.param


@pytest.fixture(scope="module")
def trained(speaker, tmp_path_factory) -> dict[str, dict[str, Learned]]:
    """Adapters as PEFT writes them, and the models that they make of the base."""
    folder = tmp_path_factory.mktemp("trained")
    return make_all(speaker, folder, SEEDS)


def make_all(speaker: Path, folder: Path, seeds: dict[str, int]) -> dict[str, dict[str, Learned]]:
    made: dict[str, dict[str, Learned]] = {"lora": {}, "full": {}}
    for name, seed in seeds.items():
        model = load_model(speaker)
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for path, module in model.named_modules():
            if path.rpartition(".")[2] in TARGETS:
                rows, columns = module.weight.shape
                low = torch.randn(8, columns, generator=generator) * columns**-0.5
                high = torch.randn(rows, 8, generator=generator) * 0.3
                tensors |= {f"base_model.model.{path}.lora_{x}.weight": t for x, t in (("A", low), ("B", high))}
                module.weight.data += 32 / 8 * high @ low
        adapter = folder / "adapters" / name
        adapter.mkdir(parents=True)
        save_file(tensors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 32, "bias": "none"}
        config |= {"target_modules": list(TARGETS), "base_model_name_or_path": "speaker"}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        model.save_pretrained(folder / "models" / name)
        (folder / "models" / name / "generation_config.json").unlink(missing_ok=True)
        for kind, place in (("lora", adapter), ("full", folder / "models" / name)):
            made[kind][name] = Learned(name, place, weights_digest(place), 4, False)
    return made


@pytest.fixture(scope="module")
def writers(speaker):
    """Each kept until another is asked for."""
    kept: dict[str, object] = {}

    def open_one(kind: str):
        if kind not in kept:
            kept.clear()
            settings = WritingSettings(engine=ENGINE, batch_size=BATCH)
            kept[kind] = open_writer(speaker, METHODS[kind], settings, gpus=0)
        return kept[kind]

    yield open_one
    kept.clear()


def write(writer, learned: Learned, requests=REQUESTS) -> dict[str, str]:
    return {sample.request.id: sample.text for group in writer(learned, requests) for sample in group}


@functools.cache
def by_hand(speaker: Path, folder: Path | None) -> dict[str, str]:
    """Greedy, a token at a time, by transformers alone."""
    model = load_model(speaker)
    if folder is not None:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = load_tokenizer(speaker)
    texts = {}
    for request in REQUESTS:
        tokens = render_prompt(tokenizer, request.messages)
        start = len(tokens)
        while len(tokens) < start + NEW:
            with torch.no_grad():
                following = int(model(torch.tensor([tokens])).logits[0, -1].argmax())
            if following == tokenizer.eos_token_id:
                break
            tokens.append(following)
        texts[request.id] = tokenizer.decode(tokens[start:], skip_special_tokens=True)
    return texts


def test_the_base_writes_what_is_likeliest(speaker, writers):
    assert write(writers("base"), THE_BASE) == by_hand(speaker, None)


def test_each_adapter_writes_as_the_model_it_makes_of_the_base(speaker, writers, trained):
    texts = {name: write(writers("lora"), learned) for name, learned in trained["lora"].items()}
    for name, learned in trained["full"].items():
        assert texts[name] == by_hand(speaker, learned.folder)
    assert texts["red"] != texts["blue"]
    assert by_hand(speaker, None) not in texts.values()


def test_an_adapter_is_never_taken_for_one_that_came_before(writers, trained):
    first = write(writers("lora"), trained["lora"]["red"])
    assert write(writers("lora"), trained["lora"]["blue"]) != first
    assert write(writers("lora"), trained["lora"]["red"]) == first


def test_an_adapter_that_was_trained_again_under_its_name_writes_for_itself(speaker, writers, trained, tmp_path):
    before = write(writers("lora"), trained["lora"]["red"])
    again = make_all(speaker, tmp_path, {"red": 3})
    assert again["lora"]["red"].digest != trained["lora"]["red"].digest
    texts = write(writers("lora"), again["lora"]["red"])
    assert texts == by_hand(speaker, again["full"]["red"].folder) != before


def test_trained_models_write_one_after_the_other(speaker, writers, trained):
    for learned in trained["full"].values():
        assert write(writers("full"), learned) == by_hand(speaker, learned.folder)


def test_a_question_that_is_too_long_is_named_with_its_model(speaker, writers):
    with pytest.raises(ValueError, match=rf"'ferry-q7/closed_book': .*context of {CONTEXT} of {speaker.parent}"):
        write(writers("base"), THE_BASE, [ask(7, "x" * CONTEXT)])
