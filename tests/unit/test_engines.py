"""How the engine that runs a model draws tokens; what every engine keeps to is said in `tests/engines`."""

import pytest
import torch

from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.engines.running import SeededSampling


def test_sampling_follows_the_distribution_and_top_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4000, 1)
    settings = TeacherSettings(temperature=1.0, top_p=0.9, top_k=4)
    drawn = SeededSampling(settings, range(4000))(torch.empty(0), logits).argmax(-1)
    shares = drawn.bincount(minlength=4) / 4000
    assert shares[3] == 0  # outside of the nucleus
    assert shares[:3].tolist() == pytest.approx([0.526, 0.316, 0.158], abs=0.03)
