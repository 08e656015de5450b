"""The task files of one's own that lm_eval is given, known without importing it."""

from collections.abc import Iterator
from os.path import normpath
from pathlib import Path
from typing import Any

import yaml

from sys2ft.errors import InputError
from sys2ft.settings.choices import RetentionSettings


class _Loader(yaml.SafeLoader):
    """Reads lm_eval's tags (`!function`) as text."""


_Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))


def task_files(settings: RetentionSettings) -> list[str]:
    """What the chosen tasks of `include` are made of: their YAML files with those that these include or group, the
    programs in the folder, and the data that they name as `metadata.path` or `data_files`; an edit of one makes what it
    measured stale. Tasks that lm_eval ships have none.

    Raises:
        InputError: a task file cannot be read, or names data that is not there.
    """
    folder = Path(settings.include)
    described = {Path(normpath(path)): _read(path) for path in sorted(folder.glob("**/*.yaml"))}
    wanted, included, files = set(settings.tasks), set[Path](), set[Path]()
    while found := {p for p, task in described.items() if p not in files and (wanted & _names(task) or p in included)}:
        files |= found
        for path in found:
            wanted |= set(_texts(described[path].get("task")))
            included |= {Path(normpath(path.parent / text)) for text in _texts(described[path].get("include"))}
        described |= {path: _read(path) for path in included if path not in described and path.is_file()}
    data = {text for path in files for text in _data(path, described[path])}
    programs = {str(path) for path in folder.glob("**/*.py")} if files else set()
    return sorted({*map(str, files), *programs, *data})


def _read(path: Path) -> dict[str, Any]:
    try:
        task = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, "", f"is not YAML ({getattr(error, 'problem', error)})", "correct it") from None
    return task if isinstance(task, dict) else {}


def _names(task: dict[str, Any]) -> set[str]:
    """What a task can be called by."""
    own = task.get("task")  # of a group a list: its members
    return {*_texts(task.get("group")), *_texts(task.get("tag")), *([own] if isinstance(own, str) else [])}


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value, however deep: names stand alone, in lists, and in the entries of a group."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _texts(entry)


def _data(path: Path, task: dict[str, Any]) -> Iterator[str]:
    """The data files that a task names."""
    metadata, loading = task.get("metadata") or {}, task.get("dataset_kwargs") or {}
    told = [("metadata.path", text) for text in _texts(metadata.get("path"))]
    told += [("dataset_kwargs.data_files", text) for text in _texts(loading.get("data_files"))]
    for field, text in told:
        if "://" in text or "*" in text:
            continue
        if not Path(text).is_file():
            raise InputError(path, field, f"there is no file {text}", "correct the path")
        yield text
