"""The work of a job, and the seconds that it takes on a device."""

from dataclasses import dataclass, fields

from sys2ft.cost.devices import LOADING, Device, speed, together

ROW_BYTES = 400
"""ASSUME: of a row of a table on disk."""


@dataclass(frozen=True)
class Work:
    """What a job does.

    Attributes:
        training: FLOPs of passes forward and backward.
        reading: FLOPs of passes forward alone.
        writing: FLOPs of generation, prompts apart.
        layers: layers that passes go through, forward and back.
        steps: layers that steps of generation go through, as transformers takes them.
        streamed: bytes that are gone through: weights in each step of generation, moments in each step of training.
        loaded: bytes that are read from disk.
        written: bytes that are written to disk.
        waited: seconds for others.
    """

    training: float = 0.0
    reading: float = 0.0
    writing: float = 0.0
    layers: float = 0.0
    steps: float = 0.0
    streamed: float = 0.0
    loaded: float = 0.0
    written: float = 0.0
    waited: float = 0.0

    @property
    def flops(self) -> float:
        """All of them."""
        return self.training + self.reading + self.writing

    def __add__(self, other: "Work") -> "Work":
        """Both, one after the other."""
        return Work(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def times(self, count: float) -> "Work":
        """The same again and again."""
        return Work(*(count * getattr(self, field.name) for field in fields(self)))


def seconds(work: Work, device: Device, threads: int = 1, gpus: int = 1, nodes: int = 1) -> float:
    """How long a job takes, its start and its files included.

    Args:
        threads: cores of a job without a GPU.
        gpus: of a job on GPUs, on each node.
    """
    many = speed(threads) if device.memory is None else together(gpus, nodes)
    passes = (work.training / device.training + work.reading / device.reading) / device.flops / many
    writing = work.writing / device.writing / device.flops / many
    streaming = work.streamed / device.streaming / device.bandwidth / many
    launching = work.steps * device.step_seconds
    files = (work.loaded + work.written) / LOADING
    computing = max(passes, work.layers * device.layer_seconds / many)
    return device.starting + files + computing + writing + streaming + launching + work.waited
