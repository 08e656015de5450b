"""The files in `config/prompts/`: what a teacher is told for one kind of study data, with a version."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from sys2ft.settings.base import Frozen, check_template
from sys2ft.yaml_files import load_yaml


class EntriesPrompt(Frozen):
    """A first step: the teacher writes a list, and each study row goes on from an entry of it."""

    prompt: str
    """{title}, {number}."""
    read: Literal["questions", "lines"]
    """`questions`: the lines that end in a question mark; `lines`: the numbered lines, or all where none is."""
    use: Literal["each", "cycle", "pairs"]
    """`each`: an entry is one study row. `cycle`: the rows go round the entries. `pairs`: round their pairs."""

    @field_validator("prompt")
    @classmethod
    def _prompt(cls, text: str) -> str:
        return check_template(text, {"title", "number"}, {"number"})


class KindPrompts(Frozen):
    """What a teacher is told; all prompts follow the news."""

    version: int = Field(ge=1)
    """Stands in the tables beside what was written; raise it with every change of a prompt."""
    context: Literal["item", "split"] = "item"
    """The news before the prompt: the item alone, or the whole split with the item named."""
    entries: EntriesPrompt | None = None
    write: str
    """Its completion is a study row: {title}, needed where the split is the context; {entry} after entries, {first} and
    {second} after pairs."""
    check: str | None = None
    """Asks the teacher whether the news supports a row, to be answered yes or no: {text}, {question}, {title}."""

    @property
    def has_questions(self) -> bool:
        """Whether an entry is the question that its study row answers."""
        return self.entries is not None and (self.entries.read, self.entries.use) == ("questions", "each")

    @field_validator("write")
    @classmethod
    def _write(cls, text: str, info: ValidationInfo) -> str:
        entries = info.data.get("entries")
        given = {"first", "second"} if entries and entries.use == "pairs" else {"entry"} if entries else set()
        named = {"title"} if info.data.get("context") == "split" else set()
        return check_template(text, {"title"} | given, given | named)

    @field_validator("check")
    @classmethod
    def _check(cls, text: str | None, info: ValidationInfo) -> str | None:
        entries = info.data.get("entries")
        question = {"question"} if entries and (entries.read, entries.use) == ("questions", "each") else set()
        return None if text is None else check_template(text, {"title", "text"} | question, {"text"})


def load_prompts(path: str | Path) -> KindPrompts:
    """Read a file of prompts.

    Raises:
        InputError: it is missing, is not YAML, or lacks a prompt or a placeholder; names the field.
    """
    return load_yaml(path, KindPrompts, entries=EntriesPrompt)
