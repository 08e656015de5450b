"""The news file: items with their questions, read from YAML and checked as a whole."""

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from sys2ft.errors import InputError, explain_validation
from sys2ft.settings.base import Frozen, Name, Text
from sys2ft.settings.stages import ValidateNewsStage
from sys2ft.yaml_files import read_yaml


class GeneralQuestion(Frozen):
    """A multiple-choice question on what everybody knows."""

    id: Name
    question: Text
    """Understandable without the news at hand."""
    options: tuple[Text, ...] = Field(min_length=2, max_length=8)
    """Of the same type and form; on an item, either all occur in it or none does."""
    answer: Text
    """The right option, letter by letter."""

    @model_validator(mode="after")
    def _gold_among_options(self) -> "GeneralQuestion":
        if len(set(self.options)) < len(self.options):
            raise ValueError("two options are the same; make them differ")
        if self.answer not in self.options:
            raise ValueError(f"the answer '{self.answer}' is not among the options; copy one of them")
        return self


class Question(GeneralQuestion):
    """A multiple-choice question on one item."""

    kind: Literal["recall", "inference", "application", "rephrase", "reversal", "syllogism", "holdout"]
    why: Text
    """How the answer follows from the item; for people and tests, never shown to a model."""
    short_answer: Text | None = None
    """What a person would write who sees no options; null: the answer itself."""
    accepted_answers: tuple[Text, ...] = ()
    """Other spellings of it that count as right."""
    statement: Text | None = None
    """Question and answer as one true sentence."""
    false_statement: Text | None = None
    """The same with a wrong option in the answer's place."""

    @model_validator(mode="after")
    def _statements_come_in_pairs(self) -> "Question":
        if (self.statement is None) != (self.false_statement is None):
            raise ValueError("one of statement and false_statement is missing; give both or neither")
        if self.statement is not None and self.statement == self.false_statement:
            raise ValueError("statement and false_statement are the same; make the second one wrong")
        return self


class Item(Frozen):
    """One piece of news."""

    id: Name
    """Also the folder of its adapter."""
    title: Text
    date: datetime.date
    text: Text
    questions: tuple[Question, ...] = Field(min_length=1)


class NewsFile(Frozen):
    """A split: what one YAML file holds."""

    split: Name
    items: tuple[Item, ...] = Field(min_length=1)


class GeneralFile(Frozen):
    """General questions: what one YAML file holds."""

    questions: tuple[GeneralQuestion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> "GeneralFile":
        if doubles := [name for name, count in Counter(entry.id for entry in self.questions).items() if count > 1]:
            raise ValueError(f"the id '{doubles[0]}' stands twice; give every question an id of its own")
        return self


def load_news(path: str | Path, split: str = "") -> NewsFile:
    """Read and check one split.

    Args:
        path: a YAML file, or a table as `news.rows` describes it.
        split: its name, where it is a table: a YAML file names itself.

    Raises:
        InputError: the first violation, with file, item and field.
    """
    from sys2ft.news.rows import SUFFIXES, read_news_rows

    return validate_news(path, read_news_rows(path, split) if Path(path).suffix in SUFFIXES else read_yaml(path))


def validate_news(path: str | Path, data: Any) -> NewsFile:
    """Check what a file of news holds.

    Raises:
        InputError: the first violation, with file, item and field.
    """
    if not isinstance(data, Mapping) or not data.get("items"):
        raise InputError(path, "items", "the split is empty", "write at least one item")
    if not isinstance(data["items"], list):
        raise InputError(path, "items", "is not a list", "write each item as a list entry, '- id: ...'")
    for number, item in enumerate(data["items"]):
        _check_item(path, number, item)
    try:
        news = NewsFile.model_validate(data)
    except ValidationError as error:
        raise explain_validation(path, error, known_keys={"": list(NewsFile.model_fields)}) from None
    check_unique([(path, news)])
    return news


def open_split(split: str, path: str | Path | None, stage: ValidateNewsStage) -> NewsFile:
    """A split from its file, or drawn from its seed, cut to the items asked for.

    Raises:
        InputError: the file cannot be used.
        ValueError: the generator cannot build the size.
    """
    if stage.generator is None:
        assert path is not None  # as SplitSettings sees to
        news = load_news(path, split)
    else:
        from sys2ft.news.procedural import generate_news

        news = generate_news(split, stage.generator, stage.seed, stage.size)
    return news.model_copy(update={"items": news.items[: stage.items]})


def _check_item(path: str | Path, number: int, item: Any) -> None:
    """Check one item by itself, so that a message can name it by its id."""
    name = item.get("id", number) if isinstance(item, Mapping) else number
    if isinstance(item, Mapping) and not item.get("questions"):
        raise InputError(path, f"item '{name}'.questions", "the item has no questions", "write at least one question")
    keys = {"": list(Item.model_fields)}
    if isinstance(item, Mapping) and isinstance(item["questions"], list):
        keys |= {f"questions.{index}": list(Question.model_fields) for index in range(len(item["questions"]))}
    try:
        Item.model_validate(item)
    except ValidationError as error:
        raise explain_validation(path, error, field=f"item '{name}'", known_keys=keys) from None


def load_general(path: str | Path) -> GeneralFile:
    """Read and check general questions.

    Raises:
        InputError: the first violation, with file, question and field.
    """
    data = read_yaml(path)
    entries = data.get("questions") if isinstance(data, Mapping) else None
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get("id", number) if isinstance(entry, Mapping) else number
        try:
            GeneralQuestion.model_validate(entry)
        except ValidationError as error:
            keys = {"": list(GeneralQuestion.model_fields)}
            raise explain_validation(path, error, field=f"question '{name}'", known_keys=keys) from None
    try:
        return GeneralFile.model_validate(data)
    except ValidationError as error:
        raise explain_validation(path, error, known_keys={"": list(GeneralFile.model_fields)}) from None


def check_unique(files: Iterable[tuple[str | Path, NewsFile]]) -> None:
    """Item ids and question ids are unique over all files of a study.

    Raises:
        InputError: an id stands twice; names both places.
    """
    seen: dict[tuple[str, str], str | Path] = {}
    for path, news in files:
        for item in news.items:
            ids = [("item", item.id), *(("question", question.id) for question in item.questions)]
            for what, name in ids:
                if (what, name) in seen:
                    first = seen[what, name]
                    raise InputError(path, f"{what} '{name}'", f"the id stands already in {first}", "rename one")
                seen[what, name] = path


def item_rows(news: NewsFile) -> list[dict[str, Any]]:
    """Rows of the table `items`, in the order of the file."""
    return [
        {"split": news.split, "item": item.id, "title": item.title, "date": item.date, "text": item.text}
        for item in news.items
    ]


def question_rows(news: NewsFile) -> list[dict[str, Any]]:
    """Rows of the table `questions`, in the order of the file."""
    return [
        {
            "split": news.split,
            "item": item.id,
            "kind": question.kind,
            "why": question.why,
            "short_answer": question.short_answer or question.answer,
            "accepted_answers": list(question.accepted_answers),
            "statement": question.statement,
            "false_statement": question.false_statement,
            **asked(question),
        }
        for item in news.items
        for question in item.questions
    ]


def asked(question: GeneralQuestion) -> dict[str, Any]:
    """What a model is asked, as columns of the table `questions`."""
    return {
        "question_id": question.id,
        "question": question.question,
        "options": list(question.options),
        "gold": question.options.index(question.answer),
    }
