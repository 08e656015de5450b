"""What every engine keeps to, shown on the engine that runs a model."""

import pytest
import torch

from sys2ft.chat import user
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.engines import SeededSampling, open_engine
from sys2ft.study.requests import Request

SETTINGS = TeacherSettings(batch_size=4)


def make_requests(count, tokens=12):
    prompts = [(user("Say " + "é" * (n + 1)),) for n in range(count)]
    return [Request(f"item{n}", "write", n, range(1), prompts[n], tokens, 100 + n) for n in range(count)]


@pytest.fixture(scope="module")
def engine(llama):
    return open_engine(SETTINGS, llama, "paraphrase")


def test_samples_come_in_the_order_of_the_requests_and_repeat(engine):
    requests = make_requests(7)
    samples = engine(requests)
    assert [sample.request for sample in samples] == requests
    assert [sample.text for sample in engine(requests)] == [sample.text for sample in samples]
    assert len({sample.text for sample in samples}) > 1


def test_a_request_does_not_depend_on_its_batch(engine):
    requests = make_requests(6)
    together = {sample.request.id: sample.text for sample in engine(requests)}
    for request in requests[::2]:
        assert engine([request])[0].text == together[request.id]


def test_limit_is_kept_and_said(engine):
    for sample in engine(make_requests(3, tokens=5)):
        assert sample.completion_tokens <= 5
        assert sample.finish in ("stop", "length")
        assert sample.finish == "stop" or sample.completion_tokens == 5
        assert sample.prompt_tokens > 0


def test_no_requests_no_samples(engine):
    assert engine([]) == []


def test_prompt_beyond_the_context_names_its_item(engine):
    with pytest.raises(ValueError, match=r"request 'long/write/0': .* exceed the teacher's context of 2048"):
        engine([Request("long", "write", 0, range(1), (user("x" * 3000),), 5, 1)])


def test_sampling_follows_the_distribution_and_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4000, 1)
    settings = TeacherSettings(temperature=1.0, top_p=0.9, top_k=4)
    drawn = SeededSampling(settings, range(4000))(torch.empty(0), logits).argmax(-1)
    shares = drawn.bincount(minlength=4) / 4000
    assert shares[3] == 0  # outside of the nucleus
    assert shares[:3].tolist() == pytest.approx([0.526, 0.316, 0.158], abs=0.03)
