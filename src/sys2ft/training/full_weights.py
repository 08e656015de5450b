"""Full fine-tuning: every weight of the model is trained, as one learner.

Weights and optimiser are kept in float32; where the model computes in bfloat16, each pass casts them, so that small
steps are not lost (mixed precision, Micikevicius et al. 2018, arXiv 1710.03740, section 3.1).
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sys2ft.forward import token_logits, use_packed_attention
from sys2ft.packing import Pass
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.lines import scale_update
from sys2ft.training.objective import Context, token_losses


class _Reader(nn.Module):
    """A model as a module whose forward reads a pass, so that it can be called with other weights."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, step: Pass) -> Tensor:
        return token_logits(self.model, step)


def _frozen_copy(model: Any, dtype: torch.dtype) -> Any:
    """A copy as it would be loaded: buffers, such as rotary frequencies, keep their precision."""
    copied = copy.deepcopy(model).requires_grad_(False)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(dtype)
    return copied


class FullWeights(nn.Module):
    """All weights of a model, trained under one name.

    Args:
        model: a causal language model, its weights in float32.
        name: the item, or the split's learner.
        method: whether updates are scaled by depth afterwards.
        dtype: of the arithmetic and of what is exported.
        imitates: whether some sequences imitate the base, of which a frozen copy is kept then.

    Raises:
        ValueError: the model cannot be read in packed rows.
    """

    def __init__(self, model: Any, name: str, method: MethodSettings, dtype: torch.dtype, imitates: bool = False):
        super().__init__()
        use_packed_attention(model)
        self.base = _Reader(_frozen_copy(model, dtype)) if imitates else None
        self.reader = _Reader(model.requires_grad_(True))
        self.names, self.method, self.dtype = [name], method, dtype
        scaled = method.lines is not None
        self.before = {key: p.detach().to("cpu", dtype, copy=True) for key, p in self.weights().items() if scaled}

    @property
    def model(self) -> Any:
        """The model that is trained."""
        return self.reader.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def weights(self) -> dict[str, nn.Parameter]:
        """The trained parameters under the model's own names; shared ones once."""
        return dict(self.model.named_parameters())

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """One group: all weights."""
        return [list(self.weights().values())]

    def forward(self, step: Pass, context: Context | None = None) -> Tensor:
        """The loss of every scored token, (P,) in float32.

        Args:
            step: on the model's device.
            context: what the frozen base is to be imitated on (`objective`); None: the targets are trained.
        """
        wanted = None if context is None else context.distribution(self.base_logits)
        return token_losses(self.logits(step), step.targets, wanted)

    def logits(self, step: Pass) -> Tensor:
        """(P, V): what each scored token is predicted from."""
        if next(self.model.parameters()).dtype == self.dtype:  # float32, or under DeepSpeed, which has cast them
            return self.reader(step)
        cast = {f"model.{key}": parameter.to(self.dtype) for key, parameter in self.weights().items()}
        return functional_call(self.reader, cast, (step,))

    def base_logits(self, step: Pass) -> Tensor:
        """(P, V) under the frozen copy."""
        assert self.base is not None, "made with imitates=True"
        with torch.no_grad():
            return self.base(step)

    def export(self, index: int, folder: Path, base_name: str) -> None:
        """Write the weights as transformers does: `config.json` and safetensors.

        Where the method scales layers by depth (LiNeS), what is written is scaled; what is trained is not.
        """
        assert index == 0, base_name
        after = {key: p.detach().to("cpu", self.dtype) for key, p in self.weights().items()}
        if self.method.lines is not None:
            after = scale_update(self.before, after, self.method.lines)
        stored = self.model.state_dict().keys()  # buffers among them, but for those that are computed
        after |= {key: buffer.detach().cpu() for key, buffer in self.model.named_buffers() if key in stored}
        exported = copy.copy(self.model.config)
        exported.dtype = self.dtype
        exported.save_pretrained(folder)
        from safetensors.torch import save_file

        save_file({key: tensor.contiguous() for key, tensor in after.items()}, folder / "model.safetensors",
                  metadata={"format": "pt"})  # fmt: skip
