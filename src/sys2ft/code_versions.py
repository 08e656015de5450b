"""The version of each stage's code: what makes results stale when code, not configuration, changed."""

from pathlib import Path

from sys2ft.errors import InputError
from sys2ft.yaml_files import read_yaml


def read_versions(path: str | Path) -> dict[str, int]:
    """Stage to version, from `workflow/code-versions.yaml`.

    Raises:
        InputError: the file is missing, or a version is not a whole number.
    """
    versions = read_yaml(path)
    if not isinstance(versions, dict):
        raise InputError(path, "", "is not a mapping of stages to versions", "write lines such as `fine_tune: 1`")
    for stage, version in versions.items():
        if not isinstance(version, int):
            raise InputError(path, stage, f"is {version!r}, not a whole number", "write the version as 1, 2, 3, ...")
    return versions
