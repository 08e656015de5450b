"""General text to be trained beside the news: from a file or a data set of the hub, without what retention asks."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sys2ft.errors import InputError
from sys2ft.news.items import asked, load_general
from sys2ft.settings.catalogue import ReplaySettings
from sys2ft.settings.stages import PrepareReplayStage
from sys2ft.study.replay import load_replay, prepare_replay
from sys2ft.tables import REPLAY, build_table

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef" * 2 + "01234567"
GENERAL = [
    {
        "question_id": "sea",
        "question": "Which is the largest ocean of the whole earth by area?",
        "options": ["the Pacific", "It is the one between Asia and the Americas"],
    },
    {"question_id": "gas", "question": "Which gas do plants take in?", "options": ["oxygen", "carbon dioxide"]},
]
PAIRS = [("Why is the sky blue?", "Air scatters blue light."), ("How do I boil an egg?", "In water, for ten minutes.")]


def make_stage(leak_words: int = 5, leak_overlap: float = 0.5, **settings: Any) -> PrepareReplayStage:
    return PrepareReplayStage(replay=ReplaySettings(**settings), leak_words=leak_words, leak_overlap=leak_overlap)


@pytest.fixture
def write(tmp_path):
    """Write a file of general text."""

    def write_file(pairs: list[tuple[str, str]]) -> str:
        path = tmp_path / "replay.yaml"
        path.write_text(json.dumps({"replay": [{"question": question, "text": text} for question, text in pairs]}))
        return str(path)

    return write_file


def pairs_of(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["question"], row["text"]) for row in rows]


# ---------------------------------------------------------------------------------------------------------------- files
def test_the_rows_of_a_file_are_numbered_and_fit_their_table(write):
    rows, left_out = prepare_replay(make_stage(path=write(PAIRS)), [])
    assert pairs_of(rows) == PAIRS
    assert [row["row"] for row in rows] == [0, 1]
    assert left_out == 0
    assert build_table(REPLAY, rows, {"replay": "general"}).num_rows == 2


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_first_rows_are_used(write, rows):
    found, _ = prepare_replay(make_stage(path=write(PAIRS), rows=rows), [])
    assert pairs_of(found) == PAIRS[:rows]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("replay: [{question: 'Why?'}]", "replay.0.text: missing. To mend: add 'text'."),
        ("replay: [{question: 'Why?', text: 'So.'}, {text: 'So.'}]", "replay.1.question: missing."),
        ("replay: [{question: 'Why?', text: ' '}]", "replay.0.text: "),
        ("replay: [{question: 'Why?', text: 3}]", "replay.0.text: "),
        ("replay: [{question: 'Why?', text: 'So.', answer: 'x'}]", "replay.0.answer: unknown key."),
        ("replay: [Why?]", "replay.0: "),
        ("replay: Why?", "replay: "),
        ("replay: []", "replay: "),
        ("replay:", "replay: "),
        ("{}", "replay: missing. To mend: add 'replay'."),
        ("replya: [{question: 'Why?', text: 'So.'}]", "replay: missing."),
        ("replay: [{question: 'Why?', text: 'So.'}]\nextra: 1", "extra: unknown key."),
        ("- {question: 'Why?', text: 'So.'}", ""),
        ("", ""),
        ("replay: [", "line "),
        ("replay: [{question: 'a', question: 'b', text: 'So.'}]", "line 1, column 10: is not YAML (the key 'question'"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_file_and_field(tmp_path, text, said):
    path = tmp_path / "replay.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_replay(path)
    assert str(caught.value).startswith(f"{path}: {said}")
    assert ". To mend: " in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"replay\.yaml: no such file\. To mend:"):
        prepare_replay(make_stage(path=str(tmp_path / "replay.yaml")), [])


# ------------------------------------------------------------------------------------------------ what retention asks
@pytest.mark.parametrize(
    "pair",
    [
        (GENERAL[0]["question"], "I do not know."),
        ("Here is a quiz.", f"It asks: {GENERAL[0]['question'].upper()}"),
        ("Which is the largest ocean of the whole earth?", "Guess."),
        ("What is the Pacific?", "It is the one between Asia and the Americas."),
        ("Which gas do plants take in?", "Carbon dioxide."),
        ("Tell me: which gas do plants", "take in?"),
    ],
)
def test_a_row_that_overlaps_a_general_question_is_left_out(write, pair):
    rows, left_out = prepare_replay(make_stage(path=write([PAIRS[0], pair, PAIRS[1]])), GENERAL)
    assert pairs_of(rows) == PAIRS
    assert [row["row"] for row in rows] == [0, 1]
    assert left_out == 1


@pytest.mark.parametrize(
    "pair",
    [
        ("What is the Pacific?", "An ocean."),
        ("What do plants take in?", "They take in carbon dioxide."),
        ("Which is the largest ocean of all?", "The Pacific."),
    ],
)
def test_a_row_about_the_same_things_in_other_words_stays(write, pair):
    rows, left_out = prepare_replay(make_stage(path=write([pair])), GENERAL)
    assert (pairs_of(rows), left_out) == ([pair], 0)


@pytest.mark.parametrize(("words", "overlap", "left_out"), [(5, 0.5, 0), (5, 1 / 7, 1), (4, 0.5, 0), (3, 0.4, 1)])
def test_what_overlaps_is_said_by_the_settings(write, words, overlap, left_out):
    path = write([*PAIRS, ("Which is the largest ocean?", "And of the whole earth?")])
    assert prepare_replay(make_stage(words, overlap, path=path), GENERAL)[1] == left_out


def test_a_set_of_which_nothing_is_left_is_bad_input(write):
    path = write([(GENERAL[0]["question"], "The Pacific.")])
    with pytest.raises(InputError) as caught:
        prepare_replay(make_stage(path=path), GENERAL)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_shipped_set_loses_no_row_to_the_shipped_general_questions():
    general = [asked(question) for question in load_general(ROOT / "data/general_knowledge.yaml").questions]
    path = str(ROOT / "data/replay.yaml")
    rows, left_out = prepare_replay(make_stage(path=path), general)
    assert left_out == 0
    assert len(rows) == len(load_replay(path).replay) >= 60
    assert len({row["question"] for row in rows}) == len({row["text"] for row in rows}) == len(rows)


# ------------------------------------------------------------------------------------------------- data sets of the hub
HUB = [
    {"instruction": " Why? ", "response": "So.\n", "context": ""},
    {"instruction": "Of what?", "response": "Of it.", "context": "A text to read first."},
    {"instruction": "", "response": "No question.", "context": ""},
    {"instruction": "No answer?", "response": None, "context": ""},
    {"instruction": "Où ?", "response": "Là – 数.", "context": None},
    {"instruction": GENERAL[1]["question"], "response": "Carbon dioxide.", "context": ""},
    {"instruction": "Last?", "response": "Yes.", "context": ""},
]
ALL = [("Why?", "So."), ("Of what?", "Of it."), ("Où ?", "Là – 数."), ("Last?", "Yes.")]
ALONE = [pair for pair in ALL if pair[0] != "Of what?"]


@pytest.fixture(scope="module", params=["parquet", "jsonl"])
def repository(request, tmp_path_factory):
    """A data set as the hub has it, in a folder: `datasets` reads both alike."""
    folder = tmp_path_factory.mktemp(request.param)
    for split, rows in {"train": HUB, "test": HUB[:1]}.items():
        if request.param == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
        else:
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ALL),
        ({"empty": ("context",)}, ALONE),
        ({"rows": 2}, ALL[:2]),
        ({"rows": 2, "empty": ("context",)}, ALONE[:2]),
        ({"split": "test"}, ALL[:1]),
        ({"question": "response", "text": "instruction", "rows": 1}, [("So.", "Why?")]),
    ],
    ids=str,
)
def test_a_data_set_of_the_hub_is_read_from_its_columns(repository, changes, expected):
    rows, left_out = prepare_replay(make_stage(repository=repository, revision=COMMIT, **changes), GENERAL)
    assert pairs_of(rows) == expected
    assert left_out == (0 if "rows" in changes or "split" in changes else 1)


@pytest.mark.parametrize(
    ("changes", "column"),
    [({"question": "prompt"}, "prompt"), ({"text": "output"}, "output"), ({"empty": ("input",)}, "input")],
)
def test_a_column_that_a_data_set_lacks_is_named_with_those_it_has(repository, changes, column):
    with pytest.raises(InputError) as caught:
        prepare_replay(make_stage(repository=repository, revision=COMMIT, **changes), GENERAL)
    assert str(caught.value) == (
        f"{repository}: {column}: no such column. To mend: use columns of the data set: instruction, response, context."
    )


@pytest.mark.parametrize("changes", [{"split": "validation"}, {"repository": "no/where"}], ids=str)
def test_a_data_set_that_cannot_be_read_is_bad_input(repository, changes, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"cannot be read .* To mend: correct repository, revision and split"):
        prepare_replay(make_stage(**({"repository": repository, "revision": COMMIT} | changes)), GENERAL)


def test_a_data_set_without_a_usable_row_is_bad_input(repository):
    stage = make_stage(repository=repository, revision=COMMIT, split="test", empty=("instruction",))
    with pytest.raises(InputError, match="no usable row"):
        prepare_replay(stage, GENERAL)
