"""What a job asks for: GPUs, nodes, main memory, minutes, and how `fine_tune` is spread."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sys2ft.cost.devices import DEVICES, USABLE
from sys2ft.cost.job import Job
from sys2ft.cost.memory import (
    Spread,
    answering_bytes,
    main_memory,
    retention_bytes,
    training_bytes,
    writing_bytes,
)
from sys2ft.settings.resources import Launch

MEMORY_MARGIN, TIME_MARGIN = 1.3, 2.0
"""ASSUME: what is asked for, of what is expected; the next attempt gets as much again."""
LEAST_MINUTES = 10
THREADS_A_GPU = 8
GPUS = (1, 2, 4, 8)
"""On a node."""
MOST_NODES = 64
ZERO = "config/deepspeed/zero{stage}.json"
WRITE = ("generate_study", "write_base", "write_answers")


@dataclass(frozen=True)
class Needs:
    """What a job asks for.

    Attributes:
        gpu: on each node.
        mem_mb: of main memory, on each node, at the first attempt.
        runtime: minutes, at the first attempt.
        batch_size: answers that are written together in tasks of retention.
        launch: how fine-tuning is spread.
    """

    threads: int
    gpu: int
    nodes: int
    mem_mb: int
    runtime: int
    batch_size: int = 1
    launch: Launch = field(default_factory=Launch)

    @property
    def all_gpus(self) -> int:
        """Of all nodes."""
        return self.nodes * self.gpu

    def resource(self, name: str, attempt: int = 1) -> int | str | None:
        """A resource of the rule: memory and minutes grow with each attempt; None is not asked for."""
        if name in ("mem_mb", "runtime"):
            return attempt * int(getattr(self, name))
        values = {"launch": self.launch.model_dump_json()} | self._of_nodes()
        return values[name] if name in values else int(getattr(self, name))

    def _of_nodes(self) -> dict[str, int | str | None]:
        """GPUs of a job on one node; of one on several the same on each, and the tasks that srun starts there."""
        if self.nodes == 1:
            return {"gpu": self.gpu, "gres": None, "mpi": None, "tasks_per_node": None, "cpus_per_task": None}
        tasks = max(2, self.launch.processes)  # the executor takes no 1
        return {
            "gpu": None,  # SLURM would share their sum unevenly among the nodes
            "gres": f"gpu:{self.gpu}" if self.gpu else None,
            "mpi": "srun",
            "tasks_per_node": tasks,
            "cpus_per_task": math.ceil(self.threads / tasks),
        }


@dataclass(frozen=True)
class Place:
    """Where a job runs: GPUs on each of its nodes, processes in all, and bytes that each of them holds."""

    gpu: int
    nodes: int
    spread: Spread
    held: float


class DoesNotFitError(ValueError):
    """No number of GPUs that a job could use holds it."""

    def __init__(self, job: Job, place: Place, there: float):
        gpus = place.gpu * place.nodes
        where = "on one GPU, the only one that it can use" if gpus == 1 else f"on each of {gpus} GPUs"
        what = f"{job.rule} with '{job.model}'" + (f", trained by '{job.method}'" if job.method else "")
        super().__init__(
            f"{what} needs {place.held / 1e9:.0f} GB {where}, and {job.study.device} has {there / 1e9:.0f} for it"
        )


def zero_stage(path: str) -> int | None:
    """The stage of ZeRO of one of DeepSpeed's configurations; None where it cannot be read or has none of 1 to 3."""
    try:
        stage = json.loads(Path(path).read_text(encoding="utf-8"))["zero_optimization"]["stage"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stage if stage in (1, 2, 3) else None


def find_place(job: Job) -> Place:
    """The fewest GPUs that hold a job, or those that its model's resources name, whether they do or not.

    Raises:
        DoesNotFitError: no number of GPUs does that the job could use.
    """
    device, asked = DEVICES[job.study.device], job.settings.resources.gpu
    place = None
    for place in _training_places(job) if job.rule == "fine_tune" else _answering_places(job):
        if device.memory is None or asked is not None or place.held <= USABLE * device.memory:
            return place
    assert place is not None, "there is always one to try"
    assert device.memory is not None, "main memory is asked for"
    raise DoesNotFitError(job, place, USABLE * device.memory)


def _training_places(job: Job) -> Iterator[Place]:
    """GPUs of a node, then nodes; half and lift train in one process."""
    resources, method = job.settings.resources, job.study.methods[job.method]
    alone = bool(method.half or method.lift)
    counts = _gpu_counts(job, (1,) if alone else GPUS)
    nodes = [resources.nodes or 1]
    if counts == GPUS and resources.nodes is None:
        nodes += [2**power for power in range(1, MOST_NODES.bit_length())]
    for node in nodes:
        for gpu in counts if node == nodes[0] else counts[-1:]:
            world = node * (resources.processes or max(1, gpu))
            for stage in _stages(resources.deepspeed) if world > 1 else (0,):
                spread = Spread(world, stage)
                yield Place(gpu, node, spread, training_bytes(job, spread))


def _stages(deepspeed: str | None) -> tuple[int, ...]:
    """Of ZeRO, the lowest first: 1 saves little beside 2, and costs as much."""
    return (2, 3) if deepspeed is None else (zero_stage(deepspeed) or 2,)


def _answering_places(job: Job) -> Iterator[Place]:
    """One GPU; several where vLLM spreads the model over them."""
    for gpu in _gpu_counts(job, GPUS if computes_on_all(job) else (1,)):
        if job.rule in WRITE:
            held = writing_bytes(job, max(1, gpu))
        else:
            held = retention_bytes(job, 1) if "retention" in job.rule else answering_bytes(job)
        yield Place(gpu, 1, Spread(), held)


def computes_on_all(job: Job) -> bool:
    """Whether a job computes on all GPUs that it holds, as training and vLLM do; others take one after the other."""
    engine = job.study.teacher(job.teacher).engine if job.teacher else job.study.writing.engine
    return job.rule == "fine_tune" or (job.rule in WRITE and engine == "vllm")


def _gpu_counts(job: Job, possible: tuple[int, ...]) -> tuple[int, ...]:
    """GPUs on a node that may be tried."""
    asked = job.settings.resources.gpu
    return possible if asked is None and job.study.device != "cpu" else (asked or 0,)


def job_needs(job: Job, place: Place, expected: float) -> Needs:
    """What a job asks for.

    Args:
        expected: seconds that it takes.
    """
    resources = job.settings.resources
    processes = resources.processes or max(1, place.gpu)
    in_processes = processes if job.rule == "fine_tune" else 1
    batch = batch_that_fits(job)
    held = retention_bytes(job, batch) if "retention" in job.rule else place.held
    memory = main_memory(job, place.spread, in_processes, place.gpu > 0, held)
    launch = Launch(
        nodes=place.nodes,
        processes=processes,
        deepspeed=resources.deepspeed or (ZERO.format(stage=place.spread.stage) if place.spread.world > 1 else None),
        tokens_per_pass=resources.tokens_per_pass,
        activation_checkpointing=resources.activation_checkpointing,
    )
    threads = resources.threads or max(1, THREADS_A_GPU * place.gpu)
    mem_mb = resources.mem_mb or rounded(MEMORY_MARGIN * memory / 1e6, 500)
    runtime = resources.runtime or minutes(expected)
    return Needs(threads, place.gpu, place.nodes, mem_mb, runtime, batch, launch)


def batch_that_fits(job: Job) -> int:
    """Answers that are written together in tasks of retention: halved until a GPU holds them."""
    batch, memory = job.study.retention.batch_size, DEVICES[job.study.device].memory
    while "retention" in job.rule and memory and batch > 1 and retention_bytes(job, batch) > USABLE * memory:
        batch //= 2
    return batch


def minutes(expected: float) -> int:
    """The minutes that a job asks for which takes some seconds."""
    return max(LEAST_MINUTES, rounded(TIME_MARGIN * expected / 60, 5))


def rounded(value: float, unit: int) -> int:
    """Up to the next whole number of units."""
    return math.ceil(value / unit) * unit
