"""The task files of one's own that lm_eval is given, known without importing it."""

import re
from pathlib import Path

from sys2ft.errors import InputError
from sys2ft.settings.choices import RetentionSettings

NAME = re.compile(r"^(?:task|tag|group):\s*(\S+)", re.MULTILINE)
DATA = re.compile(r"^  path:\s*(\S+)", re.MULTILINE)


def task_files(settings: RetentionSettings) -> list[str]:
    """What the chosen tasks of `include` are made of: their YAML files, the programs beside them, and the data that a
    task names as `metadata.path`; an edit of one makes what it measured stale. Tasks that lm_eval ships have none.

    Raises:
        InputError: a task names data that is not there.
    """
    files: list[str] = []
    for path in sorted(Path(settings.include).glob("**/*.yaml")):
        text = path.read_text(encoding="utf-8")
        if set(NAME.findall(text)) & set(settings.tasks):
            files.append(str(path))
            for data in DATA.findall(text):
                if not Path(data).is_file():
                    raise InputError(path, "metadata.path", f"there is no file {data}", "correct the path")
                files.append(data)
    programs = [str(path) for path in sorted(Path(settings.include).glob("**/*.py"))] if files else []
    return sorted({*files, *programs})
