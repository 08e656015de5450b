"""Digests of what files say: the same for the same content, another one for another."""

import os

import pytest

from sys2ft.contents import digests

TASK = "task: mine\ndoc_to_text: !function prompts.ask\nmetadata: {version: 1, path: a.yaml}\n"


def digest(path, text):
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    (found,) = digests([str(path)]).values()
    return found


@pytest.mark.parametrize(
    "same",
    [
        TASK + "# a comment\n",
        "\n\n" + TASK.replace("task: mine", "task:    'mine'"),
        "metadata:\n  path: a.yaml\n  version: 1\ndoc_to_text: !function prompts.ask\ntask: mine\n",
    ],
    ids=["comment", "white space and quotes", "order of keys"],
)
def test_how_yaml_is_written_plays_no_part(tmp_path, same):
    assert digest(tmp_path / "a.yaml", same) == digest(tmp_path / "a.yaml", TASK)


@pytest.mark.parametrize("old", ["mine", "version: 1", "!function prompts.ask", "prompts.ask"])
def test_what_yaml_says_does(tmp_path, old):
    other = TASK.replace(old, old + "0" if old[0] != "!" else "prompts.ask")
    assert digest(tmp_path / "a.yaml", other) != digest(tmp_path / "a.yaml", TASK)


def test_the_order_of_a_list_does_too(tmp_path):
    assert digest(tmp_path / "a.yaml", "[1, 2]") != digest(tmp_path / "a.yaml", "[2, 1]")


@pytest.mark.parametrize("name", ["a.py", "a.jsonl", "a.txt", "a.parquet"])
def test_other_files_are_their_bytes(tmp_path, name):
    assert digest(tmp_path / name, "x = 1") != digest(tmp_path / name, "x = 1  # one")


def test_what_is_no_yaml_is_its_bytes_and_what_is_missing_has_no_digest(tmp_path):
    assert digest(tmp_path / "a.yaml", "a: [") != digest(tmp_path / "a.yaml", "a: {")
    assert digests([str(tmp_path / "none.yaml")]) == {str(tmp_path / "none.yaml"): None}
