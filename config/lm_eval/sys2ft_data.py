"""The documents of this project's own lm_eval tasks, read from the files that `metadata.path` names."""

from pathlib import Path
from typing import Any

from datasets import Dataset

from sys2ft.news.items import load_general


def general_knowledge(path: str, **_: Any) -> dict[str, Dataset]:
    """Questions with their options and the index of the right one."""
    rows = [
        {"id": q.id, "question": q.question, "options": list(q.options), "gold": q.options.index(q.answer)}
        for q in load_general(path).questions
    ]
    return {"test": Dataset.from_list(rows)}


def paragraphs(path: str, **_: Any) -> dict[str, Dataset]:
    """The paragraphs of a text."""
    texts = Path(path).read_text(encoding="utf-8").strip().split("\n\n")
    return {"test": Dataset.from_list([{"text": " ".join(text.split())} for text in texts])}
