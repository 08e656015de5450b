"""The work of `fine_tune`."""

from sys2ft.cost.amounts import sequence_sizes, step_count, step_size
from sys2ft.cost.job import Job
from sys2ft.cost.shape import count_parameters, forward_flops
from sys2ft.cost.work import Work

UPDATE = 28
"""Bytes that AdamW goes through for each number: it reads weight, gradient and two moments and writes all but one."""


def fine_tune_work(job: Job, packed: bool = True) -> Work:
    """Training: twice the forward pass for adapters on a frozen base (once back through the activations), thrice for
    all weights; a forward pass more where activations are computed again; the base's own over what is imitated.

    Args:
        packed: as it is done; else every sequence by itself, padded to the longest of its batch.
    """
    method = job.study.methods[job.method]
    sizes = sequence_sizes(job.study, job.protocol, job.size)
    step = step_size(method, sizes, job.items, job.size.news, packed)
    bank = method.kind == "lora"  # all adapters take their steps together, and models one after the other
    steps = step_count(method, job.samples, job.items) * (1 if bank else job.learners)
    times = (2 if bank else 3) + job.settings.resources.activation_checkpointing
    imitating = forward_flops(job.shape, step.imitated, job.size.news, step.scored) if step.imitated else 0.0
    passes = -(-step.tokens // job.settings.resources.tokens_per_pass)
    forward = forward_flops(job.shape, step.tokens, step.context, step.scored)
    return Work(
        training=steps * (times * forward + 6 * job.adapter * step.tokens),
        reading=steps * imitating,
        layers=steps * passes * (times + bool(step.imitated)) * job.shape.num_hidden_layers,
        streamed=steps * UPDATE * (job.learners * job.adapter or count_parameters(job.shape)),
        loaded=job.weights * (1 if bank else job.learners),
        written=job.moments * job.learned,
    )
