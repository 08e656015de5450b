"""Bad input: one message that names the file, the field and the mend."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

SOURCE_KINDS = ("hub", "directory", "gguf", "random")


class InputError(ValueError):
    """Something a user wrote cannot be used; the message says where and how to mend it."""

    def __init__(self, file: str | Path, field: str, problem: str, mend: str):
        where = f"{file}: {field}" if field else f"{file}"
        super().__init__(f"{where}: {problem}. To mend: {mend}.")


def suggest_name(name: str, known: list[str]) -> str:
    """The mend for an unknown name: the closest known one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"write '{close[0]}'" if close else f"use one of: {', '.join(sorted(known)) or 'none exist yet'}"


def explain_validation(
    file: str | Path, error: ValidationError, field: str = "", known_keys: dict[str, list[str]] | None = None
) -> InputError:
    """Say the first error that pydantic found in the words of `InputError`.

    `known_keys` maps a field ("" for the top) to the keys it may have, for suggestions.
    """
    return explain_entry(file, error.errors()[0], field, known_keys)


def explain_entry(
    file: str | Path, entry: Mapping[str, Any], field: str = "", known_keys: dict[str, list[str]] | None = None
) -> InputError:
    """The same for one entry of `ValidationError.errors()`."""
    loc = entry["loc"]
    # pydantic names the chosen kind of a source too; the user's file has no such key
    path = [str(part) for i, part in enumerate(loc) if part not in SOURCE_KINDS or i == 0 or loc[i - 1] != "source"]
    where = ".".join([field, *path] if field else path)
    if entry["type"] == "extra_forbidden":
        siblings = (known_keys or {}).get(".".join(path[:-1]), [])
        return InputError(file, where, "unknown key", suggest_name(path[-1], siblings) if siblings else "remove it")
    if entry["type"] == "missing":
        return InputError(file, where, "missing", f"add '{path[-1]}'")
    problem = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "value_error" and "; " in problem:
        problem, mend = problem.split("; ", 1)
        return InputError(file, where, problem, mend)
    return InputError(file, where, problem, f"replace {entry['input']!r}"[:200])
