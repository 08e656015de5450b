"""What code a stage reaches, definition by definition, and the fingerprint of it.

A stage reaches its script. What is reached reaches the definitions that it names, through imports and re-exports, and
runs the modules that it stands in or imports. A module that runs reaches its statements that do more than define
names, and runs what it imports. A module that is used in any other way than for something in it is reached whole, and
so is one that a string names.

Not seen: names put together at run time, a class that registers its subclasses, files of data, other packages' code,
and an import of another package for what the import itself does.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sys2ft.code_versions.modules import Module, Unit
from sys2ft.code_versions.names import PACKAGE, Target
from sys2ft.errors import InputError

SCRIPTS = Path("workflow/scripts")


class Event(NamedTuple):
    """A module that runs, or that is reached whole."""

    module: str
    whole: bool


Reached = Unit | Event


class Project:
    """The code of a project: the package and the stages' scripts.

    Args:
        root: the project's folder.
    """

    def __init__(self, root: Path):
        source, scripts = root / "src", root / SCRIPTS
        self.paths = {path.stem: path for path in sorted(scripts.glob("*.py"))}
        self.stages = list(self.paths)
        for path in sorted((source / PACKAGE).rglob("*.py")):  # a package before a module of the same name
            parts = path.relative_to(source).with_suffix("").parts
            self.paths.setdefault(".".join(parts[:-1] if path.name == "__init__.py" else parts), path)
        self._modules: dict[str, Module] = {}
        self._after: dict[Reached, list[Reached]] = {}
        self._digests: dict[Unit, str] = {}

    def fingerprint(self, stage: str) -> str:
        """16 hexadecimal digits of what the code of a stage says; definitions that say the same count once.

        Raises:
            InputError: the stage has no script, or a file is not Python.
        """
        digests = {self._digest(unit) for unit in self.reached(stage)}
        return _hash("\n".join(sorted(digests)))[:16]

    def reached(self, stage: str) -> list[Unit]:
        """What a stage reaches, in no order.

        Raises:
            InputError: likewise.
        """
        if stage not in self.stages:
            problem = f"the stage '{stage}' has no script"
            raise InputError(SCRIPTS / f"{stage}.py", "", problem, f"write it, or use one of: {', '.join(self.stages)}")
        reached: set[Reached] = set()
        todo: list[Reached] = [Event(stage, False), *self._module(stage).units]
        while todo:
            one = todo.pop()
            if one not in reached:
                reached.add(one)
                todo += self._next(one)
        return [one for one in reached if isinstance(one, Unit)]

    def _module(self, name: str) -> Module:
        if name not in self._modules:
            self._modules[name] = Module(name, self.paths[name], self.paths.keys())
        return self._modules[name]

    def _next(self, one: Reached) -> list[Reached]:
        if one not in self._after:
            self._after[one] = list(self._next_of_unit(one) if isinstance(one, Unit) else self._next_of_module(one))
        return self._after[one]

    def _next_of_unit(self, unit: Unit) -> Iterator[Reached]:
        for module in unit.facts.runs:
            yield Event(module, False)
        for use in unit.facts.uses:
            yield from self._resolve(use.target)

    def _next_of_module(self, event: Event) -> Iterator[Reached]:
        module = self._module(event.module)
        if event.whole:
            yield Event(event.module, False)
            yield from module.units
            for targets in module.around.imports.values():
                for target in targets:
                    yield from self._resolve(target)
            return
        yield from module.effects
        for name in (event.module.rpartition(".")[0], *module.runs):
            if name in self.paths:
                yield Event(name, False)

    def _resolve(self, target: Target, seen: frozenset[Target] = frozenset()) -> Iterator[Reached]:
        """What a target is: definitions, or a whole module where no definition of it can be told."""
        name, chain = target
        if name not in self.paths or target in seen:
            return
        if not chain:
            yield Event(name, True)
            return
        yield Event(name, False)
        module, submodule = self._module(name), f"{name}.{chain[0]}"
        yield from module.definitions.get(chain[0], ())
        for source in module.around.imports.get(chain[0], ()):
            yield from self._resolve(Target(source.module, source.chain + chain[1:]), seen | {target})
        if submodule in self.paths:
            yield from self._resolve(Target(submodule, chain[1:]))
        elif chain[0] not in module.definitions and chain[0] not in module.around.imports:
            yield Event(name, True)

    def _digest(self, unit: Unit) -> str:
        """Of what it says, and of what each name in it stands for."""
        if unit not in self._digests:
            links = sorted(f"{use.spelled}={self._said(use.target)}" for use in unit.facts.uses)
            self._digests[unit] = _hash("\n".join([unit.facts.text, *links]))
        return self._digests[unit]

    def _said(self, target: Target) -> str:
        said: list[str] = []
        for one in self._resolve(target):
            if isinstance(one, Unit):
                said.append(_hash(one.facts.text))
            elif one.whole:
                said += [_hash(unit.facts.text) for unit in self._module(one.module).units]
        return " ".join(sorted(said))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
