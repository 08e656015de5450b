"""Requests that were answered before are not made again.

Samples are kept in SQLite, one file an item, a second after they are finished at the latest: a job that is killed at
any moment goes on where it stopped. The key of a sample is the content of its request and of what answers it, so that a
changed item, prompt, teacher or sampling is another key, and a larger budget finds the samples of a smaller one.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sys2ft.progress import progress_bar
from sys2ft.study.requests import Engine, Request, Sample

KEEP_SECONDS = 1.0
"""Samples are written together that were finished within this time: a fast engine must not wait for the disk."""
_TABLE = """CREATE TABLE IF NOT EXISTS samples (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER
) WITHOUT ROWID"""


class RequestCache:
    """Samples on disk.

    Only the job that has an item among its own writes the item's file, so that nothing waits for a lock; two jobs that
    write the same file all the same, as after a kill of the workflow alone, do not spoil it.

    Args:
        folder: made where it is missing.
        identity: what answers: engine, revision and sampling, as strings and numbers.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.folder, self.identity = folder, dict(identity)
        folder.mkdir(parents=True, exist_ok=True)

    def key(self, request: Request) -> str:
        """Digest of all that the sample of a request depends on."""
        asked = {
            "messages": [message.as_dict() for message in request.messages],
            "max_new_tokens": request.max_new_tokens,
            "seed": request.seed,
        }
        return hashlib.sha256(json.dumps(self.identity | asked, sort_keys=True).encode()).hexdigest()

    def find(self, requests: Sequence[Request]) -> list[Sample]:
        """The samples that are there already.

        Raises:
            ValueError: a file is damaged; names it.
        """
        found = []
        for item, asked in _by_item(requests, lambda request: request.item).items():
            if self._path(item).exists():
                with self._open(item) as database:
                    rows = {row[0]: row[1:] for row in database.execute("SELECT * FROM samples")}
                pairs = ((request, rows.get(self.key(request))) for request in asked)
                found += [Sample(request, *row) for request, row in pairs if row is not None]
        return found

    def keep(self, samples: Sequence[Sample]) -> None:
        """Write samples; when this returns they survive whatever happens to the process."""
        for item, some in _by_item(samples, lambda sample: sample.request.item).items():
            rows = [(self.key(s.request), s.text, s.finish, s.prompt_tokens, s.completion_tokens) for s in some]
            with self._open(item) as database:
                database.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?)", rows)

    def _path(self, item: str) -> Path:
        return self.folder / f"{item}.sqlite"

    @contextmanager
    def _open(self, item: str) -> Iterator[sqlite3.Connection]:
        """One transaction on an item's file."""
        path = self._path(item)
        try:
            with closing(sqlite3.connect(path, timeout=60)) as database, database:
                database.execute(_TABLE)
                yield database
        except sqlite3.OperationalError as error:  # nothing that deleting would mend
            raise OSError(
                f"{path}: {error}. To mend: make room, end another job that writes it, or put `results` on a file "
                "system that has locks"
            ) from None
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path}: {error}. To mend: delete it; the requests of its item are made again") from None


def _by_item(values: Sequence, item_of: Callable[[Any], str]) -> dict[str, list]:
    groups: dict[str, list] = {}
    for value in values:
        groups.setdefault(item_of(value), []).append(value)
    return groups


class CachedEngine:
    """An engine that asks another one only for what is not in a cache.

    Args:
        open_engine: loads the teacher; not called where nothing is missing.
    """

    def __init__(self, open_engine: Callable[[], Engine], cache: RequestCache):
        self.open_engine, self.cache = open_engine, cache
        self.engine: Engine | None = None
        self.found = self.made = self.prompt_tokens = self.cached_tokens = 0

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        """What is in the cache first, then what the engine answers, kept before it is handed on."""
        found = self.cache.find(requests)
        self.found += len(found)
        yield found
        known = {sample.request.id for sample in found}
        missing = [request for request in requests if request.id not in known]
        if not missing:
            return
        self.engine = self.engine or self.open_engine()
        with progress_bar(len(requests), "requests", requests[0].call) as bar:
            bar.update(len(found))
            waiting: list[Sample] = []
            written = time.monotonic()
            try:
                for group in self.engine(missing):
                    waiting += group
                    self._count(group)
                    bar.update(len(group))
                    if time.monotonic() - written >= KEEP_SECONDS:
                        self.cache.keep(waiting)
                        yield waiting
                        waiting, written = [], time.monotonic()
            finally:  # an error, or a caller that stops, loses nothing
                self.cache.keep(waiting)
            yield waiting

    def _count(self, samples: Sequence[Sample]) -> None:
        self.made += len(samples)
        self.prompt_tokens += sum(sample.prompt_tokens or 0 for sample in samples)
        self.cached_tokens += sum(sample.cached_tokens or 0 for sample in samples)

    def summary(self) -> str:
        """In words: requests found and made, and what a prefix cache saved."""
        share = self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0
        return f"{self.found} requests were answered before, {self.made} made" + (
            f"; {share:.0%} of the prompt tokens came from the prefix cache" if share else ""
        )
