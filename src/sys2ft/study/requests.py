"""One teacher interface: `generate(requests) -> samples`, in the order of the requests.

A request carries everything its result depends on, its own seed among it, so that results can be compared, cached
and repeated request by request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sys2ft.chat import Message


@dataclass(frozen=True)
class Request:
    """One completion to be written."""

    item: str
    call: str
    """`write` for the first call, `answer` for the second."""
    number: int
    """Of the call, within its item."""
    rows: range
    """The numbers of the item's study rows that are asked for."""
    messages: tuple[Message, ...]
    max_new_tokens: int
    seed: int

    @property
    def id(self) -> str:
        """Item, call and number: stands in tables and in error messages."""
        return f"{self.item}/{self.call}/{self.number}"


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


Engine = Callable[[Sequence[Request]], list[Sample]]
