"""What a statement says and what it uses, whatever it looks like: read from its syntax tree.

It does not say comments, docstrings and other bare constants, `pass`, positions, or the names of this project's
modules, which are where code stands and not what it does. The text is the same under every supported Python.
"""

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sys2ft.code_versions.names import PACKAGE, Surroundings, Target, split_import, survey

_NOT_SAID = {"ctx", "kind", "type_comment", "type_ignores"}
_MODULE_NAME = re.compile(rf"(?<![\w.]){PACKAGE}(?:\.\w+)+")


class Use(NamedTuple):
    """A target, and how it is spelled where it is used (modules by number)."""

    spelled: str
    target: Target


@dataclass
class Facts:
    """What was read of a statement.

    Attributes:
        text: what it says, spelled the same however it is formatted.
        uses: what it names of the project.
        runs: modules that it imports.
    """

    text: str
    uses: set[Use]
    runs: set[str]


def read_statement(statement: ast.stmt, around: Surroundings) -> Facts:
    """Read one statement of a module's top level; strings that name modules count as uses of the whole of them."""
    reader = _Reader(around)
    reader.read(statement)
    named = {Use("", Target(module, ())) for module in _modules_named(reader.strings, around)}
    return Facts("".join(reader.out), reader.uses | named, reader.runs)


