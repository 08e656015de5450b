"""The work of generation: prompts are read, then the weights are gone through once for every step of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from sys2ft.cost.amounts import HEAD, TAIL, WRITTEN_SHARE, SplitSize, count_tokens
from sys2ft.cost.job import Job
from sys2ft.cost.shape import cache_bytes, forward_flops
from sys2ft.cost.work import ROW_BYTES, Work
from sys2ft.settings.study import Study

VLLM_STEP = 0.15
"""ASSUME: what a step takes in vLLM beside its arithmetic, of what it takes in transformers (CUDA graphs)."""
SERVED_SPEED = 30
"""ASSUME: tokens a second that a server writes for each request in flight."""
VERDICT_TOKENS = 8
"""Of a check's answer, as `study.generate` has it."""


@dataclass(frozen=True)
class Calls:
    """Requests of one sort, put to an engine together.

    Attributes:
        requests: how many.
        groups: of neighbours that have the beginning of their prompt in common, and that transformers decodes together.
        shared: tokens of that beginning.
        own: tokens of a prompt after it.
        limit: of new tokens.
        longest: steps until a batch is done; most have one text that goes on to the limit.
    """

    requests: float
    groups: int
    shared: float
    own: float
    limit: int
    longest: float = 1.0

    @property
    def mean(self) -> float:
        """New tokens of a request."""
        return WRITTEN_SHARE * self.limit


def generation_work(job: Job, calls: Calls, engine: str, batch: int) -> Work:
    """What it takes to serve some requests.

    Args:
        engine: transformers decodes a group's requests in fixed batches and reads every prompt in full; vllm fills a
            batch as soon as a request is done, and reads what prompts share once.
        batch: requests decoded together.
    """
    context = calls.shared + calls.own + calls.mean / 2
    if engine == "vllm":
        prompts, tokens = calls.groups * calls.shared + calls.requests * calls.own, calls.requests * calls.mean
        steps = max(calls.limit * calls.longest, tokens / batch)
    else:
        batches = calls.groups * -(-calls.requests // (calls.groups * batch))
        prompts, steps = calls.requests * (calls.shared + calls.own), batches * calls.limit * calls.longest
        tokens = steps * calls.requests / batches
    layers = job.shape.num_hidden_layers
    return Work(
        reading=forward_flops(job.shape, prompts, context / 2, calls.requests) + 2 * job.adapter * prompts,
        writing=forward_flops(job.shape, tokens, context, tokens) + 2 * job.adapter * tokens,
        layers=layers * -(-calls.requests // batch),
        steps=layers * steps * (VLLM_STEP if engine == "vllm" else 1.0),
        streamed=steps * job.weights + tokens * context * cache_bytes(job.shape, job.dtype),
    )


def study_calls(study: Study, kind: str, size: SplitSize, items: int) -> list[Calls]:
    """What a teacher is asked to study some items: study rows, and where the kind has them entries to go on from and
    verdicts."""
    settings, prompts, rows = study.kinds[kind], study.kind_prompts[kind], study.budget.study_rows
    shared = HEAD + size.news * (size.items if prompts.context == "split" else 1)
    asked = TAIL + count_tokens(prompts.write)
    calls = [Calls(items * rows, items, shared, asked, settings.max_new_tokens)]
    if prompts.entries is not None:
        lists = -(-rows // settings.per_call) if prompts.entries.use == "each" else settings.list_calls
        told = TAIL + count_tokens(prompts.entries.prompt)
        calls.append(Calls(items * lists, items, shared, told, settings.list_max_new_tokens))
    if study.filters.check_support and prompts.check is not None:
        told = TAIL + count_tokens(prompts.check) + WRITTEN_SHARE * settings.max_new_tokens
        calls.append(Calls(items * rows, items, shared, told, VERDICT_TOKENS))
    return calls


def generate_study_work(job: Job) -> Work:
    """A teacher that runs here writes about its items."""
    teacher, calls = job.study.teacher(job.teacher), study_calls(job.study, job.kind, job.size, job.items)
    done = [generation_work(job, one, teacher.engine, teacher.batch_size) for one in calls]
    return sum(done, Work(loaded=job.weights, written=_kept(calls)))


def served_work(study: Study, teacher: str, kind: str, size: SplitSize, items: int) -> Work:
    """A server writes, or it was written before: this machine waits, or copies."""
    settings, calls = study.teacher(teacher), study_calls(study, kind, size, items)
    waited = sum(call.requests * call.mean for call in calls) / SERVED_SPEED / settings.batch_size
    return Work(waited=waited * (settings.engine == "openai"), written=_kept(calls))


def _kept(calls: Sequence[Calls]) -> float:
    """Bytes of prompts and completions, in the table and in what is kept of requests."""
    return sum(2 * call.requests * (ROW_BYTES + 4 * (call.shared + call.own + call.mean)) for call in calls)
