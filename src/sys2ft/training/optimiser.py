"""AdamW over a bank: one update for all adapters, and every adapter its own step count, gradient norm and stop."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sys2ft.settings.catalogue import MethodSettings


class BankAdamW:
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101), as `torch.optim.AdamW` does it, adapter by adapter.

    The parameters are stacked, adapter first; an adapter that has no data left is left alone, which an optimiser that
    sees one tensor could not do.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], method: MethodSettings):
        self.parameters, self.method = list(parameters), method
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = torch.zeros(self.parameters[0].shape[0], device=self.parameters[0].device)

    def learning_rates(self) -> Tensor:
        """(N,) for the next step: linear warm-up, then constant."""
        return self.method.lr * ((self.steps + 1) / (self.method.warmup_steps + 1)).clamp(max=1)

    @torch.no_grad()
    def step(self, active: Tensor) -> Tensor:
        """Clip and apply the gradients of the active adapters, and forget all gradients.

        Args:
            active: (N,) boolean.

        Returns:
            (N,) norm of each adapter's gradient before clipping.
        """
        method = self.method
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        clip = (method.max_grad_norm / (norms + 1e-6)).clamp(max=1)  # as torch.nn.utils.clip_grad_norm_
        rates = self.learning_rates()
        self.steps += active
        bias1 = 1 - method.beta1 ** self.steps.clamp(min=1)
        bias2 = 1 - method.beta2 ** self.steps.clamp(min=1)
        for parameter, gradient, first, second in zip(self.parameters, gradients, self.first, self.second, strict=True):
            shape = (-1,) + (1,) * (parameter.dim() - 1)
            on = active.view(shape)
            gradient = gradient * clip.view(shape)
            first.copy_(torch.where(on, first.lerp(gradient, 1 - method.beta1), first))
            second.copy_(torch.where(on, second.lerp(gradient.square(), 1 - method.beta2), second))
            denominator = (second / bias2.view(shape)).sqrt().add_(method.eps)
            update = (first / bias1.view(shape)) / denominator + method.weight_decay * parameter
            parameter.sub_(torch.where(on, update * rates.view(shape), 0))
            parameter.grad = None
        return norms
