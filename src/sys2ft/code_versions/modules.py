"""A file of code as units that can be reached one by one: its definitions, and what it does when it runs."""

import ast
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

from sys2ft.code_versions.names import Surroundings, split_import, survey
from sys2ft.code_versions.reading import Facts, does_nothing, read_statement
from sys2ft.errors import InputError


class Unit:
    """A statement of a module's top level, or a name that one imports from another package.

    Attributes:
        module: the dotted name of its module.
        label: the names that it defines, or its line; empty for an import.
        statement: None for an import.
        said: what an import says; of a statement, its number among those whose order matters.
    """

    def __init__(self, around: Surroundings, label: str, statement: ast.stmt | None, said: str = ""):
        self.module, self.label, self.statement, self.said = around.module, label, statement, said
        self._around = around

    @cached_property
    def facts(self) -> Facts:
        """What was read of it, once it is reached."""
        if self.statement is None:
            return Facts(self.said, set(), set())
        facts = read_statement(self.statement, self._around)
        return Facts(facts.text + self.said, facts.uses, facts.runs)


class Module:
    """One file.

    Attributes:
        around: what its statements see; also what it imports from the project.
        units: all of them.
        definitions: by name; a name may be defined more than once.
        effects: statements that do something when the module runs, beside defining names.
        runs: the modules that it imports when it runs.

    Raises:
        InputError: the file is not Python.
    """

    def __init__(self, name: str, path: Path, modules: Collection[str]):
        self.around = Surroundings(name, path.name == "__init__.py", modules)
        self.units: list[Unit] = []
        self.definitions: dict[str, list[Unit]] = {}
        self.effects: list[Unit] = []
        self.runs: set[str] = set()
        for statement, runs in _statements(_parse(path)):
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                self._add_import(statement, runs)
            else:
                self._add_statement(statement)
        self.around.definitions = frozenset(self.definitions)
        self._number()

    def _add_import(self, statement: ast.Import | ast.ImportFrom, runs: bool) -> None:
        self._follow(statement, runs)
        if any(alias.name == "*" for alias in statement.names):
            self._add(Unit(self.around, "", statement), (), True)
            return
        for name, said in split_import(statement, self.around)[1].items():
            changes_all = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
            self._add(Unit(self.around, "", None, said), (name,), changes_all)

    def _add_statement(self, statement: ast.stmt) -> None:
        found = survey([statement])
        for inner in found.imports:
            self._follow(inner, True)
        label = ", ".join(sorted(found.bound)) or f"(line {statement.lineno})"
        self._add(Unit(self.around, label, statement), found.bound, self._has_effect(statement))

    def _follow(self, statement: ast.Import | ast.ImportFrom, runs: bool) -> None:
        for bound in split_import(statement, self.around)[0]:
            self.around.imports.setdefault(bound.name, []).append(bound.target)
            if runs:
                self.runs.update(bound.runs)

    def _add(self, unit: Unit, names: Collection[str], has_effect: bool) -> None:
        self.units.append(unit)
        for name in names:
            self.definitions.setdefault(name, []).append(unit)
        if has_effect:
            self.effects.append(unit)

    def _has_effect(self, statement: ast.stmt) -> bool:
        """Whether it does more than define names: also a decorator of this project may keep what it decorates."""
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return any(self._is_ours(decorator) for decorator in statement.decorator_list)
        if isinstance(statement, ast.Assign):
            return any(isinstance(node, (ast.Attribute, ast.Subscript)) for node in _stored(statement.targets))
        if isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
            return not isinstance(statement.target, ast.Name)
        return type(statement).__name__ != "TypeAlias"  # which Python 3.11 does not have

    def _is_ours(self, decorator: ast.expr) -> bool:
        while isinstance(decorator, (ast.Attribute, ast.Call)):
            decorator = decorator.value if isinstance(decorator, ast.Attribute) else decorator.func
        name = decorator.id if isinstance(decorator, ast.Name) else ""
        return name in self.around.imports or any(unit.statement for unit in self.definitions.get(name, ()))

    def _number(self) -> None:
        """The order of definitions does not matter, but that of those with one name, and of effects."""
        for name in sorted(self.definitions):
            units = self.definitions[name]
            if len(units) > 1:
                for number, unit in enumerate(units):
                    unit.said += f"({name} {number})" if unit.statement else ""
        for number, unit in enumerate(self.effects):
            unit.said += f"(effect {number})"


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise InputError(path, f"line {error.lineno}", f"is not Python ({error.msg})", "correct it there") from None


def _statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, bool]]:
    """Statements that say something, and whether they run: those for type checkers do not."""
    for statement in tree.body:
        if isinstance(statement, ast.If) and not statement.orelse and _is_type_checking(statement.test):
            yield from ((inner, False) for inner in statement.body)
        elif not does_nothing(statement):
            yield statement, True


def _is_type_checking(test: ast.expr) -> bool:
    return (test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")) == "TYPE_CHECKING"


def _stored(targets: list[ast.expr]) -> Iterator[ast.expr]:
    """The single targets of an assignment to several."""
    for target in targets:
        if isinstance(target, (ast.Tuple, ast.List)):
            yield from _stored(target.elts)
        else:
            yield target.value if isinstance(target, ast.Starred) else target
