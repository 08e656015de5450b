"""Training engines: what turns losses into steps, on one device or, with DeepSpeed, on several.

A learner is a `torch.nn.Module` with `names` (N members, trained side by side, each apart from the others) and
`parameter_groups()` (the trained parameters of each; all others are frozen). In a bank each member is one flat float32
parameter registered on the learner itself; a model whose own weights are trained is one member.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sys2ft.settings.base import Dtype
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.launch import join, world_size

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import AdamW


class Engine(Protocol):
    """What the training loop asks of an engine.

    Several processes make the same calls, as often and in the same order, and every pass reaches every trained
    parameter. Under ZeRO 3 also a frozen model is read equally often by all, as its weights are gathered each time.
    """

    rank: int
    world: int

    @property
    def optimiser(self) -> "AdamW | None":
        """Of the learner's own parameters; None where it is shared out among processes."""

    def forward(self, *args: Any) -> "Tensor":
        """What the learner returns for these arguments; their tensors are on the learner's device."""

    def backward(self, loss: "Tensor") -> None:
        """Add the gradient of a scalar to what all calls since the last step, of all processes, add up to."""

    def step(self, rates: Sequence[float], active: Sequence[bool]) -> list[float]:
        """Clip each member's own gradient, take a step of AdamW with it, and forget all gradients.

        Args:
            rates: N learning rates.
            active: (N,) a member that is not is left bit for bit as it is: weights, moments and count of steps.

        Returns:
            N norms before clipping; nan where DeepSpeed found that some gradient is not finite and took no step.
        """

    def sum(self, values: "Tensor") -> "Tensor":
        """The sum over processes, on all of them."""

    def gathered(self) -> AbstractContextManager[None]:
        """Within it, between steps, the trained parameters of process 0's learner are whole and in float32."""

    def save(self, folder: Path) -> None:
        """Write weights and the optimiser's state, each process its part."""

    def close(self) -> None:
        """Let go of memory before another engine is opened."""

    def load(self, folder: Path) -> None:
        """Go on where `save` was called, with as many processes.

        Raises:
            FileNotFoundError: nothing was saved there.
            ValueError: another learner was.
        """


def open_engine(learner: Any, method: MethodSettings, deepspeed: Path | None, dtype: Dtype) -> Engine:
    """The engine for this process, or for all that were started together.

    Args:
        learner: see above. With several processes it is loaded after `launch.join`; process 0's weights count.
        deepspeed: DeepSpeed's configuration (`config/deepspeed`); not read by a process alone.
        dtype: of a fully trained model's arithmetic under DeepSpeed; a bank casts its adapters itself.

    Raises:
        ValueError: several processes and no configuration for them.
    """
    if world_size() == 1:
        from sys2ft.training.engines.plain import PlainEngine

        return PlainEngine(learner, method)
    if deepspeed is None:
        raise ValueError(f"{world_size()} processes train together: name a DeepSpeed configuration")
    join()
    from sys2ft.training.engines.zero import ZeroEngine

    return ZeroEngine(learner, method, deepspeed, dtype)
