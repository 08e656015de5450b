"""One teacher interface: `engine(requests) -> samples`, whatever runs the teacher.

A request carries everything its result depends on, its own seed among it, so that results can be compared, cached
and repeated request by request.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sys2ft.chat import Message


@dataclass(frozen=True)
class Request:
    """One completion to be written."""

    item: str
    call: str
    """`list`: entries to go on from; `write`: a study row; `check`: whether a row is supported by the news."""
    number: int
    """Of the call, within its item; the number of the study row where the call is `write` or `check`."""
    rows: range
    """The numbers of the item's study rows that it serves."""
    messages: tuple[Message, ...]
    max_new_tokens: int
    seed: int
    entry: str | None = None
    """What the list step gave it: a question, a strategy, a pair of entities."""
    name: str | None = None
    """What it is called where that says more than item, call and number."""

    @property
    def id(self) -> str:
        """Its name, or item, call and number: stands in tables and in error messages."""
        return self.name or f"{self.item}/{self.call}/{self.number}"


@dataclass(frozen=True)
class Sample:
    """What came of a request."""

    request: Request
    text: str
    finish: str
    """`stop`: the model ended its turn; `length`: the limit did."""
    prompt_tokens: int | None
    """Null where nothing was counted, as in recorded study data."""
    completion_tokens: int | None
    cached_tokens: int | None = None
    """Prompt tokens that an engine with a prefix cache did not compute again; says nothing of the result."""


class Engine(Protocol):
    """What runs a teacher."""

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """Samples in groups, as they are finished: in any order, each request once.

        What was yielded can be kept, so that an interrupted generation goes on where it stopped. The text of a request
        depends on the request alone: its messages, limit and seed, and the sampling that the engine was opened with.

        Raises:
            ValueError: a request cannot be served, as where its prompt and completion are longer than the teacher's
                context; names the request.
        """
        ...


def check_length(request: Request, prompt_tokens: int, limit: int | None, model: str) -> None:
    """Refuse what does not fit into the model's context.

    Raises:
        ValueError: names the request, the model and the counts.
    """
    if limit is not None and prompt_tokens + request.max_new_tokens > limit:
        raise ValueError(
            f"request '{request.id}': {prompt_tokens} prompt tokens and {request.max_new_tokens} new ones exceed the "
            f"context of {limit} of {model}: shorten the item, lower max_new_tokens, or take one with more room "
            "(with vLLM also: larger GPUs)"
        )


def complete(engine: Engine, requests: Sequence[Request]) -> list[Sample]:
    """All samples, in the order of the requests.

    Raises:
        RuntimeError: the engine left a request out.
    """
    samples = {sample.request.id: sample for group in engine(requests) for sample in group}
    if lost := [request.id for request in requests if request.id not in samples]:
        raise RuntimeError(f"the engine gave no sample for {len(lost)} requests, the first of them '{lost[0]}'")
    return [samples[request.id] for request in requests]
