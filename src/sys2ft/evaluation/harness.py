"""Retention, measured by the field's own harness: EleutherAI's `lm_eval`, asking whoever answers for a cell.

Tasks, prompts, metrics and everything that generates are the harness's own. Only log-likelihoods are computed here, by
the packed scorer, which reads a prompt once for all its continuations; a test compares them with the harness's.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from sys2ft.evaluation.respondents import Respondent
from sys2ft.evaluation.scoring import read_sequences
from sys2ft.grid import NONE
from sys2ft.packing import BASE, TokenSequence
from sys2ft.settings.stages import ScoreRetentionStage
from sys2ft.tables import atomic_path

Continuation = tuple[tuple[str, str] | None, list[int], list[int]]


@dataclass(frozen=True)
class Capacity:
    """How much is read at once; nothing depends on it beyond rounding.

    Attributes:
        tokens_per_pass: of the packed scorer.
        batch_size: answers that are written together.
    """

    tokens_per_pass: int = 2048
    batch_size: int = 16


def _shown(texts: tuple[str, str] | None, number: int) -> str:
    """The end of a request's prompt, or its answer; a window of a text has neither."""
    return "a window of a text" if texts is None else repr(texts[number][-200:])


class RespondentLM(HFLM):
    """One reader of a respondent, as the harness knows models.

    Args:
        reader: whose adapter is on; any name where there is no bank.
        capacity: how much is read at once.
    """

    def __init__(self, respondent: Respondent, reader: str, tokenizer: Any, capacity: Capacity):
        super().__init__(pretrained=respondent.model, tokenizer=tokenizer, batch_size=capacity.batch_size)
        self.respondent, self.tokens_per_pass = respondent, capacity.tokens_per_pass
        self.name = respondent.model.name_or_path
        self.adapter = BASE if respondent.bank is None else respondent.bank.names.index(reader)

    def _loglikelihood_tokens(self, requests: Sequence[Continuation], **_others: Any) -> list[tuple[float, bool]]:
        sequences = []
        for texts, context, continuation in requests:
            tokens = (*context, *continuation)
            if not continuation:
                raise ValueError(f"the answer {_shown(texts, 1)} to {_shown(texts, 0)} has no token in {self.name}")
            if len(tokens) > self.max_length + 1:
                raise ValueError(
                    f"{_shown(texts, 0)} and its answer have {len(tokens)} tokens, more than the {self.max_length} of "
                    f"the context of {self.name}: take a task with shorter documents or fewer examples"
                )
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
    from sys2ft.news.items import load_general  # noqa: F401  tasks in config/lm_eval read their questions with it

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
    respondent: Respondent,
    tokenizer: Any,
    stage: ScoreRetentionStage,
    tasks: TaskManager,
    capacity: Capacity,
    unfinished: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Put the tasks of the settings to everyone who is here.

    Args:
        tokenizer: of the base.
        tasks: as `open_tasks` gives them.
        capacity: how much is read at once.
        unfinished: where what is done is kept, reader by reader, and found by a job that goes on (`keep_unfinished`).

    Yields:
        Rows of the table `retention`, without the cell's keys.
    """
    for reader in respondent.names or [NONE]:
        digest = respondent.digests.get(reader)
        kept = None if unfinished is None else unfinished / f"{reader}-{digest}.json"
        if kept is not None and kept.exists():
            yield from json.loads(kept.read_text(encoding="utf-8"))
            continue
        print(f"{reader}: {', '.join(stage.tasks)}", flush=True)
        results = simple_evaluate(
            RespondentLM(respondent, reader, tokenizer, capacity),
            tasks=list(stage.tasks),
            limit=stage.limit,
            apply_chat_template=stage.chat_template,
            task_manager=tasks,
            bootstrap_iters=0,
        )
        assert results is not None  # as it would be in a process that is not the first of several
        higher = results["higher_is_better"]
        rows = [
            row
            for task, samples in results["samples"].items()
            for sample in samples
            for row in _rows(task, sample, higher[task], digest, reader)
        ]
        if kept is not None:
            with atomic_path(kept) as temporary:
                temporary.write_text(json.dumps(rows), encoding="utf-8")
        yield from rows


def keep_unfinished(folder: Path, identity: Mapping[str, Any]) -> Path:
    """Where a job keeps what it measured of each reader, until it is done; made empty where it is another job's.

    Args:
        identity: of all that is measured depends on, beside the reader's weights.
    """
    place = folder / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    if folder.exists() and not place.exists():
        shutil.rmtree(folder)
    place.mkdir(parents=True, exist_ok=True)
    return place


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
            "value": _value(task, metric, sample[metric]),
            "higher_is_better": higher.get(metric),
            "adapter": digest,
        }


def _value(task: str, metric: str, found: Any) -> float:
    """A document's value.

    A perplexity comes as a log-likelihood, or as one and the number of words or bytes it is of; the instructions that a
    document of IFEval has come as a list.

    Raises:
        ValueError: the metric is one of all documents together.
    """
    if metric in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        total, count = found
        return -total / count
    if isinstance(found, list) and found:
        return sum(map(float, found)) / len(found)
    if isinstance(found, (list, tuple, dict, str)):
        raise ValueError(
            f"retention.tasks: the metric '{metric}' of '{task}' has no value for a document alone. To mend: copy the "
            "task into the folder of retention.include and leave the metric out of its metric_list"
        )
    return -float(found) if metric == "perplexity" else float(found)
