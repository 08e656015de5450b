"""Bytes that a job holds: on each of its GPUs, or in main memory."""

from dataclasses import dataclass

from sys2ft.cost.amounts import sequence_sizes, step_size
from sys2ft.cost.answers import task_documents, written_calls
from sys2ft.cost.generation import Calls, study_calls
from sys2ft.cost.job import Job
from sys2ft.cost.shape import (
    BYTES,
    activation_bytes,
    cache_bytes,
    count_parameters,
    reading_bytes,
)

RESIDENT = 0.8e9
"""ASSUME: of a process with torch and transformers; a job on a GPU has its libraries in main memory too."""
RESIDENT_GPU = 4e9
MEMBERS_OF_A_PASS = 2
"""ASSUME: adapters whose tokens a pass of scoring holds; they lie sorted by adapter."""
CACHED_REQUESTS = 16
"""ASSUME: vLLM is slow where it cannot hold as many requests at once."""


@dataclass(frozen=True)
class Spread:
    """How a job is shared among processes.

    Attributes:
        world: how many there are, each with a GPU where there are GPUs.
        stage: of ZeRO; without meaning for one process.
    """

    world: int = 1
    stage: int = 2

    def share(self, stage: int) -> float:
        """What each process has of something that is shared out from a stage of ZeRO on."""
        return 1 / self.world if self.world > 1 and self.stage >= stage else 1.0


def training_bytes(job: Job, spread: Spread) -> float:
    """Of each process that fine-tunes: weights, what is trained and its moments, activations, logits.

    Rajbhandari et al. 2020 (arXiv 1910.02054, section 3): a moment is 4 bytes a number and there are two of them, a
    gradient and a master 4 each.
    """
    method, dtype = job.study.methods[job.method], job.dtype
    size, resources = BYTES[dtype], job.settings.resources
    step = step_size(method, sequence_sizes(job.study, job.protocol, job.size), job.items, job.size.news)
    tokens = min(step.tokens, resources.tokens_per_pass)
    share = tokens / step.tokens
    imitated = share * step.imitated
    kept = tokens * activation_bytes(job.shape, dtype, resources.activation_checkpointing)
    # Logits and their gradients; what is imitated in float32, three times.
    kept += share * step.scored * job.shape.vocab_size * (2 * size + 12 * bool(imitated))
    kept += imitated * reading_bytes(job.shape, dtype)
    several = spread.world > 1
    states = 8 * spread.share(1) + 4 * spread.share(2)  # moments, gradients
    if method.kind == "full":
        parameters = count_parameters(job.shape)
        copies = size * spread.share(3) + 4 * spread.share(1) if several else 4 + size * (dtype == "bfloat16")
        return parameters * (copies + states + size * bool(imitated)) + kept
    numbers = job.learners * job.adapter
    # Several processes reach all adapters in every pass, gathered from ZeRO 3 on; one those that have tokens in it.
    reached = numbers if several else max(share * numbers, job.adapter)
    copies = 4 * spread.share(3) + (4 * spread.share(1) if several else 0) + 4 * (several and spread.stage == 3)
    return job.weights * spread.share(3) + numbers * (copies + states) + 2 * size * reached + kept


def answering_bytes(job: Job) -> float:
    """Of a job that scores options: weights, all adapters, a pass, and its logits."""
    tokens = job.study.scoring.tokens_per_pass
    # ASSUME: a quarter of the tokens are places whose logits are computed, and again as log-probabilities in float32.
    logits = tokens / 4 * job.shape.vocab_size * (BYTES[job.dtype] + 8)
    return _bank_bytes(job) + tokens * reading_bytes(job.shape, job.dtype) + logits


def _bank_bytes(job: Job) -> float:
    return job.weights + 4 * job.learners * job.adapter + MEMBERS_OF_A_PASS * BYTES[job.dtype] * job.adapter


def generating_bytes(job: Job, calls: Calls, rows: float) -> float:
    """Beside the weights: keys and values of the requests decoded together, and their prompts while they are read."""
    prompt = calls.shared + calls.own
    cached = (prompt + calls.limit) * cache_bytes(job.shape, job.dtype)
    return rows * (cached + prompt * reading_bytes(job.shape, job.dtype))


def retention_bytes(job: Job, batch: int) -> float:
    """Of a job that puts tasks to a model: options are scored, texts written in batches."""
    written = [
        generating_bytes(job, Calls(documents, 1, 0.0, task.prompt, task.limit), min(batch, documents))
        for task, documents in task_documents(job)
        if task.limit
    ]
    return max(answering_bytes(job), _bank_bytes(job) + max(written, default=0.0))


def writing_bytes(job: Job, gpus: int) -> float:
    """On each GPU of a job that writes answers or study data; vLLM spreads the model over all."""
    settings = job.study.teacher(job.teacher) if job.teacher else job.study.writing
    calls = study_calls(job.study, job.kind, job.size, job.items) if job.teacher else written_calls(job)
    vllm = settings.engine == "vllm"
    rows = min(settings.batch_size, CACHED_REQUESTS) if vllm else settings.batch_size
    held = max(generating_bytes(job, call, min(rows, call.requests)) for call in calls)
    whole = job.weights + 4 * job.adapter + held
    return whole / (gpus if vllm else 1)


def main_memory(job: Job, spread: Spread, processes: int, gpu: bool, device: float) -> float:
    """Bytes of main memory on a node.

    With a GPU weights pass through main memory, for full fine-tuning in float32 and once a process, and so does a
    checkpoint when it is written; without one all that the job holds is there.

    Args:
        processes: on the node.
        gpu: whether it computes on GPUs.
        device: bytes that each process computes with.
    """
    if not gpu:
        return processes * (RESIDENT + device)
    method = job.trained_by if job.rule == "fine_tune" else None
    if method is None:
        return RESIDENT_GPU + job.weights + 4 * job.learners * job.adapter
    if method.kind == "full":
        parameters = count_parameters(job.shape)
        return processes * (RESIDENT_GPU + 4 * parameters) + 12 * parameters * (spread.world == 1)
    return processes * (RESIDENT_GPU + job.weights) + 12 * job.learners * job.adapter
