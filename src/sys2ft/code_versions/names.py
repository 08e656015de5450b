"""What names mean: what a scope binds, what an import brings from this project, and from other packages."""

import ast
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

PACKAGE = "sys2ft"


class Target(NamedTuple):
    """Something of a module, and attributes of it; without a chain the module itself."""

    module: str
    chain: tuple[str, ...]


class ProjectImport(NamedTuple):
    """A name that an import binds to something of this project, and the modules that it runs."""

    name: str
    target: Target
    runs: tuple[str, ...]


@dataclass
class Surroundings:
    """What the statements of one module see.

    Attributes:
        module: its dotted name.
        is_package: whether it is an `__init__`.
        modules: the dotted names of all modules of the project.
        definitions: the names that it defines.
        imports: the names that it imports from the project; a name may be bound more than once.
    """

    module: str
    is_package: bool
    modules: Collection[str]
    definitions: Collection[str] = ()
    imports: dict[str, list[Target]] = field(default_factory=dict)

    def descend(self, target: Target) -> Target:
        """The same, with the chain's leading submodules counted to the module."""
        module, chain = target
        while chain and f"{module}.{chain[0]}" in self.modules:
            module, chain = f"{module}.{chain[0]}", chain[1:]
        return Target(module, chain)


@dataclass
class Survey:
    """What the statements of one scope do to its names.

    Attributes:
        bound: names that they bind, by assignment, definition, import, pattern, ...
        declared: names that they declare to be the module's (`global`).
        imports: their imports.
    """

    bound: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)


def survey(nodes: Iterable[ast.AST]) -> Survey:
    """Look through statements or expressions, but not into functions and classes, which are scopes of their own."""
    found, todo = Survey(), list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                found.bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.imports.append(node)
            found.bound.update(_bound_by(node, alias) for alias in node.names)
        elif isinstance(node, ast.Global):
            found.declared.update(node.names)
        elif isinstance(node, ast.comprehension):  # its target is bound in a scope of its own
            todo += [node.iter, *node.ifs]
        elif not isinstance(node, ast.Lambda):
            if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
                found.bound.add(node.name)
            if isinstance(node, ast.MatchMapping) and node.rest:
                found.bound.add(node.rest)
            todo += ast.iter_child_nodes(node)
    return found


def split_import(node: ast.Import | ast.ImportFrom, around: Surroundings) -> tuple[list[ProjectImport], dict[str, str]]:
    """What an import binds: names of this project; and those of other packages, each with what is imported."""
    ours: list[ProjectImport] = []
    others: dict[str, str] = {}
    for alias in node.names:
        bound = _bound_by(node, alias)
        if isinstance(node, ast.Import):
            said, runs = f"(import {alias.name} as {bound})", [alias.name]
            target = Target(alias.name if alias.asname else bound, ())
        else:
            base = _absolute(node, around)
            said, runs = f"(from {base} import {alias.name} as {bound})", [base, f"{base}.{alias.name}"]
            target = Target(base, () if alias.name == "*" else (alias.name,))
        if target.module in around.modules:
            ours.append(ProjectImport(bound, target, tuple(name for name in runs if name in around.modules)))
        else:
            others[bound] = others.get(bound, "") + said
    return ours, others


def _bound_by(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    return alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)


def _absolute(node: ast.ImportFrom, around: Surroundings) -> str:
    """The module that is imported from, relative or not."""
    if not node.level:
        return node.module or ""
    parts = around.module.split(".")
    above = parts[: len(parts) - node.level + (1 if around.is_package else 0)]
    return ".".join([*above, *([node.module] if node.module else [])])
