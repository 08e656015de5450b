"""What a device can do, by its data sheet, and how much of that each kind of work gets out of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sys2ft.settings.resources import DeviceName


@dataclass(frozen=True)
class Device:
    """A GPU, or one core of a CPU.

    Attributes:
        flops: FLOP/s in bfloat16, dense, at its peak.
        bandwidth: bytes a second between it and its memory.
        memory: bytes of a GPU; None for a core, whose job says how much it takes.
        training, reading, writing: share of the peak FLOP/s in passes forward and backward, in passes forward, and in
            generation.
        streaming: share of the bandwidth where weights or moments are gone through.
        layer_seconds: it takes at least as long to send a pass through a layer, however few its tokens are.
        step_seconds: the same in a step of generation, by transformers.
        starting: seconds until a job has imported torch and transformers and opened its tokenizer and tables.
    """

    flops: float
    bandwidth: float
    memory: float | None
    training: float
    reading: float
    writing: float
    streaming: float
    layer_seconds: float
    step_seconds: float
    starting: float


# ASSUME: what transformers' own layers get out of a GPU at the sizes of the grid (0.5B to 32B), launch times included;
# none of it was measured here, where there is no GPU. Benchmark files correct it (`calibration`).
_GPU = {
    "training": 0.35,
    "reading": 0.4,
    "writing": 0.3,
    "streaming": 0.6,
    "layer_seconds": 1.5e-3,  # a kernel is launched in 5 to 10 microseconds, and packed attention has blocks of rows
    "step_seconds": 1.0e-3,
    "starting": 30.0,  # from a file system that other jobs read too
}

DEVICES: Mapping[DeviceName, Device] = {
    # NVIDIA A100 80GB SXM, data sheet (June 2021): 312 TFLOPS bfloat16, 2039 GB/s.
    "a100": Device(312e12, 2.039e12, 80 * 2**30, **_GPU),
    # NVIDIA H100 SXM, data sheet: 1979 TFLOPS bfloat16 with sparsity, half of that dense, 3.35 TB/s, 80 GB.
    "h100": Device(989e12, 3.35e12, 80 * 2**30, **_GPU),
    # NVIDIA H200 SXM, data sheet: the same FLOP/s, 4.8 TB/s, 141 GB.
    "h200": Device(989e12, 4.8e12, 141e9, **_GPU),
    # One core of an AMD EPYC 9005: two 512-bit multiply-adds a cycle (AMD, Zen 5 software optimization guide 58455), of
    # 32 products each in bfloat16, at 2.6 GHz. Its share of a socket's bandwidth is an assumption.
    # The shares were fitted to cells of the embedded study, 5 items of `events` on one core, and to the lean loops of
    # `docs/log.md`; a CPU without bfloat16 gets far less out, which benchmark files then tell.
    "cpu": Device(
        flops=332e9,
        bandwidth=20e9,
        memory=None,
        training=0.45,
        reading=0.7,
        writing=0.15,
        streaming=0.5,
        layer_seconds=0.0,
        step_seconds=5e-4,
        starting=10.0,
    ),
}

USABLE = 0.92
"""ASSUME: share of a GPU's memory that tensors can have, beside the context and what lies in pieces."""
LOADING = 1e9
"""ASSUME: bytes a second at which weights come from a shared file system."""


def speed(threads: int) -> float:
    """How many cores' work so many do together: a step took 6.6 s with one and 4.4 s with two (`docs/log.md`)."""
    return threads**0.6


def together(gpus: int, nodes: int = 1) -> float:
    """How many GPUs' work so many do together.

    ASSUME: a tenth is lost to the others on a node, a quarter where there are several nodes.
    """
    whole = gpus * nodes
    return whole * (1.0 if whole == 1 else 0.9 if nodes == 1 else 0.75)
