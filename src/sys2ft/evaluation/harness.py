"""Retention, measured by the field's own harness: EleutherAI's `lm_eval`, asking whoever answers for a cell.

Tasks, prompts, metrics and everything that generates are the harness's own. Only log-likelihoods are computed here, by
the packed scorer, which reads a prompt once for all its continuations; a test compares them with the harness's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from sys2ft.evaluation.respondents import Respondent
from sys2ft.evaluation.scoring import read_sequences
from sys2ft.grid import NONE
from sys2ft.packing import BASE, TokenSequence
from sys2ft.settings.stages import ScoreRetentionStage

Request = tuple[tuple[str, str] | None, list[int], list[int]]


@dataclass(frozen=True)
class Reading:
    """How much is read at once; nothing depends on it beyond rounding.

    Attributes:
        tokens_per_pass: of the packed scorer.
        batch_size: answers that are written together.
    """

    tokens_per_pass: int = 2048
    batch_size: int = 16


class RespondentLM(HFLM):
    """One reader of a respondent, as the harness knows models.

    Args:
        reader: whose adapter is on; any name where there is no bank.
        reading: how much is read at once.
    """

    def __init__(self, respondent: Respondent, reader: str, tokenizer: Any, reading: Reading):
        super().__init__(pretrained=respondent.model, tokenizer=tokenizer, batch_size=reading.batch_size)
        self.respondent, self.tokens_per_pass = respondent, reading.tokens_per_pass
        self.adapter = BASE if respondent.bank is None else respondent.bank.names.index(reader)

    def _loglikelihood_tokens(self, requests: Sequence[Request], **_others: Any) -> list[tuple[float, bool]]:
        sequences = []
        for _, context, continuation in requests:
            tokens = (*context, *continuation)[-(self.max_length + 1) :]  # the harness too cuts at the left
            if len(continuation) >= len(tokens):
                raise ValueError(f"a continuation of {len(continuation)} tokens is longer than the model's context")
            scored = tuple(range(len(tokens) - len(continuation), len(tokens)))
            sequences.append(TokenSequence(tokens, scored, self.adapter))
        found = read_sequences(self.respondent, sequences, self.tokens_per_pass)
        for request, answer in zip(requests, found, strict=True):
            if request[0] is not None:
                self.cache_hook.add_partial("loglikelihood", request[0], answer)
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """See the harness."""
        with self.respondent.alone(self.adapter):
            return super().generate_until(requests, disable_tqdm)


def open_tasks(names: Sequence[str], include: str) -> TaskManager:
    """All tasks that there are.

    Args:
        names: of tasks, groups or tags that are wanted.
        include: a folder with task files of one's own.

    Raises:
        ValueError: one that is wanted is not among them.
    """
    tasks = TaskManager(include_path=include, include_defaults=False)
    if not all(tasks.match_tasks([name]) for name in names):  # reading all of the harness's takes seconds
        tasks = TaskManager(include_path=include)
    if unknown := [name for name in names if not tasks.match_tasks([name])]:
        raise ValueError(
            f"retention.tasks: lm_eval has no task {', '.join(unknown)}, and {include} neither; "
            "`lm-eval ls tasks` lists them"
        )
    return tasks


def score_retention(
    respondent: Respondent, tokenizer: Any, stage: ScoreRetentionStage, tasks: TaskManager, reading: Reading
) -> Iterator[dict[str, Any]]:
    """Put the tasks of the settings to everyone who is here.

    Args:
        tokenizer: of the base.
        tasks: as `open_tasks` gives them.
        reading: how much is read at once.

    Yields:
        Rows of the table `retention`, without the cell's keys.
    """
    for reader in respondent.names or [NONE]:
        print(f"{reader}: {', '.join(stage.tasks)}", flush=True)
        results = simple_evaluate(
            RespondentLM(respondent, reader, tokenizer, reading),
            tasks=list(stage.tasks),
            limit=stage.limit,
            apply_chat_template=stage.chat_template,
            task_manager=tasks,
            bootstrap_iters=0,
        )
        assert results is not None  # as it would be in a process that is not the first of several
        for task, samples in results["samples"].items():
            higher = results["higher_is_better"][task]
            for sample in samples:
                yield from _rows(task, sample, higher, respondent.digests.get(reader), reader)


def _rows(
    task: str, sample: Mapping[str, Any], higher: Mapping[str, bool | None], digest: str | None, reader: str
) -> Iterator[dict[str, Any]]:
    """One row for each metric of a document."""
    for metric in sample["metrics"]:
        yield {
            "item": reader,
            "task": task,
            "document": sample["doc_id"],
            "metric": metric,
            "filter": sample["filter"],
            "value": _value(sample[metric]),
            "higher_is_better": higher.get(metric),
            "adapter": digest,
        }


def _value(found: Any) -> float:
    """A document's value; a perplexity comes as a log-likelihood and the number of words or bytes it is of."""
    if isinstance(found, tuple):
        total, count = found
        return -total / count
    return float(found)
