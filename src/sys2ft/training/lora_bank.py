"""A bank of LoRA adapters on one frozen base, all resident, each token routed to its own adapter.

Source of the update: LoRA (Hu et al. 2021, arXiv 2106.09685), y = W x + (alpha / rank) B A x. Here A and B of all N
adapters are stacked, tokens lie sorted by adapter, and one grouped matrix product serves them all: no loop over
adapters and no padding to the longest. A bank of one is plain LoRA. Adapters are exported in PEFT's format.

An adapter is one flat parameter, so that optimisers, gradient norms and ZeRO partitions come adapter by adapter.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sys2ft.forward import own_attention, token_logits, use_packed_attention
from sys2ft.packing import Pass
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.launch import world_size
from sys2ft.training.lines import scale_lora
from sys2ft.training.objective import Context, token_losses

PEFT_PREFIX = "base_model.model."


class Routing:
    """Where the tokens of each of the pass's adapters end, (M,); None: the base alone."""

    offsets: Tensor | None = None
    alone = False
    """Whether every token belongs to one adapter, however many there are: no pass, but the model used as any other."""
    tokens = 0
    """How many there are."""


class BankLinear(nn.Module):
    """A frozen linear module and what adapters add to it."""

    def __init__(self, base: nn.Linear, scaling: float, routing: Routing):
        super().__init__()
        self.base, self.scaling, self.routing = base, scaling, routing
        self.weights: tuple[Tensor, Tensor] | None = None
        """A (M, in_features, rank) and B (M, rank, out_features) of the M adapters of the pass under way."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        output = self.base(hidden)
        offsets = self.routing.offsets
        if self.weights is not None and self.routing.alone:
            low, high = self.weights
            return output.add_(hidden @ low[0] * self.scaling @ high[0])
        if offsets is None or self.weights is None:
            return output
        flat = hidden.reshape(-1, hidden.shape[-1])
        if len(flat) != self.routing.tokens:
            raise ValueError("a target module reads other tokens than the model: take it out of method.targets")
        low = functional.grouped_mm(flat, self.weights[0], offs=offsets) * self.scaling  # of all factors the smallest
        update = functional.grouped_mm(low, self.weights[1], offs=offsets)
        return output.add_(update.view_as(output))


class _Parts(torch.autograd.Function):
    """M flat adapters, stacked, cast and cut into the parts of the linear modules: (M, size) each.

    As `torch.stack(adapters).to(dtype).split(sizes, 1)`, without its copies: rows of one tensor are stacked already,
    and each part's gradient goes straight to its place.
    """

    @staticmethod
    def forward(ctx: Any, sizes: list[int], dtype: torch.dtype, *adapters: Tensor) -> tuple[Tensor, ...]:
        ctx.sizes = sizes
        return _stack(adapters).to(dtype, copy=True).split(sizes, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        whole = gradients[0].new_empty(len(gradients[0]), sum(ctx.sizes), dtype=torch.float32)
        for place, gradient in zip(whole.split(ctx.sizes, 1), gradients, strict=True):
            place.copy_(gradient)
        return (None, None, *whole.unbind(0))


def _stack(adapters: Sequence[Tensor]) -> Tensor:
    """(M, size); no copy where they lie one after the other, as a bank makes them and some engines do not keep them."""
    first, size = adapters[0], adapters[0].numel()
    step = size * first.element_size()
    storage = first.untyped_storage().data_ptr()
    if all(
        one.data_ptr() == first.data_ptr() + number * step and one.untyped_storage().data_ptr() == storage
        for number, one in enumerate(adapters)
    ):
        return first.detach().as_strided((len(adapters), size), (size, 1))
    return torch.stack(list(adapters))


class LoraBank(nn.Module):
    """N adapters on a model, one a name. Replaces the target modules in place.

    Args:
        model: a causal language model; its own parameters are frozen.
        names: one name an adapter; their order is the order of `TokenSequence.adapter`.
        method: rank, alpha and target modules.

    Raises:
        ValueError: the model has no module of the target names, or cannot be read in packed rows.
    """

    def __init__(self, model: Any, names: Sequence[str], method: MethodSettings):
        super().__init__()
        self.model: Any
        use_packed_attention(model)
        self.model, self.names, self.method = model.requires_grad_(False), list(names), method
        self.routing = Routing()
        self.linears = {
            path: BankLinear(module, method.alpha / method.rank, self.routing)
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear) and self._is_target(path, module)
        }
        found = {path.rpartition(".")[2] for path in self.linears}
        lacking = [] if method.targets == ("all-linear",) else [name for name in method.targets if name not in found]
        if lacking or not found:
            raise ValueError(f"the model has no linear module named {', '.join(lacking)}: set method.targets")
        for path, linear in self.linears.items():
            parent, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(parent), leaf, linear)
        self.sizes = [size for linear in self.linears.values() for size in self._sizes(linear)]
        stacked = torch.zeros(len(self.names), sum(self.sizes), device=self.device)
        for index, flat in enumerate(stacked):
            self.register_parameter(f"adapter_{index}", nn.Parameter(flat))

    @property
    def device(self) -> torch.device:
        """Where base and adapters are."""
        return next(self.model.parameters()).device

    def adapter(self, index: int) -> nn.Parameter:
        """One adapter's weights, flat, in float32."""
        return self.get_parameter(f"adapter_{index}")

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """The trained parameters of each adapter."""
        return [[self.adapter(index)] for index in range(len(self.names))]

    def initialise(self, seeds: Sequence[int]) -> None:
        """Draw A as PEFT does (Kaiming uniform, a = sqrt 5) and set B to zero; one seed an adapter.

        An adapter's start depends on its own seed alone, not on its neighbours in the bank.
        """
        for index, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for linear, (low, high) in zip(self.linears.values(), self._views(index), strict=True):
                weight = torch.empty(self.method.rank, linear.base.in_features)
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
                with torch.no_grad():
                    low.copy_(weight.T)
                    high.zero_()

    def forward(self, step: Pass, context: Context | None = None) -> Tensor:
        """The loss of every scored token, (P,) in float32.

        Args:
            step: on the bank's device; its tokens belong to adapters.
            context: what the frozen base is to be imitated on (`objective`); None: the targets are trained.
        """
        wanted = None if context is None else context.distribution(self.base_logits)
        return token_losses(self.logits(step), step.targets, wanted)

    def logits(self, step: Pass) -> Tensor:
        """(P, V): what each scored token is predicted from, each under its own adapter."""
        self._route(step)
        return token_logits(self.model, step)

    def base_logits(self, step: Pass) -> Tensor:
        """(P, V) under the frozen base, adapters off."""
        self.routing.offsets = None
        with torch.no_grad():
            return token_logits(self.model, step)

    def log_probabilities(self, step: Pass) -> Tensor:
        """Log-probability of every scored token, (P,) in float32; logits are computed at their places only."""
        step = step.to(self.device)
        return -token_losses(self.logits(step), step.targets)

    @contextmanager
    def alone(self, index: int) -> Iterator[None]:
        """Within it `model` is one of transformers' own with one adapter on it: it reads batches, and generates."""
        with torch.no_grad():
            self._give([index])
        self.routing.alone = True
        try:
            with own_attention(self.model):
                yield
        finally:
            self.routing.alone = False

    def _route(self, step: Pass) -> None:
        """Say which tokens belong to which of the adapters that the pass has tokens of."""
        if step.offsets is None:
            raise ValueError("sequences of no adapter were given to a bank")
        present = list(range(len(self.names)))
        if world_size() == 1:  # several processes have to reach all (`Engine`)
            present = (step.offsets.diff(prepend=step.offsets.new_zeros(1)) > 0).nonzero()[:, 0].tolist()
        self.routing.offsets, self.routing.tokens = step.offsets[present], step.computed_tokens
        self._give(present)

    def _give(self, present: Sequence[int]) -> None:
        """Give every linear module its part of these adapters, in the model's precision."""
        for linear in self.linears.values():
            linear.weights = None  # or two passes' copies would be held at once
        parts = iter(_Parts.apply(self.sizes, self.model.dtype, *map(self.adapter, present)))
        for linear in self.linears.values():
            low = next(parts).view(len(present), linear.base.in_features, self.method.rank)
            linear.weights = low, next(parts).view(len(present), self.method.rank, linear.base.out_features)

    def _is_target(self, path: str, module: nn.Linear) -> bool:
        if module is self.model.get_output_embeddings():
            return False
        return self.method.targets == ("all-linear",) or path.rpartition(".")[2] in self.method.targets

    def _sizes(self, linear: BankLinear) -> tuple[int, int]:
        return linear.base.in_features * self.method.rank, self.method.rank * linear.base.out_features

    def _views(self, index: int) -> list[tuple[Tensor, Tensor]]:
        """A (in_features, rank) and B (rank, out_features) of one adapter, module by module."""
        parts = iter(self.adapter(index).detach().split(self.sizes))
        rank = self.method.rank
        return [(next(parts).view(-1, rank), next(parts).view(rank, -1)) for _ in self.linears]

    def state(self, index: int) -> dict[str, Tensor]:
        """One adapter's weights in float32, under PEFT's names and in its layout."""
        tensors = {}
        for path, (low, high) in zip(self.linears, self._views(index), strict=True):
            tensors[f"{PEFT_PREFIX}{path}.lora_A.weight"] = low.T.contiguous().cpu()
            tensors[f"{PEFT_PREFIX}{path}.lora_B.weight"] = high.T.contiguous().cpu()
        return tensors

    def export(self, index: int, folder: Path, base_name: str) -> None:
        """Write one adapter as PEFT does: `adapter_config.json` and `adapter_model.safetensors`.

        Where the method scales layers by depth (LiNeS), what is written is scaled; what is trained is not.
        """
        from peft import LoraConfig, TaskType
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        config = LoraConfig(
            r=self.method.rank,
            lora_alpha=self.method.alpha,
            target_modules=sorted({path.rpartition(".")[2] for path in self.linears}),
            lora_dropout=0.0,
            bias="none",
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=base_name,
            inference_mode=True,
        )
        config.target_modules = sorted(config.target_modules)  # PEFT makes it a set, in another order each time
        config.save_pretrained(str(folder))
        state = self.state(index)
        if self.method.lines is not None:
            state = scale_lora(state, self.method.lines)
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, index: int, folder: Path) -> None:
        """Read one adapter.

        Raises:
            ValueError: it was made for other modules, another rank or another scaling.
        """
        from safetensors.torch import load_file

        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = load_file(folder / "adapter_model.safetensors")
        expected = {name: tensor.shape for name, tensor in self.state(index).items()}
        same_scaling = config["lora_alpha"] / config["r"] == self.method.alpha / self.method.rank
        if {name: tensor.shape for name, tensor in tensors.items()} != expected or not same_scaling:
            raise ValueError(f"{folder} does not fit this model and method: train it again")
        for path, (low, high) in zip(self.linears, self._views(index), strict=True):
            low.copy_(tensors[f"{PEFT_PREFIX}{path}.lora_A.weight"].T)
            high.copy_(tensors[f"{PEFT_PREFIX}{path}.lora_B.weight"].T)
