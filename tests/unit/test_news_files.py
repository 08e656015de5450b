"""Files of news: every violation at once, tables in place of YAML, the export."""

import json
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sys2ft.cli import main as cli
from sys2ft.errors import InputError
from sys2ft.news.check import check_files, news_files
from sys2ft.news.items import load_news, open_split
from sys2ft.settings.stages import ValidateNewsStage

BROKEN = """split: mine
items:
  - id: ferry
    title: A ferry
    date: 2027-01-01
    text: The ferry calls at Craywick, then at Tolsey.
    questions:
      - id: ferry-q1
        kind: recal
        question: Where does the ferry call first?
        options: ["Craywick", "Tolsey"]
        answer: "Marn"
        why: The item says so.
      - id: ferry-q1
        kind: recall
        question: Does it call at Craywick first?
        options: ["Craywick", "Quill"]
        answer: "Craywick"
        whi: The item says so.
  - id: ferry
    title: Another
    date: soon
    text: Nothing.
    questions: []
"""


# ---------------------------------------------------------------------------------------------------------------- check
def test_every_violation_is_told_at_once_with_its_line(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(BROKEN)
    with pytest.raises(SystemExit, match="violations"):
        cli(["check", str(path)])
    told = capsys.readouterr().out.splitlines()
    expected = {
        9: "kind", 14: "question id 'ferry-q1'", 16: "names its answer 'Craywick'", 17: "only 'Craywick' occur",
        20: "item id 'ferry'", 22: "date", 24: "questions",
    }  # fmt: skip
    for line, words in expected.items():
        assert any(text.startswith(f"{path}:{line}: ") and words in text for text in told), (line, told)
    assert any("whi: unknown key. To mend: write 'why'" in text for text in told)
    assert any("why: missing" in text for text in told)
    assert told[-1] == "1 files, 2 items, 2 questions"


def test_an_answer_that_is_no_option_is_told_with_the_line_of_its_question(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(BROKEN.replace("recal\n", "recall\n"))
    violations, _ = check_files([path])
    assert any(v.line == 8 and "'Marn' is not among the options" in v.message for v in violations)


def test_a_file_that_is_not_yaml_does_not_hide_the_others(tmp_path):
    (tmp_path / "a.yaml").write_text("split: [")
    (tmp_path / "b.yaml").write_text(BROKEN)
    violations, counts = check_files([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    assert {violation.file for violation in violations} == {str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")}
    assert counts["items"] == 2


def test_the_shipped_news_has_no_violation(capsys):
    cli(["check", "data/new_news"])
    assert capsys.readouterr().out.splitlines() == ["5 files, 75 items, 375 questions"]


def test_a_folder_without_news_is_named(tmp_path):
    with pytest.raises(SystemExit, match="has no YAML file"):
        cli(["check", str(tmp_path)])


# --------------------------------------------------------------------------------------------------------------- tables
ROW = {
    "item": "ferry", "title": "A ferry", "date": "2027-01-01", "text": "The ferry calls at Craywick, then at Tolsey.",
    "question_id": "ferry-q1", "kind": "recall", "question": "Where does the ferry call first?",
    "options": ["Craywick", "Tolsey"], "answer": "Craywick", "why": "The item says so.",
}  # fmt: skip
ROWS = [
    ROW,
    {**ROW, "item": "loom", "title": "A loom", "question_id": "loom-q1"},
    {**ROW, "question_id": "ferry-q2", "question": "Where does it call last?", "answer": "Tolsey"},
]


@pytest.fixture(params=[".jsonl", ".parquet"])
def write(request, tmp_path):
    def write_rows(rows):
        path = tmp_path / f"mine{request.param}"
        if request.param == ".jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
        return path

    return write_rows


@pytest.mark.parametrize("items", [None, 1, 2, 5])
def test_a_table_is_read_as_a_file_of_news_and_cut_to_the_items_asked_for(write, items):
    news = open_split("mine", write(ROWS), ValidateNewsStage(generator=None, seed=0, size=None, items=items))
    assert news.split == "mine"
    assert [(item.id, [q.id for q in item.questions]) for item in news.items] == [
        ("ferry", ["ferry-q1", "ferry-q2"]), ("loom", ["loom-q1"]),
    ][:items]  # fmt: skip
    assert news.items[0].date.isoformat() == "2027-01-01"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{k: v for k, v in ROW.items() if k != "why"}], r"row 1\.why: missing. To mend: add the column 'why'"),
        ([{**ROW, "whi": "x"}], r"row 1\.whi: unknown column"),
        ([ROW, {**ROW, "question_id": "x", "title": "B"}], r"row 2\.title: item 'ferry' has another title"),
        ([{**ROW, "answer": "Marn"}], r"item 'ferry'\.questions\.0: the answer 'Marn' is not among the options"),
        ([ROW, ROW], "'ferry-q1'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(write, rows, message):
    path = write(rows)
    with pytest.raises(InputError, match=message) as caught:
        load_news(path, "mine")
    assert str(caught.value).startswith(f"{path}: ")


def test_a_table_that_is_none_is_refused(tmp_path):
    for name, content in (("a.jsonl", "{"), ("b.jsonl", "[]"), ("c.parquet", "x"), ("d.jsonl", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=name):
            load_news(tmp_path / name, "mine")
    with pytest.raises(InputError, match="no such file"):
        load_news(tmp_path / "e.parquet", "mine")


# --------------------------------------------------------------------------------------------------------------- export
def test_the_export_is_a_data_set_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "HF_DATASETS_OFFLINE", "1")
    cli(["export", "data/new_news", "--output", str(tmp_path / "dataset")])
    folder, cache = str(tmp_path / "dataset"), str(tmp_path / "cache")
    questions = datasets.load_dataset(folder, split="test", cache_dir=cache)
    items = datasets.load_dataset(folder, "items", split="test", cache_dir=cache)
    assert (len(questions), len(items)) == (375, 75)
    assert set(questions["item"]) == set(items["item"])
    assert "license: cc-by-4.0" in (tmp_path / "dataset/README.md").read_text()
    items_of_files = [item for path in news_files([Path("data/new_news")]) for item in load_news(path).items]
    answers = {question.id: question.answer for item in items_of_files for question in item.questions}
    assert {row["question_id"]: row["options"][row["gold"]] for row in questions} == answers
    assert all(row["statement"].endswith(".") and row["false_statement"].endswith(".") for row in questions)


# --------------------------------------------------------------------------------------------------------------- import
THEIRS = [
    {"news": "The ferry calls at Craywick, then at Tolsey.", "nid": "ferry", "ask": "Where first?", "a": "Craywick",
     "b": "Tolsey", "key": "A"},
    {"news": "The ferry calls at Craywick, then at Tolsey.", "nid": "ferry", "ask": "Where last?", "a": "Craywick",
     "b": "Tolsey", "key": "B"},
]  # fmt: skip
COLUMNS = ["text=news", "item=nid", "question=ask", "options=a,b", "answer=key"]


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "test.jsonl").write_text("\n".join(json.dumps(row) for row in THEIRS))
    return folder


def bring(foreign, *arguments, columns=COLUMNS):
    output = foreign.parent / "original.jsonl"
    cli(["import", str(foreign), "--output", str(output), *(f"--column={c}" for c in columns), *arguments])
    return output


def test_a_data_set_of_others_becomes_a_table_of_news(foreign, capsys):
    news = load_news(bring(foreign, "--answer", "letter"), "original")
    assert "1 items, 2 questions" in capsys.readouterr().out
    assert [question.answer for question in news.items[0].questions] == ["Craywick", "Tolsey"]


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ([*COLUMNS[:-1], "answer=keys"], ["--answer", "letter"], "there is no such column"),
        (COLUMNS, ["--answer", "text"], "is not among the options"),
        ([*COLUMNS, "colour=x"], [], "names no column of news"),
        (COLUMNS, ["--answer", "index"], "'A' points at none of 2 options"),
        (COLUMNS[:-1], ["--answer", "letter"], "None points at none of 2 options"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused_and_nothing_is_written(foreign, columns, arguments, message):
    with pytest.raises(SystemExit, match=message):
        bring(foreign, *arguments, columns=columns)
    assert not (foreign.parent / "original.jsonl").exists()


@pytest.mark.parametrize(("told", "gold"), [("b", "Tolsey"), ("(A)", "Craywick"), (" B. ", "Tolsey")])
def test_a_letter_is_read_however_it_is_written(foreign, told, gold):
    (foreign / "test.jsonl").write_text(json.dumps(THEIRS[0] | {"key": told}))
    news = load_news(bring(foreign, "--answer", "letter"), "original")
    assert news.items[0].questions[0].answer == gold


@pytest.mark.parametrize("told", ["", "Answer: C", None, "AB"])
def test_what_is_no_letter_is_no_answer(foreign, told):
    (foreign / "test.jsonl").write_text(json.dumps(THEIRS[0] | {"key": told}))
    with pytest.raises(SystemExit, match=r"row 1: answer: .* points at none of 2 options"):
        bring(foreign, "--answer", "letter")


def test_the_hub_needs_a_commit(tmp_path):
    with pytest.raises(SystemExit, match="40 digits"):
        cli(["import", "someone/news", "--revision", "main", "--output", str(tmp_path / "x.jsonl")])
