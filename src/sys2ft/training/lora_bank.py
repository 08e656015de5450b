"""A bank of LoRA adapters on one frozen base, all resident, each token routed to its own adapter.

Source of the update: LoRA (Hu et al. 2021, arXiv 2106.09685), y = W x + (alpha / rank) B A x. Here A and B of all N
adapters are stacked, tokens are sorted by adapter, and one grouped matrix product serves them all: no loop over
adapters and no padding to the longest. A bank of one is plain LoRA. Adapters are exported in PEFT's format.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sys2ft.forward import Routing, token_log_probabilities
from sys2ft.packing import Pass
from sys2ft.settings.catalogue import MethodSettings

PEFT_PREFIX = "base_model.model."


class BankLinear(nn.Module):
    """A frozen linear module and the N adapters on it."""

    def __init__(self, base: nn.Linear, adapters: int, rank: int, scaling: float, routing: Routing):
        super().__init__()
        self.base = base
        self.scaling = scaling
        self.routing = routing
        device = base.weight.device
        self.lora_A = nn.Parameter(torch.zeros(adapters, base.in_features, rank, device=device))
        self.lora_B = nn.Parameter(torch.zeros(adapters, rank, base.out_features, device=device))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        output = self.base(hidden)
        offsets = self.routing.offsets
        if offsets is None:
            return output
        flat = hidden.reshape(-1, hidden.shape[-1])
        low = functional.grouped_mm(flat, self.lora_A.to(hidden.dtype), offs=offsets)
        update = functional.grouped_mm(low, self.lora_B.to(hidden.dtype), offs=offsets)
        return output + update.view_as(output) * self.scaling


class LoraBank:
    """N adapters on a model, one a name. Replaces the target modules in place.

    Args:
        model: a causal language model; its own parameters are frozen.
        names: one name an adapter; their order is the order of `TokenSequence.adapter`.
        method: rank, alpha and target modules.

    Raises:
        ValueError: the model has no module of the target names.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], method: MethodSettings):
        self.model, self.names, self.method = model.requires_grad_(False), list(names), method
        self.routing = Routing()
        self.modules: dict[str, BankLinear] = {}
        targets = [
            (path, module)
            for path, module in model.named_modules()
            if path.rsplit(".", 1)[-1] in method.targets and isinstance(module, nn.Linear)
        ]
        if not targets:
            raise ValueError(f"the model has no linear module named {', '.join(method.targets)}: set method.targets")
        for path, module in targets:
            parent, _, leaf = path.rpartition(".")
            bank = BankLinear(module, len(names), method.rank, method.alpha / method.rank, self.routing)
            setattr(model.get_submodule(parent), leaf, bank)
            self.modules[path] = bank

    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters; the first dimension of each is the adapter."""
        return [parameter for module in self.modules.values() for parameter in (module.lora_A, module.lora_B)]

    def initialise(self, seeds: Sequence[int]) -> None:
        """Draw A as PEFT does (Kaiming uniform, a = sqrt 5) and set B to zero; one seed an adapter.

        An adapter's start depends on its own seed alone, not on its neighbours in the bank.
        """
        for index, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for module in self.modules.values():
                weight = torch.empty(self.method.rank, module.base.in_features)
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
                with torch.no_grad():
                    module.lora_A[index] = weight.T
                    module.lora_B[index] = 0

    def log_probabilities(self, step: Pass) -> Tensor:
        """Log-probability of every scored token, (P,) in float32; logits are computed at their places only."""
        device = next(self.model.parameters()).device
        return token_log_probabilities(self.model, step, device, self.routing)

    def state(self, index: int) -> dict[str, Tensor]:
        """One adapter's weights in float32, under PEFT's names and in its layout."""
        tensors = {}
        for path, module in self.modules.items():
            tensors[f"{PEFT_PREFIX}{path}.lora_A.weight"] = module.lora_A[index].detach().T.contiguous().cpu()
            tensors[f"{PEFT_PREFIX}{path}.lora_B.weight"] = module.lora_B[index].detach().T.contiguous().cpu()
        return tensors

    def export(self, index: int, folder: Path, base_name: str) -> None:
        """Write one adapter as PEFT does: `adapter_config.json` and `adapter_model.safetensors`."""
        from peft import LoraConfig, TaskType
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        config = LoraConfig(
            r=self.method.rank,
            lora_alpha=self.method.alpha,
            target_modules=list(self.method.targets),
            lora_dropout=0.0,
            bias="none",
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=base_name,
            inference_mode=True,
        )
        config.save_pretrained(str(folder))
        save_file(self.state(index), folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, index: int, folder: Path) -> str:
        """Read one adapter and return its digest.

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
        with torch.no_grad():
            for path, module in self.modules.items():
                module.lora_A[index] = tensors[f"{PEFT_PREFIX}{path}.lora_A.weight"].T
                module.lora_B[index] = tensors[f"{PEFT_PREFIX}{path}.lora_B.weight"].T
        return adapter_digest(folder)


def adapter_digest(folder: Path) -> str:
    """What tells two adapters apart: the start of the SHA-256 of weights and configuration."""
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]
