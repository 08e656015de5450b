"""What a dry run says, told by cells: reasons, in words, and where they come from."""

import pytest

from sys2ft.grid import Cell
from sys2ft.plan import Job, dependencies, stale_cells

CELLS = [Cell("tiny", "lora", protocol, "none", "events", 0) for protocol in ("naive", "other")]
MISSING = "Missing output files: results/x"


def job(rule, cell=None, reason="", inputs=(), outputs=None):
    wildcards = {name: str(value) for name, value in cell.keys().items()} if cell else {"split": "events"}
    return Job(rule, wildcards, reason, [*inputs], outputs or [f"{rule}/{cell and cell.protocol}"], {}, 1, "")


def params(before, now):
    words = "Params have changed since last execution: Union of exclusive params before and now across all output: "
    return f"{words}before: {before} now: {now} "


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (MISSING, ["not there yet"]),
        ("Incomplete output files: a, b", ["was killed while it ran"]),
        ("Updated input files: data/a.yaml, data/b.yaml", ["edited: data/a.yaml, data/b.yaml"]),
        ("Input files updated by another job: a", []),
        (f"{MISSING}; Input files updated by another job: a", ["not there yet"]),
        ("Set of input files has changed since last execution", ["other inputs"]),
        ("Forced execution", ["forced"]),
        (params("3", "4"), ["settings changed: code version 3 -> 4"]),
        (params("""'{"lr": 0.1, "rank": 8}'""", """'{"lr": 0.2, "rank": 8}'"""), ["settings changed: lr 0.1 -> 0.2"]),
        (params("""'{"m": {"lr": 1}}',3""", """'{"m": {"lr": 1, "new": true}}',4"""),
         ["settings changed: code version 3 -> 4, m.new null -> true"]),
        (params("""'{"ask": "It\\'s; 1, 2"}'""", """'{"ask": "It is"}'"""),
         ["settings changed: ask \"It's; 1, 2\" -> \"It is\""]),
        (params("""'{"text": "%s"}'""" % ("a" * 99), """'{"text": "b"}'"""), ["settings changed: text"]),
        (params("<nothing exclusive>", "'x'"), ["settings changed: parameters"]),
    ],
)  # fmt: skip
def test_reasons_are_told_in_words(reason, expected):
    assert list(job("fine_tune", reason=reason).own_reasons()) == expected


def test_a_cell_has_the_reasons_of_all_before_it_and_its_own_jobs_alone():
    naive, other = CELLS
    jobs = [
        job("validate_news", reason="Updated input files: data/events.yaml", outputs=["items"]),
        job("compose_training", reason="Input files updated by another job: items", inputs=["items"], outputs=["rows"]),
        job("fine_tune", naive, "Input files updated by another job: rows", inputs=["rows"]),
        job("score_answers", naive, "Input files updated by another job: x", inputs=["fine_tune/naive", "items"]),
        job("score_answers", other, MISSING, inputs=["elsewhere"]),
    ]
    assert dependencies(jobs) == [[], [0], [1], [0, 2], []]
    first, second = stale_cells(jobs, CELLS)
    assert (first.cell, [j.rule for j in first.jobs]) == (naive, ["fine_tune", "score_answers"])
    assert first.reasons == ["validate_news: edited: data/events.yaml"]
    assert (second.cell, second.reasons) == (other, ["score_answers: not there yet"])


def test_cells_come_in_the_order_of_the_grid():
    jobs = [job("fine_tune", cell, MISSING) for cell in reversed(CELLS)]
    assert [stale.cell for stale in stale_cells(jobs, CELLS)] == CELLS
