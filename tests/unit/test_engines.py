"""How the engine that runs a model draws tokens; what every engine keeps to is said in `tests/engines`."""

import json
import shutil

import pytest
import torch

from sys2ft.chat import user
from sys2ft.models import describe_teacher
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.engines import open_engine
from sys2ft.study.engines.running import SeededSampling
from sys2ft.study.requests import Request, complete


def test_sampling_follows_the_distribution_and_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4000, 1)
    settings = TeacherSettings(temperature=1.0, top_p=0.9, top_k=4)
    drawn = SeededSampling(settings, range(4000))(torch.empty(0), logits).argmax(-1)
    shares = drawn.bincount(minlength=4) / 4000
    assert shares[3] == 0  # outside of the nucleus
    assert shares[:3].tolist() == pytest.approx([0.526, 0.316, 0.158], abs=0.03)


def test_sampling_that_a_model_ships_with_changes_nothing(llama, tmp_path):
    shutil.copytree(llama.parent / "weights", tmp_path / "weights")
    (tmp_path / "model.json").write_text(llama.read_text())
    path = tmp_path / "weights/generation_config.json"
    shipped = json.loads(path.read_text()) | {"repetition_penalty": 9.0, "do_sample": True, "temperature": 0.1}
    path.write_text(json.dumps(shipped))
    requests = [Request("item", "write", n, range(n, n + 1), (user("Say it."),), 24, n) for n in range(3)]
    plain, other = (open_engine(TeacherSettings(), source, "") for source in (llama, tmp_path / "model.json"))
    assert [s.text for s in complete(plain, requests)] == [s.text for s in complete(other, requests)]


def test_without_top_k_all_tokens_may_be_drawn():
    logits = torch.zeros(3000, 5)
    drawn = SeededSampling(TeacherSettings(top_k=None, top_p=1.0), range(3000))(torch.empty(0), logits).argmax(-1)
    assert drawn.bincount(minlength=5).min() > 500


def test_what_writes_is_known_by_its_weights_and_their_precision(llama, tmp_path):
    served = {"engine": "openai", "served_model": "one", "revision": "1"}
    models = ({**served, "served_model": name} for name in ("one", "two"))
    assert len({describe_teacher(TeacherSettings(**model), None) for model in models}) == 2
    (tmp_path / "model.json").write_text(llama.read_text().replace('"float32"', '"bfloat16"'))
    assert describe_teacher(TeacherSettings(), llama) != describe_teacher(TeacherSettings(), tmp_path / "model.json")
