"""Every violation of a file of news at once, with its line, for whoever is writing one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sys2ft.errors import InputError, explain_entry
from sys2ft.news.audit import count_in
from sys2ft.news.items import Item, NewsFile, Question
from sys2ft.yaml_files import read_yaml


@dataclass(frozen=True, order=True)
class Violation:
    """Something in a file that is to be mended."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def news_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and all YAML files of the folders named.

    Raises:
        InputError: a folder has none.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not found:
            raise InputError(path, "", "the folder has no YAML file", "name a folder or a file of news")
        files += found
    return files


def check_files(files: Sequence[Path]) -> tuple[list[Violation], Counter[str]]:
    """All violations, in the order of files and lines, and the counts of `items` and `questions`."""
    violations: list[Violation] = []
    counts: Counter[str] = Counter()
    seen: dict[tuple[str, str], str] = {}
    for path in files:
        try:
            data = read_yaml(path)
        except InputError as error:
            violations.append(Violation(str(path), 1, str(error).removeprefix(f"{path}: ")))
            continue
        lines = read_lines(path)
        found = [*_violations_of_shape(path, data), *_violations_of_rules(data, seen, str(path))]
        violations += sorted(Violation(str(path), line_of(lines, loc), message) for loc, message in found)
        for item in _entries(data, "items"):
            counts["items"] += 1
            counts["questions"] += len(_entries(item, "questions"))
    return violations, counts


Loc = tuple[int | str, ...]


def read_lines(path: Path) -> dict[Loc, int]:
    """The line, from 1, on which each value of a YAML file begins, by its path of keys and indices."""
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    return {} if root is None else dict(_walk(root, ()))


def _walk(node: yaml.Node, loc: Loc) -> Iterator[tuple[Loc, int]]:
    yield loc, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*loc, key.value))
            yield (*loc, key.value), key.start_mark.line + 1  # the line of the key, where its value begins below it
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*loc, index))


def line_of(lines: Mapping[Loc, int], loc: Loc) -> int:
    """The line of a value; of what contains it, where it is missing."""
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 1)


def _entries(data: Any, key: str) -> list[Any]:
    entries = data.get(key) if isinstance(data, Mapping) else None
    return entries if isinstance(entries, list) else []


def _violations_of_shape(path: Path, data: Any) -> Iterator[tuple[Loc, str]]:
    """What the models refuse."""
    try:
        NewsFile.model_validate(data)
    except ValidationError as error:
        for entry in error.errors():
            loc = entry["loc"]
            keys = {".".join(map(str, loc[:-1])): _keys_at(loc[:-1])}
            message = str(explain_entry(path, entry, known_keys=keys))
            yield loc, message.removeprefix(f"{path}: ")


def _keys_at(loc: Loc) -> list[str]:
    models: dict[int, type[BaseModel]] = {0: NewsFile, 2: Item, 4: Question}
    return list(models[len(loc)].model_fields) if len(loc) in models else []


def _violations_of_rules(data: Any, seen: dict[tuple[str, str], str], file: str) -> Iterator[tuple[Loc, str]]:
    """Ids that stand twice, options that familiarity tells apart, questions that name their answer."""
    for number, item in enumerate(_entries(data, "items")):
        if not isinstance(item, Mapping):
            continue
        yield from _doubles(seen, "item", item.get("id"), file, ("items", number, "id"))
        text = item.get("text")
        for index, question in enumerate(_entries(item, "questions")):
            if not isinstance(question, Mapping):
                continue
            loc = ("items", number, "questions", index)
            yield from _doubles(seen, "question", question.get("id"), file, (*loc, "id"))
            options = [option for option in _entries(question, "options") if isinstance(option, str)]
            if isinstance(text, str):
                there = [option for option in options if count_in(option, text)]
                if there and len(there) < len(options):
                    problem = f"of the options only {', '.join(map(repr, there))} occur in the item"
                    yield (*loc, "options"), f"{problem}. To mend: let all occur in it, or none."
            asked, answer = question.get("question"), question.get("answer")
            if not (isinstance(asked, str) and isinstance(answer, str)):
                continue
            if count_in(answer, asked) and not all(count_in(option, asked) for option in options):
                yield (*loc, "question"), f"names its answer '{answer}'. To mend: ask without it."


def _doubles(seen: dict[tuple[str, str], str], what: str, name: Any, file: str, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(name, str):
        if (what, name) in seen:
            yield loc, f"the {what} id '{name}' stands in {seen[what, name]} too. To mend: choose another id."
        seen[what, name] = file
