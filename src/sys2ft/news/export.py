"""The data set as others meet it: two Parquet files and a card, in the form of a Hugging Face data set."""

from collections.abc import Sequence
from pathlib import Path

from sys2ft.news.items import NewsFile, item_rows, question_rows
from sys2ft.tables import ITEMS, QUESTIONS, build_table, write_table

CARD = """---
license: cc-by-4.0
language:
- en
pretty_name: New News, sys2ft edition
size_categories:
- n<1K
task_categories:
- question-answering
- multiple-choice
tags:
- knowledge-integration
- fine-tuning
- in-context-learning
configs:
- config_name: questions
  default: true
  data_files:
  - split: test
    path: questions.parquet
- config_name: items
  data_files:
  - split: test
    path: items.parquet
---

# New News, sys2ft edition

{items} invented pieces of news in {splits} domains ({names}) with {questions} multiple-choice
questions, for measuring what a language model knows of a text that it was trained on. The news is hypothetical and
dated after 2026; no person, place or product in it is meant to exist. Questions join their items on `item`.

Each question has four options of one type; either all four stand in the item or none does, so that a liking for words
that were seen does not answer it. Kinds: `recall` (the text says it), `inference` (one step beyond the text),
`application` (a computation or a choice in a new situation). `why` says how the answer follows and is for people alone.

Please do not train on the questions. Licence: CC BY 4.0.
"""


def export_dataset(files: Sequence[NewsFile], folder: Path) -> None:
    """Write `items.parquet`, `questions.parquet` and `README.md`; `datasets.load_dataset(folder)` reads them."""
    items = [row for news in files for row in item_rows(news)]
    questions = [row for news in files for row in question_rows(news)]
    write_table(build_table(ITEMS, items), folder / "items.parquet")
    write_table(build_table(QUESTIONS, questions), folder / "questions.parquet")
    names = ", ".join(news.split for news in files)
    counts = {"items": len(items), "questions": len(questions), "splits": len(files)}
    (folder / "README.md").write_text(CARD.format(names=names, **counts), encoding="utf-8")