def does_nothing(statement: ast.stmt) -> bool:
    """Whether it is `pass` or a bare constant, such as a docstring."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _modules_named(strings: set[str], around: Surroundings) -> Iterator[str]:
    """Modules whose names stand in a string, or begin with a string that ends in a dot."""
    for string in strings:
        if PACKAGE not in string:
            continue
        if f"-m {PACKAGE}" in string or (string == PACKAGE and "-m" in strings):
            yield f"{PACKAGE}.__main__"
        for name in _MODULE_NAME.findall(string):
            module = around.descend(Target(PACKAGE, tuple(name.split(".")[1:]))).module
            if module != PACKAGE:
                yield module
        if string.endswith("."):
            yield from (name for name in around.modules if name.startswith(string))


@dataclass
class _Scope:
    """A function or comprehension: the names that it hides, and what it imports itself."""

    hidden: set[str]
    imports: dict[str, list[Target]]
    used: set[str] = field(default_factory=set)


class _Reader:
    """Writes a tree's text, and notes what it uses, in one pass."""

    def __init__(self, around: Surroundings):
        self.around = around
        self.out: list[str] = []
        self.uses: set[Use] = set()
        self.runs: set[str] = set()
        self.strings: set[str] = set()
        self.modules: dict[str, int] = {}
        self.scopes: list[_Scope] = []
        self.in_annotation = self.in_class = False

    def read(self, value: Any) -> None:
        """A node, or a plain value of one."""
        if isinstance(value, ast.AST):
            _HOW.get(type(value), _Reader.any_node)(self, value)
        else:  # in ASCII, as Pythons differ in what they call printable
            self.out.append(f"{type(value).__name__} {value!a} ")

    def any_node(self, node: ast.AST, but: str = "") -> None:
        """Kind and fields; what is None or empty is left out, as older Pythons may not have the field."""
        self.out.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in _NOT_SAID and name != but:
                self.field(name, value)
        if not but:
            self.out.append(")")

    def field(self, name: str, value: Any) -> None:
        """One of a node's fields."""
        self.out.append(f" {name}=")
        before = self.in_annotation
        self.in_annotation = before or name in ("annotation", "returns")
        if isinstance(value, list):
            self.out.append("[")
            for entry in value:
                self.read(entry)
            self.out.append("]")
        else:
            self.read(value)
        self.in_annotation = before

    def idle(self, node: ast.Pass | ast.Expr) -> None:
        """A statement that may do nothing, and then is not said."""
        if not does_nothing(node):
            self.any_node(node)

    # ------------------------------------------------------------------------------------------------------- constants
    def constant(self, node: ast.Constant) -> None:
        """A string may name a module; in an annotation it is code."""
        self.read(node.value)
        if isinstance(node.value, str):
            self.strings.add(node.value)
            if self.in_annotation:
                self._quoted(node.value)

    def _quoted(self, annotation: str) -> None:
        try:
            tree = ast.parse(annotation.strip(), mode="eval")
        except SyntaxError:
            return
        said, self.out = self.out, []
        self.read(tree.body)
        self.out = said

    def joined(self, node: ast.JoinedStr) -> None:
        """An f-string; Pythons differ in how they cut its constant parts."""
        self.out.append("(JoinedStr ")
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            self.constant(ast.Constant(text))
            self.read(part)
            text = ""
        self.constant(ast.Constant(text))
        self.out.append(")")

    def subscript(self, node: ast.Subscript) -> None:
        """The strings of a `Literal` are no code, wherever it stands."""
        name = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        before = self.in_annotation
        self.in_annotation = before and name != "Literal"
        self.any_node(node)
        self.in_annotation = before

    # ----------------------------------------------------------------------------------------------------------- names
    def name(self, node: ast.Name) -> None:
        """A name by itself."""
        self._named(node.id, ())

    def attribute(self, node: ast.Attribute) -> None:
        """A name and its attributes, which may lead through modules."""
        chain: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            chain.append(root.attr)
            root = root.value
        if isinstance(root, ast.Name):
            self._named(root.id, tuple(reversed(chain)))
        else:
            self.any_node(node)

    def _named(self, name: str, attributes: tuple[str, ...]) -> None:
        targets = self._targets(name)
        spelled = ".".join((name, *attributes))
        for target in targets:
            place = self.around.descend(target)
            if (
                not place.chain
            ):  # the name of a module says where, not what; but that two are not the same says something
                module, rest = self.around.descend(Target(place.module, attributes))
                spelled = ".".join((f"<module {self.modules.setdefault(module, len(self.modules))}>", *rest))
        self.out.append(f"(Name {spelled})")
        self.uses.update(Use(spelled, Target(module, (*chain, *attributes))) for module, chain in targets)

    def _targets(self, name: str) -> list[Target]:
        """What of the project a name stands for; nothing for what is local, built in or of another package."""
        for scope in reversed(self.scopes):
            if name in scope.imports:
                scope.used.add(name)
                return scope.imports[name]
            if name in scope.hidden:
                return []
        own = [Target(self.around.module, (name,))] if name in self.around.definitions else []
        return own + self.around.imports.get(name, [])

    def imports(self, node: ast.Import | ast.ImportFrom) -> None:
        """Imports from the project say nothing themselves; others say what they import."""
        ours, others = split_import(node, self.around)
        self.out += others.values()
        for bound in ours:
            self.runs.update(bound.runs)
            if self.in_class or bound.name == "*":  # bound where names are not followed
                self.uses.add(Use("", bound.target))

    # ---------------------------------------------------------------------------------------------------------- scopes
    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        """Only the body is in the function's scope; decorators, defaults and annotations are outside."""
        self.any_node(node, but="body")
        body = node.body if isinstance(node.body, list) else [node.body]
        found = survey(body)
        imports: dict[str, list[Target]] = {}
        for statement in found.imports:
            for bound in split_import(statement, self.around)[0]:
                imports.setdefault(bound.name, []).append(bound.target)
        with self._scope((found.bound | _arguments(node.args)) - found.declared, imports) as scope:
            self.field("body", body)
        for name in imports.keys() - scope.used:  # imported there for a reason all the same
            self.uses.update(Use("", target) for target in imports[name])
        self.out.append(")")

    def class_(self, node: ast.ClassDef) -> None:
        """The names bound in a class's body hide none from its methods."""
        before, self.in_class = self.in_class, True
        self.any_node(node)
        self.in_class = before

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        """Its targets are its own; the first iterable is evaluated outside."""
        first, *others = node.generators
        self.out.append(f"({type(node).__name__}")
        self.field("first", first.iter)
        with self._scope(survey(generator.target for generator in node.generators).bound, {}):
            for name in ("target", "ifs", "is_async"):
                self.field(name, getattr(first, name))
            for name in ("elt", "key", "value"):
                if (value := getattr(node, name, None)) is not None:
                    self.field(name, value)
            self.field("others", others)
        self.out.append(")")

    @contextmanager
    def _scope(self, hidden: set[str], imports: dict[str, list[Target]]) -> Iterator[_Scope]:
        before, self.in_class = self.in_class, False
        self.scopes.append(_Scope(hidden, imports))
        yield self.scopes[-1]
        self.scopes.pop()
        self.in_class = before


def _arguments(arguments: ast.arguments) -> set[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


_HOW: dict[type[ast.AST], Callable[[_Reader, Any], None]] = {
    ast.Pass: _Reader.idle,
    ast.Expr: _Reader.idle,
    ast.Constant: _Reader.constant,
    ast.JoinedStr: _Reader.joined,
    ast.Subscript: _Reader.subscript,
    ast.Name: _Reader.name,
    ast.Attribute: _Reader.attribute,
    ast.Import: _Reader.imports,
    ast.ImportFrom: _Reader.imports,
    ast.FunctionDef: _Reader.function,
    ast.AsyncFunctionDef: _Reader.function,
    ast.Lambda: _Reader.function,
    ast.ClassDef: _Reader.class_,
    ast.ListComp: _Reader.comprehension,
    ast.SetComp: _Reader.comprehension,
    ast.GeneratorExp: _Reader.comprehension,
    ast.DictComp: _Reader.comprehension,
}
