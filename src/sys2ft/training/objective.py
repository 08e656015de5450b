"""What a scored token costs: its negative log-likelihood, or its distance from what the frozen base says with the
news in context.

The second is context distillation (Snell et al. 2022, arXiv 2209.15189; for knowledge: Kujanpaa et al. 2024, prompt
distillation, arXiv 2412.14964): KL(base with context || learner without), token by token on the same study sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sys2ft.packing import Pass


@dataclass
class Wanted:
    """What the base says at P scored tokens, as probabilities that sum to 1 or, of the K likeliest, to less.

    Attributes:
        log_probabilities: (P, K) float32.
        tokens: (P, K) which tokens they are; None: the whole vocabulary in order.
    """

    log_probabilities: Tensor
    tokens: Tensor | None = None


@dataclass
class Context:
    """The sequences of a pass with the news in context.

    Attributes:
        step: a pass with the same scored tokens, in an order of its own.
        order: (P,) for each scored token of the learner's pass its number there.
        top_k: how many of the likeliest tokens are imitated; None: all of the vocabulary.
    """

    step: Pass
    order: Tensor
    top_k: int | None = None

    def to(self, device: torch.device) -> "Context":
        """The same on a device."""
        return Context(self.step.to(device), self.order.to(device), self.top_k)

    def distribution(self, base_logits: Callable[[Pass], Tensor]) -> Wanted:
        """Ask the base, without gradients."""
        with torch.no_grad():
            values = base_logits(self.step)[self.order].float().log_softmax(-1)
        if self.top_k is None:
            return Wanted(values)
        return Wanted(*values.topk(min(self.top_k, values.shape[-1]), -1))


def token_losses(logits: Tensor, targets: Tensor, wanted: Wanted | None = None) -> Tensor:
    """The loss of every scored token, (P,) in float32 nats.

    Args:
        logits: (P, V).
        targets: (P,) what is trained where nothing is imitated.
        wanted: what is imitated. Of the K likeliest tokens only, all others count as one: the divergence of the
            distributions coarsened so, which is never more than the whole and is 0 where they agree.
    """
    if wanted is None:
        return _CrossEntropy.apply(logits, targets)
    ours, theirs = logits.float().log_softmax(-1), wanted.log_probabilities
    if wanted.tokens is not None:
        ours = _with_rest(ours.gather(-1, wanted.tokens))
        theirs = _with_rest(theirs)
    return functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)


class _CrossEntropy(torch.autograd.Function):
    """`functional.cross_entropy(logits.float(), targets, reduction="none")`, a few rows at a time: logits stay as they
    are, no float32 copy of a whole vocabulary's worth of them is ever made, and on a CPU the work stays in its cache.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        normaliser = torch.cat([part.float().logsumexp(-1) for part in logits.split(_rows_at_once(logits))])
        ctx.save_for_backward(logits, targets, normaliser)
        return normaliser - logits.gather(-1, targets[:, None])[:, 0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, targets, normaliser = ctx.saved_tensors
        result, rows = torch.empty_like(logits), _rows_at_once(logits)
        for part, target, norm, scale, out in zip(
            *(tensor.split(rows) for tensor in (logits, targets, normaliser, gradient, result)), strict=True
        ):
            probabilities = part.float().sub_(norm[:, None]).exp_()
            probabilities.scatter_add_(-1, target[:, None], probabilities.new_full((len(target), 1), -1.0))
            torch.mul(probabilities, scale[:, None], out=probabilities)
            out.copy_(probabilities)
        return result, None


def _rows_at_once(logits: Tensor) -> int:
    return max(1, (1 << (20 if logits.device.type == "cpu" else 26)) // logits.shape[-1])


def _with_rest(log_probabilities: Tensor) -> Tensor:
    """(P, K) -> (P, K + 1): the log-probability of all other tokens together beside those of the K."""
    rest = (1 - log_probabilities.exp().sum(-1, keepdim=True)).clamp(min=1e-6)
    return torch.cat([log_probabilities, rest.log()], -1)
