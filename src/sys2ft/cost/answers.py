"""The work of asking: options that are scored, answers that are written, tasks of retention."""

from collections.abc import Mapping
from dataclasses import dataclass

from sys2ft.cost.amounts import HEAD, TAIL, asked_ways, count_tokens, scored_tokens
from sys2ft.cost.generation import Calls, generation_work
from sys2ft.cost.job import Job
from sys2ft.cost.shape import forward_flops
from sys2ft.cost.work import ROW_BYTES, Work
from sys2ft.settings.base import WRITTEN

HARNESS = 10.0
"""ASSUME: seconds until lm_eval is imported and has found its tasks."""


@dataclass(frozen=True)
class Task:
    """A task of lm_eval.

    Attributes:
        documents: of each part.
        parts: tasks that it is a group of; `retention.limit` counts in each.
        prompt: tokens of a document's prompt, examples included, where options are scored without what all share.
        scored: tokens of all the answers that are scored.
        limit: of new tokens, where the model writes.
        longest: share of the limit that the longest of a batch takes.
    """

    documents: int
    prompt: float
    scored: float = 0.0
    limit: int = 0
    longest: float = 1.0
    parts: int = 1


# Documents and limits are lm_eval's 0.4.13 and its data sets'; prompts and `longest` are assumptions.
TASKS: Mapping[str, Task] = {
    "sys2ft_general_knowledge": Task(100, 25, scored=12),
    "sys2ft_text": Task(16, 0, scored=100),
    "mmlu_pro": Task(859, 1500, limit=2048, longest=0.5, parts=14),  # ASSUME: five worked examples
    "gsm8k": Task(1319, 900, limit=256),  # ASSUME: five worked examples
    "ifeval": Task(541, 60, limit=1280),  # ASSUME: some of sixteen texts are long
}
UNKNOWN = Task(1000, 200, scored=40)
"""ASSUME: any other task: questions with four options."""


def score_work(job: Job, packed: bool = True) -> Work:
    """Every question in every way and mode, by those who learned, at every moment; by the base once.

    Args:
        packed: as it is done, as trees; else every option by itself after its whole prompt, padded.
    """
    study, size = job.study, job.size
    ways = asked_ways(study.scoring, bool(job.method), job.learners > 1)
    modes = [mode for mode in study.modes(job.split) if mode not in WRITTEN]
    news = size.news + count_tokens(study.prompts.context)
    told = [
        scored_tokens(study.scoring, size, mode, blank, news if condition != "closed_book" else 0.0, packed)
        for mode in modes
        for condition, blank in ways
    ]
    questions = job.items * size.questions
    shown = len({condition for condition, _ in ways} - {"closed_book"})
    tokens = questions * sum(computed for computed, _ in told) + packed * job.items * (HEAD + shown * news)
    scored = questions * sum(places for _, places in told)
    flops = forward_flops(job.shape, tokens, HEAD + news + size.question, scored) + 2 * job.adapter * tokens
    passes = -(-tokens // study.scoring.tokens_per_pass)
    once = Work(reading=flops, layers=passes * job.shape.num_hidden_layers, written=questions * len(told) * ROW_BYTES)
    return once.times(job.moments) + Work(loaded=job.opened(job.moments))


def written_calls(job: Job) -> list[Calls]:
    """What one reader is asked in writing: the base everything, a learner its items' questions and another's."""
    study, size = job.study, job.size
    items = job.items if job.learners == 1 else 1
    ways = asked_ways(study.scoring, bool(job.method), job.learners > 1)
    whole = sum(not blank for _, blank in ways) * size.questions
    requests = items * (whole + sum(blank for _, blank in ways))  # blanked, the questions of an item are one
    shown = sum(condition != "closed_book" for condition, _ in ways) / len(ways)
    limits = {
        "generate": (study.writing.max_new_tokens, study.writing.instruction),
        "generate_reasoned": (study.writing.reasoning_max_new_tokens, study.writing.reasoning_instruction),
    }
    return [
        Calls(requests, items, HEAD + shown * size.news, count_tokens(told) + size.question + TAIL, limit)
        for mode, (limit, told) in limits.items()
        if mode in study.modes(job.split)
    ]


def write_work(job: Job) -> Work:
    """The same in writing; each learner is asked by itself, at every moment."""
    writing, calls = job.study.writing, written_calls(job)
    once = sum((generation_work(job, one, writing.engine, writing.batch_size) for one in calls), Work())
    rows = sum(call.requests for call in calls) * job.learners * job.moments
    return once.times(job.learners * job.moments) + Work(
        loaded=job.opened(job.moments), written=2 * rows * 4 * ROW_BYTES
    )


def task_documents(job: Job) -> list[tuple[Task, int]]:
    """The tasks of retention and how many documents of each are asked."""
    limit = job.study.retention.limit
    tasks = [TASKS.get(name, UNKNOWN) for name in job.study.retention.tasks]
    return [(task, task.parts * min(task.documents, limit or task.documents)) for task in tasks]


def retention_work(job: Job, batch: int) -> Work:
    """The tasks of lm_eval, by each who learned, at the end; transformers writes, in batches.

    Args:
        batch: answers written together.
    """
    once = Work()
    for task, documents in task_documents(job):
        once += Work(written=documents * ROW_BYTES)
        if task.limit:
            calls = Calls(documents, 1, 0.0, HEAD + task.prompt + TAIL, task.limit, task.longest)
            once += generation_work(job, calls, "transformers", batch)
        else:
            tokens = documents * (task.prompt + TAIL + task.scored)
            passes = -(-tokens // job.study.scoring.tokens_per_pass)
            flops = forward_flops(job.shape, tokens, task.prompt, documents * task.scored) + 2 * job.adapter * tokens
            once += Work(reading=flops, layers=passes * job.shape.num_hidden_layers)
    return once.times(job.learners) + Work(loaded=job.opened(1), waited=HARNESS)
