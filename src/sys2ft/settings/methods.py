"""Parts of a fine-tuning method that come from the literature; each is off unless a method names it."""

from pydantic import Field, model_validator

from sys2ft.settings.base import Frozen


class HalfSettings(Frozen):
    """Half Fine-Tuning (Hui et al. 2024, arXiv 2404.18466): half of each layer is frozen, another half each round."""

    round_steps: int = Field(ge=1)
    """Optimiser steps from one draw to the next. No default: a round of the paper is a whole fine-tuning, such as one
    of a sequence of tasks; as many steps as the run has is what it does for one."""


class LiftSettings(Frozen):
    """LIFT (Liu et al. 2025, arXiv 2506.00772): only the weights that are large after rank reduction are trained."""

    rank: int = Field(128, ge=1)
    """Of the approximation the entries are chosen by. 128 is what the authors' code recommends; best is about the rank
    of a LoRA with as many trained parameters (appendix G.8)."""
    density: float = Field(0.05, gt=0, le=1)
    """Share of each matrix that is trained (abstract: the top 5 %)."""
    refresh_steps: int = Field(200, ge=1)
    """Optimiser steps from one choice of entries to the next; the paper tries 50 to 1000 and finds the middle best
    (appendix B.1)."""


class MaskedInputSettings(Frozen):
    """Masked thought fine-tuning (Chen et al. 2024, arXiv 2403.02178): input tokens are hidden, targets are not."""

    share: float = Field(0.2, ge=0, le=1)
    """Chance of each trained token to be hidden from the tokens after it. The paper takes 0.1 or 0.2, and 0.4 for data
    without formulas if the chance grows from 0 over two thirds of training; small ones need no such warm-up
    (section 3.2)."""


class LinesSettings(Frozen):
    """LiNeS (Wang et al. 2024, arXiv 2410.17146): shallow layers keep less of their update than deep ones."""

    alpha: float = Field(0.1, ge=0)
    """Share of its update that the first layer keeps, and all that is no layer. The authors choose it on validation
    data, from 0 to 1, for a model fine-tuned on one task; their example has 0.1."""
    beta: float = Field(0.9, ge=0)
    """What the last layer keeps beyond that; for one task 1 - alpha, so that the last layer keeps all."""

    @model_validator(mode="after")
    def _keeps_something(self) -> "LinesSettings":
        if self.alpha + self.beta == 0:
            raise ValueError("alpha and beta are both 0, which leaves nothing of what is learned; give beta 0.9")
        return self
