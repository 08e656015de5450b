"""Several processes: DeepSpeed's ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054) under the loop of one.

DeepSpeed calls a client's optimiser once for each parameter group, after it put this process's part of the group's
float32 weights and gradient there. So one member's gradient is at hand within `MemberAdamW.step`, which clips it by
its own norm and leaves a resting member alone.
"""

import gc
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from sys2ft.settings.base import Dtype
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.engines.plain import adamw_options

TAG = "state"  # the folder of a checkpoint within its folder, which DeepSpeed wants


class MemberAdamW(torch.optim.AdamW):
    """AdamW that is given one member's part at a time.

    Args:
        members: N lists of parameters, which DeepSpeed replaces by its own partitions.
        clips: whether the gradient is clipped here. Where a member is cut into pieces (one that has many parameters,
            ZeRO 3, `sub_group_size`) DeepSpeed has to.
    """

    def __init__(self, members: Sequence[list[nn.Parameter]], method: MethodSettings, clips: bool):
        groups = [{"params": parameters, "member": index} for index, parameters in enumerate(members)]
        super().__init__(groups, **adamw_options(method))
        self.max_norm, self.clips = method.max_grad_norm, clips
        self.active = [True] * len(members)
        self.norms = torch.full((len(members),), math.nan)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Step with what is there: under ZeRO all but one of the groups are absent or empty."""
        for group in self.param_groups:
            parts = [part for part in group["params"] if part.grad is not None]
            if parts and self.clips:
                self.norms[group["member"]] = self._clip([part.grad for part in parts])
            if not self.active[group["member"]]:
                for part in parts:
                    part.grad = None
        super().step(closure)

    def _clip(self, gradients: list[Tensor]) -> Tensor:
        """As `torch.nn.utils.clip_grad_norm_`, the norm taken over all processes' parts."""
        square = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum()
        distributed.all_reduce(square)
        norm = square.sqrt()
        for gradient in gradients:
            gradient.mul_((self.max_norm / (norm + 1e-6)).clamp(max=1))
        return norm


class ZeroEngine:
    """Trains with all processes that `launch.join` brought together (`Engine` says what each method does).

    Args:
        path: DeepSpeed's configuration; what depends on the run is filled in here (`zero_config`).

    Raises:
        ValueError: several members, and one of them has several parameters.
    """

    optimiser = None

    def __init__(self, learner: Any, method: MethodSettings, path: Path, dtype: Dtype):
        deepspeed = import_deepspeed()
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.learner = learner
        members: list[list[nn.Parameter]] = learner.parameter_groups()
        if len(members) > 1 and any(len(group) > 1 for group in members):
            raise ValueError("each of several members has to be one flat parameter, to be clipped as a whole")
        self.trained = [parameter for group in members for parameter in group]
        flat = {id(parameter) for parameter in learner.parameters(recurse=False)}
        half = dtype == "bfloat16" and not all(id(parameter) in flat for parameter in self.trained)
        config = zero_config(path, method, half, clips=len(members) == 1)
        if config["zero_optimization"]["stage"] == 3:
            _partition(deepspeed, learner, config, half)
        self.adamw = MemberAdamW(members, method, clips=len(members) > 1)
        self.engine, *_ = deepspeed.initialize(
            model=learner, optimizer=self.adamw, config=config, dist_init_required=False
        )

    def forward(self, *args: Any) -> Tensor:
        """See `Engine`."""
        return self.engine(*args)

    def backward(self, loss: Tensor) -> None:
        """See `Engine`."""
        self.engine.backward(loss * self.world)  # DeepSpeed takes the mean over processes

    def step(self, rates: Sequence[float], active: Sequence[bool]) -> list[float]:
        """See `Engine`."""
        for group, rate in zip(self.adamw.param_groups, rates, strict=True):
            group["lr"] = rate
        self.adamw.active = list(active)
        self.adamw.norms = torch.full((len(active),), math.nan, device=self.engine.device)
        self.engine.step()
        if not self.adamw.clips and self.engine.was_step_applied():
            self.adamw.norms.fill_(float(self.engine.get_global_grad_norm()))
        return self.adamw.norms.tolist()

    def sum(self, values: Tensor) -> Tensor:
        """See `Engine`."""
        total = values.detach().to(self.engine.device, copy=True)
        distributed.all_reduce(total)
        return total.to(values.device)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """See `Engine`; one parameter at a time, into main memory."""
        from deepspeed.utils import safe_get_full_fp32_param  # type: ignore[import-untyped]

        parts = [parameter.data for parameter in self.trained]
        try:
            for parameter in self.trained:
                whole = safe_get_full_fp32_param(parameter)
                if self.rank == 0:
                    parameter.data = whole.cpu()
            yield
        finally:
            for parameter, part in zip(self.trained, parts, strict=True):
                parameter.data = part

    def close(self) -> None:
        """See `Engine`; an engine and its hooks hold each other."""
        self.engine.destroy()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def save(self, folder: Path) -> None:
        """See `Engine`. Frozen weights are left out."""
        self.engine.save_checkpoint(str(folder), tag=TAG, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """See `Engine`."""
        found, _ = self.engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
        if found is None:
            raise FileNotFoundError(f"{folder} holds no checkpoint of DeepSpeed")


def import_deepspeed() -> Any:
    """DeepSpeed, on the process group that is there; without a GPU it has to be told so before the import."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed  # type: ignore[import-untyped]

    # Two collectives that DeepSpeed calls have new names in torch; it would be said at every call.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    # gloo does what this operator does; it would be compiled at the first start.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(distributed.get_backend(), verbose=False)
    return deepspeed


def zero_config(path: Path, method: MethodSettings, half: bool, clips: bool) -> dict[str, Any]:
    """A configuration file with what the engine depends on.

    Args:
        half: parameters are gathered and computed with in bfloat16, their masters kept in float32. The learner cannot
            cast them itself under ZeRO 3, where each is whole only while its own module runs.
        clips: whether DeepSpeed clips the gradient.
    """
    config = json.loads(path.read_text())
    config |= {
        "train_micro_batch_size_per_gpu": 1,  # has no bearing on anything here, and has to be given
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,  # `step` says when: the number of passes varies
        "gradient_clipping": method.max_grad_norm if clips else 0.0,
        "zero_allow_untested_optimizer": True,
    }
    if half:
        config["bf16"] = {"enabled": True}
        config["data_types"] = {"grad_accum_dtype": "fp32"}
        config.setdefault("communication_data_type", "fp32")
    return config


def _partition(deepspeed: Any, learner: nn.Module, config: dict[str, Any], half: bool) -> None:
    """Share out the parameters one by one, so that no GPU ever holds all of them."""
    if half:
        for parameter in learner.parameters():
            parameter.data = parameter.data.bfloat16()
    deepspeed.zero.Init(module=learner, config_dict_or_path=config)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    for buffer in learner.buffers():
        buffer.data = buffer.data.to(device)
