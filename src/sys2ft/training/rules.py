"""Which weights a step may move: all, or those that a method from the literature chooses."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.full_weights import FullWeights
from sys2ft.training.half import Half
from sys2ft.training.learners import Learner
from sys2ft.training.lift import Lift


class Choice(Protocol):
    """What the modules of the methods have in common."""

    def before_update(self, step: int, optimiser: torch.optim.AdamW) -> None:
        """Change gradients (and moments) before they are clipped and applied."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse."""


class UpdateRule:
    """The choice of a method, if it makes one.

    Args:
        optimiser: of the engine; None where several processes share it, and nothing can be chosen.
        seed: of what is drawn.
    """

    def __init__(self, learner: Learner, method: MethodSettings, optimiser: torch.optim.AdamW | None, seed: int):
        self.optimiser = optimiser
        self.choice: Choice | None = None
        if isinstance(learner, FullWeights) and method.half is not None:
            self.choice = Half(learner.weights(), method.half, seed)
        if isinstance(learner, FullWeights) and method.lift is not None:
            self.choice = Lift(learner.weights(), method.lift, seed)

    def before_update(self, step: int) -> None:
        """Called between the backward passes of a step, counted from 1, and its update."""
        if self.choice is not None:
            assert self.optimiser is not None
            self.choice.before_update(step, self.optimiser)

    def save(self, folder: Path) -> None:
        """Write what the next steps need into a checkpoint."""
        from safetensors.torch import save_file

        if self.choice is not None:
            save_file(self.choice.state(), folder / "choice.safetensors")

    def load(self, folder: Path) -> None:
        """Read it again."""
        from safetensors.torch import load_file

        if self.choice is not None:
            self.choice.load(load_file(folder / "choice.safetensors"))
