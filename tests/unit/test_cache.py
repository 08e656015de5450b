"""What a teacher answered is not asked again, whatever stopped the job that asked."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sys2ft.chat import Message, user
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.settings.prompts import EntriesPrompt, KindPrompts
from sys2ft.settings.stages import GenerateStudyStage
from sys2ft.study import cache
from sys2ft.study.cache import CachedEngine, RequestCache
from sys2ft.study.engines.recorded import RecordedEngine
from sys2ft.study.generate import write_completions
from sys2ft.study.reading import read_study
from sys2ft.study.requests import Request, Sample, complete

ITEMS = [
    {"item": name, "title": f"Title of {name}", "text": f"News of {name}."} for name in ("ferry", "dravel", "keel")
]
NAMES = [item["item"] for item in ITEMS]
IDENTITY = {"engine": "toy", "temperature": 0.8, "top_p": 0.95, "top_k": 64, "revision": "abc", "kind": "self_qa"}
SEED_PARTS = ("generate_study", "tiny", "self_qa", "split", 0)
PROMPTS = KindPrompts(
    version=1,
    entries=EntriesPrompt(prompt="Ask {number} of {title}.", read="questions", use="each"),
    write="Answer: {entry}",
    check="Supported? {text}",
)


class Stopped(Exception):
    """A toy for whatever ends a job."""


class ToyTeacher:
    """Answers from a request alone, in groups and backwards, and stops after so many samples."""

    def __init__(self, group: int = 1, stop_after: int | None = None):
        self.group, self.left = group, stop_after
        self.asked: list[Request] = []
        self.opened = 0

    def open(self) -> "ToyTeacher":
        self.opened += 1
        return self

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        self.asked += requests
        backwards = [*requests][::-1]
        for start in range(0, len(backwards), self.group):
            group = backwards[start : start + self.group]
            if self.left is not None and len(group) > self.left:
                raise Stopped
            self.left = None if self.left is None else self.left - len(group)
            yield [answer(request) for request in group]


def answer(request: Request) -> Sample:
    if request.call == "list":
        text = "\n".join(f"What is {request.seed} {number}?" for number in range(2))
    else:
        text = "Yes." if request.call == "check" else f"Text é {request.seed}."
    return Sample(request, text, "stop", len(request.messages[0].content), 5, 3)


def make_request(number: int = 0, item: str = "ferry", **changes: Any) -> Request:
    request = Request(item, "write", number, range(number, number + 1), (user(f"Ask {number}"),), 10, 100 + number)
    return replace(request, **changes)


def make_sample(request: Request, text: str = "Text.", finish: str = "stop") -> Sample:
    return Sample(request, text, finish, 7, 5)


def study(
    engine: Any, rows: int = 3, per_call: int = 2, names: Sequence[str] = NAMES, items: Sequence[dict] = ITEMS
) -> list[dict[str, Any]]:
    stage = GenerateStudyStage(
        teacher=TeacherSettings(), prompts=PROMPTS, per_call=per_call, list_calls=1, list_max_new_tokens=40,
        max_new_tokens=20, rows=rows, context="News: {news}\n",
    )  # fmt: skip
    return write_completions(items, names, stage, engine, SEED_PARTS)


def study_cached(folder: Path, teacher: Any, **asked: Any) -> list[dict[str, Any]]:
    return study(CachedEngine(teacher.open, RequestCache(folder, IDENTITY)), **asked)


WHOLE = study(ToyTeacher())


# ------------------------------------------------------------------------------------------------------------ the cache
def test_what_was_kept_is_found_as_it_was(tmp_path):
    requests = [make_request(number, item) for item in NAMES for number in range(3)]
    samples = [
        Sample(requests[0], "Text.", "stop", 7, 5),
        Sample(requests[1], "", "length", None, None),
        Sample(requests[4], "Text\n", "stop", 0, 0),
    ]
    RequestCache(tmp_path / "new" / "folder", IDENTITY).keep(samples)
    cache = RequestCache(tmp_path / "new" / "folder", dict(reversed(IDENTITY.items())))
    assert cache.find(requests) == samples
    assert cache.find(requests[4:]) == samples[2:]
    assert cache.find([]) == []


@settings(max_examples=20, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])), asked=st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_in_any_script_are_found_as_they_were(tmp_path_factory, text, asked):
    cache = RequestCache(tmp_path_factory.mktemp("cache"), IDENTITY | {"revision": asked})
    sample = make_sample(make_request(messages=(Message("user", asked),)), text)
    cache.keep([sample])
    assert cache.find([sample.request]) == [sample]


def test_the_first_sample_of_a_request_stays(tmp_path):
    cache = RequestCache(tmp_path, IDENTITY)
    cache.keep([make_sample(make_request(), "First.")])
    cache.keep([make_sample(make_request(), "Second.")])
    assert [sample.text for sample in cache.find([make_request()])] == ["First."]


def test_every_item_has_a_file_of_its_own(tmp_path):
    cache = RequestCache(tmp_path, IDENTITY)
    cache.keep([make_sample(make_request(number, item)) for number in range(2) for item in NAMES])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dravel.sqlite", "ferry.sqlite", "keel.sqlite"]
    (tmp_path / "ferry.sqlite").unlink()
    found = cache.find([make_request(number, item) for number in range(2) for item in NAMES])
    assert {sample.request.item for sample in found} == {"dravel", "keel"}


def test_looking_for_samples_makes_no_file(tmp_path):
    assert RequestCache(tmp_path, IDENTITY).find([make_request()]) == []
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------- the keys
def key(request: Request, **identity: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return RequestCache(Path(folder), IDENTITY | identity).key(request)


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": (user("Ask 1"),)},
        {"messages": (user("ask 0"),)},
        {"messages": (Message("assistant", "Ask 0"),)},
        {"messages": (user("Ask 0"), user("Ask 0"))},
        {"max_new_tokens": 11},
        {"seed": 101},
    ],
    ids=str,
)
def test_another_request_has_another_key(changes):
    assert key(make_request(**changes)) != key(make_request())


@pytest.mark.parametrize("field", IDENTITY)
def test_another_teacher_or_sampling_has_other_keys(field):
    value = IDENTITY[field]
    other = f"other {value}" if isinstance(value, str) else value + 1
    assert key(make_request(), **{field: other}) != key(make_request())


@pytest.mark.parametrize(
    "changes", [{"number": 9}, {"rows": range(9)}, {"entry": "What?"}, {"call": "check"}, {"item": "dravel"}], ids=str
)
def test_where_a_request_stands_is_no_part_of_its_key(changes):
    assert key(replace(make_request(), **changes)) == key(make_request())


def test_keys_are_the_same_on_every_machine():
    assert key(make_request()) == "6b36eee86578f6db7892c438624f33f8f242d5b9ac08ea2d735ae549eb68fa97"


def test_the_order_of_the_items_and_their_neighbours_change_no_key(tmp_path):
    study_cached(tmp_path, ToyTeacher())
    for names in (NAMES[::-1], NAMES[1:], [NAMES[2], NAMES[0]]):
        teacher = ToyTeacher()
        rows = study_cached(tmp_path, teacher, names=names)
        assert teacher.asked == []
        assert {row["request"]: row for row in rows}.items() <= {row["request"]: row for row in WHOLE}.items()


# ----------------------------------------------------------------------------------------------------------- the engine
def test_nothing_is_asked_twice_and_the_teacher_is_not_even_loaded(tmp_path):
    first, second = ToyTeacher(), ToyTeacher()
    assert study_cached(tmp_path, first) == WHOLE
    assert study_cached(tmp_path, second) == WHOLE
    assert (first.opened, second.opened) == (1, 0), "one engine for all steps of a study, none where all is there"
    assert second.asked == []


def test_only_what_is_missing_is_asked_for(tmp_path):
    study_cached(tmp_path, ToyTeacher(), names=NAMES[:1])
    teacher = ToyTeacher()
    assert study_cached(tmp_path, teacher) == WHOLE
    assert {request.item for request in teacher.asked} == set(NAMES[1:])


@settings(max_examples=8, deadline=None)
@given(small=st.integers(1, 4), more=st.integers(0, 3), per_call=st.integers(1, 3))
def test_a_larger_budget_asks_only_for_what_the_smaller_one_had_not(tmp_path_factory, small, more, per_call):
    folder, teacher = tmp_path_factory.mktemp("cache"), ToyTeacher()
    less = study_cached(folder, ToyTeacher(), rows=small, per_call=per_call, names=NAMES[:1])
    full = study_cached(folder, teacher, rows=small + more, per_call=per_call, names=NAMES[:1])
    assert full == study(ToyTeacher(), rows=small + more, per_call=per_call, names=NAMES[:1])
    assert {request.id for request in teacher.asked} == {r["request"] for r in full} - {r["request"] for r in less}


def test_recorded_study_data_go_on_with_a_larger_budget_too(tmp_path):
    pairs = "".join(f"      - {{question: 'What is {n}?', answer: 'It is {n}.'}}\n" for n in range(5))
    (tmp_path / "study.yaml").write_text(f"study:\n  ferry:\n    self_qa:\n{pairs}")
    for rows in range(1, 6):
        cache = RequestCache(tmp_path / "requests", IDENTITY)
        engine = CachedEngine(lambda: RecordedEngine(tmp_path / "study.yaml", "self_qa"), cache)
        read = read_study(["ferry"], study(engine, rows, 3, ["ferry"]), PROMPTS, rows, 3)
        assert [(row["question"], row["text"], row["status"]) for row in read] == [
            (f"What is {n}?", f"It is {n}.", "kept") for n in range(rows)
        ]


def test_a_changed_item_is_studied_again_and_no_other(tmp_path):
    study_cached(tmp_path, ToyTeacher())
    teacher = ToyTeacher()
    study_cached(tmp_path, teacher, items=[item | {"text": item["text"].replace("dravel", "it")} for item in ITEMS])
    assert {request.item for request in teacher.asked} == {"dravel"}
    assert len(teacher.asked) == len([row for row in WHOLE if row["item"] == "dravel"])


def test_what_was_found_and_made_is_told(tmp_path):
    study_cached(tmp_path, ToyTeacher(), names=NAMES[:1])
    engine = CachedEngine(ToyTeacher().open, RequestCache(tmp_path, IDENTITY))
    study(engine)
    assert (engine.found, engine.made) == (8, 16)
    share = 3 * 16 / sum(row["prompt_tokens"] for row in WHOLE if row["item"] != "ferry")
    assert engine.summary() == (
        f"8 requests were answered before, 16 made; {share:.0%} of the prompt tokens came from the prefix cache"
    )
    again = CachedEngine(ToyTeacher().open, RequestCache(tmp_path, IDENTITY))
    study(again)
    assert again.summary() == "24 requests were answered before, 0 made"


# -------------------------------------------------------------------------------------------------------- interruptions
@settings(max_examples=8, deadline=None)
@given(stops=st.lists(st.integers(0, len(WHOLE)), min_size=1, max_size=2), group=st.integers(1, 5))
def test_a_study_that_was_stopped_anywhere_goes_on_where_it_stopped(tmp_path_factory, stops, group):
    folder = tmp_path_factory.mktemp("cache")
    kept: set[str] = set()
    for stop_after in stops:
        stopped = ToyTeacher(group, stop_after)
        with suppress(Stopped):
            assert study_cached(folder, stopped) == WHOLE
        given = stop_after - (stopped.left or 0)
        assert not kept & {request.id for request in stopped.asked}
        found = RequestCache(folder, IDENTITY).find([row_request(row) for row in WHOLE])
        assert len({sample.request.id for sample in found}) == len(kept) + given
        kept = {sample.request.id for sample in found}
    last = ToyTeacher(group)
    assert study_cached(folder, last) == WHOLE
    assert sorted(request.id for request in last.asked) == sorted({row["request"] for row in WHOLE} - kept)
    assert last.opened == (len(kept) < len(WHOLE))


def row_request(row: dict[str, Any]) -> Request:
    """The request of a completion, as far as its key goes."""
    messages = tuple(Message(**message) for message in row["messages"])
    item, call, number = row["item"], row["call"], row["number"]
    return Request(item, call, number, range(1), messages, row["max_new_tokens"], row["request_seed"])


def test_a_call_that_was_given_up_keeps_what_it_gave(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "KEEP_SECONDS", 0.0)
    requests = [make_request(number) for number in range(6)]
    samples = CachedEngine(ToyTeacher(2).open, RequestCache(tmp_path, IDENTITY))(requests)
    given = [*next(samples), *next(samples)]
    samples.close()
    assert given == [answer(request) for request in requests[:3:-1]]
    teacher = ToyTeacher()
    assert len(complete(CachedEngine(teacher.open, RequestCache(tmp_path, IDENTITY)), requests)) == 6
    assert teacher.asked == requests[:4]


SLOW_JOB = """
import json, sys, time
from pathlib import Path
from sys2ft.chat import user
from sys2ft.study.cache import CachedEngine, RequestCache
from sys2ft.study.requests import Request, Sample

