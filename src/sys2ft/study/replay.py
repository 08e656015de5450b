"""General text that is trained beside the news, so that a model forgets less of what it knew.

A file:

    replay:
      - {question: "...", text: "..."}

or two columns of a data set on the Hugging Face hub, at one commit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from sys2ft.errors import InputError
from sys2ft.settings.base import Frozen, Text
from sys2ft.settings.catalogue import ReplaySettings
from sys2ft.settings.stages import PrepareReplayStage
from sys2ft.yaml_files import load_yaml


class ReplayRow(Frozen):
    """A question and a good answer."""

    question: Text
    text: Text


class ReplayFile(Frozen):
    """General text: what one YAML file holds."""

    replay: tuple[ReplayRow, ...] = Field(min_length=1)


def load_replay(path: str | Path) -> ReplayFile:
    """Read a file of general text.

    Raises:
        InputError: it is missing, is not YAML, or has another shape; names the field.
    """
    return load_yaml(path, ReplayFile)


def prepare_replay(stage: PrepareReplayStage, general: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Rows of the table `replay`, and how many were left out.

    What overlaps a general question is left out: retention asks them, and training on them would hide forgetting.

    Args:
        general: the general questions, as rows of `questions`.

    Raises:
        InputError: the set lacks a column, or nothing of it is left.
    """
    from sys2ft.study.filters import LeakFinder

    settings = stage.replay
    pairs = _read_hub(settings) if settings.repository else _read_file(settings)
    leaks = LeakFinder(general, {}, stage.leak_words)
    kept = [pair for pair in pairs if leaks.largest_overlap("\n".join(pair))[0] < stage.leak_overlap]
    if not kept:
        raise InputError(settings.path or settings.repository or "", "", "no usable row", "take another set")
    rows = [{"row": number, "question": question, "text": text} for number, (question, text) in enumerate(kept)]
    return rows, len(pairs) - len(kept)


def _read_file(settings: ReplaySettings) -> list[tuple[str, str]]:
    return [(row.question, row.text) for row in load_replay(settings.path or "").replay[: settings.rows]]


def _read_hub(settings: ReplaySettings) -> list[tuple[str, str]]:
    from datasets import load_dataset

    try:
        data = load_dataset(settings.repository, revision=settings.revision, split=settings.split, streaming=True)
    except (OSError, ValueError) as error:
        mend = "correct repository, revision and split, or fetch it where the network is"
        raise InputError(settings.repository or "", "", f"cannot be read ({error})", mend) from None
    pairs: list[tuple[str, str]] = []
    for row in data:
        if missing := {settings.question, settings.text, *settings.empty} - set(row):
            mend = f"use columns of the data set: {', '.join(row)}"
            raise InputError(settings.repository or "", min(missing), "no such column", mend)
        question, text = str(row[settings.question] or "").strip(), str(row[settings.text] or "").strip()
        if question and text and not any(row[name] for name in settings.empty):
            pairs.append((question, text))
        if len(pairs) == settings.rows:
            break
    return pairs
