"""One device: AdamW of torch, one parameter group a member (`Engine` says what each method does)."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sys2ft.settings.catalogue import MethodSettings


def adamw_options(method: MethodSettings) -> dict[str, Any]:
    """How `torch.optim.AdamW` is made (Loshchilov and Hutter 2019, arXiv 1711.05101)."""
    options = {"lr": method.lr, "betas": (method.beta1, method.beta2), "eps": method.eps}
    # Fused: no copies of all weights while it steps.
    return options | {"weight_decay": method.weight_decay, "fused": True}


class PlainEngine:
    """Trains on the GPU where there is one, else on the CPU."""

    rank, world = 0, 1

    def __init__(self, learner: Any, method: MethodSettings):
        self.learner = learner.to("cuda" if torch.cuda.is_available() else "cpu")
        self.method = method
        groups = [{"params": parameters} for parameters in learner.parameter_groups()]
        self.optimiser = torch.optim.AdamW(groups, **adamw_options(method))
        names = {parameter: name for name, parameter in learner.named_parameters()}
        self.trained: dict[str, nn.Parameter] = {names[p]: p for group in groups for p in group["params"]}

    def forward(self, *args: Any) -> Tensor:
        """See `Engine`."""
        return self.learner(*args)

    def backward(self, loss: Tensor) -> None:
        """See `Engine`."""
        loss.backward()

    def step(self, rates: Sequence[float], active: Sequence[bool]) -> list[float]:
        """See `Engine`."""
        norms = []
        for group, rate, on in zip(self.optimiser.param_groups, rates, active, strict=True):
            group["lr"] = rate
            norms.append(float(nn.utils.clip_grad_norm_(group["params"], self.method.max_grad_norm)))
            if not on:  # AdamW passes over a parameter without gradient: no decay, no moment, no count
                for parameter in group["params"]:
                    parameter.grad = None
        self.optimiser.step()
        self.optimiser.zero_grad()
        return norms

    def sum(self, values: Tensor) -> Tensor:
        """See `Engine`."""
        return values

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """See `Engine`."""
        yield

    def save(self, folder: Path) -> None:
        """See `Engine`: `state.safetensors`, and `members.json` to know them by."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {f"weights/{name}": p.detach().contiguous() for name, p in self.trained.items()}
        for name, parameter in self.trained.items():
            state |= {f"{key}/{name}": value for key, value in self.optimiser.state.get(parameter, {}).items()}
        save_file(state, folder / "state.safetensors")
        (folder / "members.json").write_text(json.dumps(self._described()))

    def load(self, folder: Path) -> None:
        """See `Engine`."""
        from safetensors.torch import load_file

        if json.loads((folder / "members.json").read_text()) != self._described():
            raise ValueError(f"{folder} was saved for other members: remove it to train anew")
        self.optimiser.state.clear()
        for key, value in load_file(folder / "state.safetensors", device=str(self.learner_device)).items():
            kind, name = key.split("/", 1)
            if kind == "weights":
                self.trained[name].detach().copy_(value)
            else:
                self.optimiser.state[self.trained[name]][kind] = value

    def close(self) -> None:
        """See `Engine`."""
        self.optimiser.state.clear()

    @property
    def learner_device(self) -> torch.device:
        """Where the learner is."""
        return next(iter(self.trained.values())).device

    def _described(self) -> dict[str, Any]:
        shapes = {name: list(parameter.shape) for name, parameter in self.trained.items()}
        return {"members": list(self.learner.names), "parameters": shapes}