def engine(requests):
    for start in range(0, len(requests), 2):
        time.sleep(0.002)
        yield [Sample(r, f"Text é {r.seed}.", "stop", 5, 5) for r in requests[start : start + 2]]

folder, identity, numbers = Path(sys.argv[1]), json.loads(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4]))
requests = [
    Request(item, "write", number, range(number, number + 1), (user(f"Ask {number}"),), 10, 100 + number)
    for number in numbers for item in ("ferry", "dravel")
]
for group in CachedEngine(lambda: engine, RequestCache(folder, identity))(requests):
    for sample in group:
        print(sample.request.id, flush=True)
"""


def start_job(folder: Path, first: int, last: int) -> subprocess.Popen:
    """A process that asks for two items, two samples at a time, and says of each when it has it."""
    command = [sys.executable, "-c", SLOW_JOB, str(folder), json.dumps(IDENTITY), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def check_files(folder: Path) -> None:
    """SQLite itself finds every file whole."""
    for path in folder.glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_job_that_was_killed_loses_nothing_that_it_gave(tmp_path):
    given: set[str] = set()
    requests = [make_request(number, item) for number in range(1000) for item in ("ferry", "dravel")]
    for lines in (1, 40, 7):
        before = len(given)
        with start_job(tmp_path, 0, 1000) as job:
            assert job.stdout is not None
            while len(given) < before + lines:
                line = job.stdout.readline()
                assert line, "the job ended by itself"
                given.add(line.strip())
            os.kill(job.pid, signal.SIGKILL)
            given |= {line.strip() for line in job.stdout if line.endswith("\n")}
        assert job.returncode == -signal.SIGKILL
        found = RequestCache(tmp_path, IDENTITY).find(requests)
        assert given <= {sample.request.id for sample in found}
        assert len(found) < len(requests), "killed in the middle"
        assert all(sample.text == answer(sample.request).text for sample in found)
        check_files(tmp_path)
    teacher = ToyTeacher(1000)
    samples = complete(CachedEngine(teacher.open, RequestCache(tmp_path, IDENTITY)), requests)
    assert [sample.text for sample in samples] == [answer(request).text for request in requests]
    assert not given & {request.id for request in teacher.asked}


def test_two_jobs_that_write_one_file_do_not_spoil_it(tmp_path):
    jobs = [start_job(tmp_path, 0, 60), start_job(tmp_path, 30, 90)]
    given = [job.communicate(timeout=60)[0].splitlines() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert [len(set(lines)) for lines in given] == [120, 120]
    check_files(tmp_path)
    requests = [make_request(number, item) for item in ("ferry", "dravel") for number in range(90)]
    found = RequestCache(tmp_path, IDENTITY).find(requests)
    assert [(sample.request, sample.text) for sample in found] == [(r, answer(r).text) for r in requests]


# -------------------------------------------------------------------------------------------------------- damaged files
def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    damaged = {
        "no database": b"hello " * 99, "head": b"\xff" * 200 + data[200:], "half": data[: len(data) // 2],
        "stub": data[:100], "last page": data[:-4096],
    }  # fmt: skip
    path.write_bytes(damaged[how])


@pytest.mark.parametrize("how", ["no database", "head", "half", "stub", "last page"])
@pytest.mark.parametrize("doing", ["find", "keep", "study"])
def test_a_damaged_file_is_named_with_the_mend(tmp_path, how, doing):
    cache = RequestCache(tmp_path, IDENTITY)
    requests = [make_request(number) for number in range(40)]
    cache.keep([make_sample(request, "Text. " * 100) for request in requests])
    damage(tmp_path / "ferry.sqlite", how)
    with pytest.raises(ValueError, match="To mend: delete it; the requests of its item are made again") as caught:
        {
            "find": lambda: cache.find(requests),
            "keep": lambda: cache.keep([make_sample(make_request(99))]),
            "study": lambda: study_cached(tmp_path, ToyTeacher()),
        }[doing]()
    assert str(caught.value).startswith(f"{tmp_path / 'ferry.sqlite'}: ")
    (tmp_path / "ferry.sqlite").unlink()
    assert cache.find(requests) == []


def test_a_file_that_was_never_filled_is_an_empty_cache(tmp_path):
    (tmp_path / "ferry.sqlite").touch()
    cache = RequestCache(tmp_path, IDENTITY)
    assert cache.find([make_request()]) == []
    cache.keep([make_sample(make_request())])
    assert cache.find([make_request()]) == [make_sample(make_request())]


@pytest.mark.parametrize("doing", ["find", "keep"])
def test_damage_inside_a_file_is_named_with_the_mend(tmp_path, doing):
    cache = RequestCache(tmp_path, IDENTITY)
    requests = [make_request(number) for number in range(40)]
    cache.keep([make_sample(request, "Text. " * 100) for request in requests])
    path = tmp_path / "ferry.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    with pytest.raises(ValueError, match="To mend: delete it") as caught:
        cache.find(requests) if doing == "find" else cache.keep([make_sample(make_request(99))])
    assert str(caught.value).startswith(f"{path}: ")
