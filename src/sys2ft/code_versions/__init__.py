"""The version of each stage's code: what makes results stale when code, not configuration, changed.

A version is raised by hand, as only a person knows whether a change of code changes results. So that none is
forgotten, `workflow/code-versions.yaml` also holds a fingerprint of the code that each version was declared for.
"""

import gc
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sys2ft.code_versions.reach import SCRIPTS, Project
from sys2ft.errors import InputError, suggest_name
from sys2ft.yaml_files import read_yaml

VERSIONS = Path("workflow/code-versions.yaml")
ALL = "all"
Results = Literal["changed", "same"]


@dataclass(frozen=True)
class Declared:
    """What is recorded of a stage.

    Attributes:
        version: of its code; results depend on it.
        fingerprint: of the code that it was declared for, 16 hexadecimal digits.
    """

    version: int
    fingerprint: str

    def line(self, stage: str) -> str:
        """As it stands in the file; in quotes, as YAML takes digits alone for a number."""
        return f'{stage}: {{version: {self.version}, fingerprint: "{self.fingerprint}"}}'


def read_versions(path: str | Path) -> dict[str, int]:
    """Stage to version, from `workflow/code-versions.yaml`.

    Raises:
        InputError: the file is missing, or a stage has no version that is a whole number, or no fingerprint.
    """
    return {stage: declared.version for stage, declared in read_declared(path).items()}


def read_declared(path: str | Path) -> dict[str, Declared]:
    """Stage to what is recorded of it.

    Raises:
        InputError: likewise.
    """
    stages = read_yaml(path)
    if not isinstance(stages, dict):
        form = Declared(1, "0123456789abcdef").line("fine_tune")
        raise InputError(path, "", "is not a mapping of stages to versions", f"write lines such as `{form}`")
    return {stage: _declared(path, stage, found) for stage, found in stages.items()}


def _declared(path: str | Path, stage: str, found: Any) -> Declared:
    if not isinstance(found, dict) or set(found) != {"version", "fingerprint"}:
        form = Declared(1, "0" * 16).line(stage)
        problem = f"is {found!r}, not a version and a fingerprint"
        raise InputError(path, stage, problem, f"write `{form}`, with the version it has, and run `{_mend(stage)}`")
    version, fingerprint = found["version"], found["fingerprint"]
    if type(version) is not int or version < 1:
        problem = f"is {version!r}, not a whole number from 1 on"
        raise InputError(path, f"{stage}.version", problem, "write the version as 1, 2, 3, ...")
    if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{16}", fingerprint):
        problem = f"is {fingerprint!r}, not 16 hexadecimal digits in quotes"
        mend = f"write the line as `{Declared(version, '0' * 16).line(stage)}` and run `{_mend(stage)}`"
        raise InputError(path, f"{stage}.fingerprint", problem, mend)
    return Declared(version, fingerprint)


def _mend(stage: str, results: Results = "same") -> str:
    return f"make code-version STAGE={stage} RESULTS={results}"


def fingerprints(root: Path, stages: Iterable[str]) -> dict[str, str]:
    """Stage to a fingerprint of its script and of all that it reaches in the package.

    Args:
        root: the project's folder.

    Raises:
        InputError: a stage has no script, or a file is not Python.
    """
    return _fingerprints(Project(root), stages)


def _fingerprints(project: Project, stages: Iterable[str]) -> dict[str, str]:
    """Without looking for garbage meanwhile: trees are many objects that hold no cycle, and it would take as long."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return {stage: project.fingerprint(stage) for stage in stages}
    finally:
        if collects:
            gc.enable()


def reached(root: Path, stage: str) -> list[str]:
    """The definitions that the fingerprint of a stage is made of, as `module:name`, its script's first.

    Raises:
        InputError: likewise.
    """
    units = [unit for unit in Project(root).reached(stage) if unit.label]
    places = sorted((unit.module != stage, unit.module, unit.label) for unit in units)
    return list(dict.fromkeys(f"{module}:{label}" for _, module, label in places))


def moved_stages(root: Path) -> dict[str, str]:
    """The stages whose code is not what their version was declared for, each with its new fingerprint.

    Raises:
        InputError: a stage has no script or no line in the file of versions, or a file cannot be read.
    """
    path, project = root / VERSIONS, Project(root)
    declared = read_declared(path)
    if missing := [stage for stage in project.stages if stage not in declared]:
        form = Declared(1, "0" * 16).line(missing[0])
        mend = f"add `{form}` where it stands in the pipeline, and run `{_mend(missing[0])}`"
        raise InputError(path, missing[0], "missing", mend)
    if gone := [stage for stage in declared if stage not in project.stages]:
        raise InputError(path, gone[0], f"there is no {SCRIPTS}/{gone[0]}.py", "remove the line, or write the script")
    found = _fingerprints(project, declared)
    return {stage: now for stage, now in found.items() if now != declared[stage].fingerprint}


def check(root: Path) -> list[str]:
    """A message for each stage whose code has moved, with its mend.

    Raises:
        InputError: likewise.
    """
    return [
        f"{VERSIONS}: {stage}: its code has changed and nobody said whether its results do. To mend: run "
        f"`{_mend(stage, 'changed')}` (its cells and all after them rerun) or `{_mend(stage)}`."
        for stage in moved_stages(root)
    ]


def declare(root: Path, stage: str, results: str) -> dict[str, int]:
    """Say of stages whether their results change with their code; the file of versions is written anew.

    Args:
        stage: one, several with commas between them, or `all`: those that moved.
        results: `changed` raises the version, also where no code moved (a rule or a library may change results too).

    Returns:
        The stages, with their versions now.

    Raises:
        InputError: an unknown stage or word, or nothing moved that is said to be the same; and as `moved_stages`.
    """
    from sys2ft.tables import atomic_path

    path = root / VERSIONS
    if results not in get_args(Results):
        raise InputError(path, "RESULTS", f"is '{results}'", "say changed or same")
    declared, moved = read_declared(path), moved_stages(root)
    names = list(moved) if stage == ALL else [name.strip() for name in stage.split(",")]
    if not names:
        raise InputError(path, "", "no stage's code has changed", "name the stages whose versions are to be raised")
    for name in names:
        if name not in declared:
            raise InputError(path, name, "there is no such stage", suggest_name(name, list(declared)))
        if results == "same" and name not in moved:
            raise InputError(path, name, "its code has not changed since its version was declared", "leave it out")
    now = {name: moved.get(name, declared[name].fingerprint) for name in names}
    raised = 1 if results == "changed" else 0
    declarations = {name: Declared(declared[name].version + raised, found) for name, found in now.items()}
    text = _rewritten(path, declarations)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return {name: declaration.version for name, declaration in declarations.items()}


def _rewritten(path: Path, declarations: dict[str, Declared]) -> str:
    """The file of versions with other lines for some stages; all else in it stays."""
    text = path.read_text(encoding="utf-8")
    for stage, declaration in declarations.items():
        line = declaration.line(stage)
        text, count = re.subn(rf"^{stage}:[ \t]*{{[^}}\n]*}}", line, text, flags=re.MULTILINE)
        if not count:
            raise InputError(path, stage, "does not stand on a line of its own", f"write it as `{line}`")
    return text
