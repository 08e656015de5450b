"""What counts as a change of a stage's code: the reach of made-up stages, rule by rule, and of the real ones."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sys2ft.code_versions import (
    check,
    declare,
    fingerprints,
    moved_stages,
    reached,
    read_declared,
    read_versions,
)  # fmt: skip
from sys2ft.errors import InputError

ROOT = Path(__file__).parents[2]
STAGES = sorted(path.stem for path in (ROOT / "workflow/scripts").glob("*.py"))
BEFORE_TRAINING = {
    "prepare_model", "validate_news", "prepare_replay", "generate_study", "filter_study", "compose_training",
}  # fmt: skip
SCRIPT = "from sys2ft.a import f\n\nprint(f())\n"


def write_files(root: Path, files: dict[str, str]) -> Path:
    """A project with one stage, `stage`; files are named from the package on, `stage.py` is the script."""
    for name, text in {"__init__.py": "", "stage.py": SCRIPT, **files}.items():
        path = root / ("workflow/scripts" if name == "stage.py" else "src/sys2ft") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name not in ("scripts", "sys2ft"):
            (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    return root


def fingerprint(root: Path, files: dict[str, str]) -> str:
    shutil.rmtree(root / "src", ignore_errors=True)
    return fingerprints(write_files(root, files), ["stage"])["stage"]


# ------------------------------------------------------------------------------------------------ what changes nothing
PLAIN = """
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RATE = 0.5


@dataclass
class Point:
    x: int
    y: int = 2


def f(points: Iterable[Point] = (), *, scale=1.0):
    kept = [p for p in points if p.x > RATE]
    return f"{len(kept)} of {scale!r:>8}", math.pi, Sequence
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("RATE = 0.5", "# a rate\nRATE = 0.5  # half\n\n\n", id="comments and empty lines"),
        pytest.param("\nimport math", '"""A module."""\nimport math', id="docstring of a module"),
        pytest.param("RATE = 0.5", 'RATE = 0.5\n"""Half of all."""', id="docstring of a constant"),
        pytest.param("class Point:\n", 'class Point:\n    """A point."""\n\n', id="docstring of a class"),
        pytest.param("    x: int\n", '    x: int\n    """Right."""\n', id="docstring of a field"),
        pytest.param("    kept =", '    """Count."""\n    kept =', id="docstring of a function"),
        pytest.param("    kept =", "    pass\n    kept =", id="pass"),
        pytest.param("x: int\n    y: int = 2", "x: int; y: int = (2)", id="one line and parentheses"),
        pytest.param('f"{len(kept)} of {scale!r:>8}"', "f'{ len(kept) }' ' of ' f'{scale!r:>8}'", id="quotes"),
        pytest.param("0.5", "5e-1", id="spelling of a number"),
        pytest.param("import Iterable, Sequence", "import Sequence, Iterable", id="order of an import"),
        pytest.param("import Iterable, Sequence", "import Any, Iterable, Sequence", id="import that nothing uses"),
        pytest.param("import math\n", "import math\nfrom sys2ft.b import g\n", id="import of code that nothing uses"),
        pytest.param("RATE = 0.5\n", "RATE = 0.5\nOTHER = RATE\n\ndef g():\n    pass\n", id="unused definitions"),
    ],
)
def test_what_does_not_change_what_code_does_changes_no_fingerprint(tmp_path, old, new):
    files = {"a.py": PLAIN, "b.py": "def g():\n    return 1\n"}
    assert old in PLAIN
    assert fingerprint(tmp_path, files) == fingerprint(tmp_path, files | {"a.py": PLAIN.replace(old, new, 1)})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.25"), ("y: int = 2", "y: int = 3"), ("scale=1.0", "scale=2.0"), (">8", ">9"), ("!r", "!s"),
        ("> RATE", ">= RATE"), ("p.x", "p.y"), ("x: int", "x: float"), ("@dataclass", "@dataclass(frozen=True)"),
        ("import math", "import cmath as math"), ("kept = [", "global RATE; kept = ["), ("0.5", "'0.5'"), ("2", "2.0"),
        ("from dataclasses", "from __future__ import annotations\nfrom dataclasses"), ("if p.x", "if p if p.x"),
    ],
)  # fmt: skip
def test_any_other_change_of_what_is_reached_changes_it(tmp_path, old, new):
    assert old in PLAIN
    assert fingerprint(tmp_path, {"a.py": PLAIN}) != fingerprint(tmp_path, {"a.py": PLAIN.replace(old, new, 1)})


def test_the_order_of_definitions_does_not_matter(tmp_path):
    body = ast.parse(PLAIN).body
    backwards = "\n".join(ast.unparse(statement) for statement in reversed(body))
    assert fingerprint(tmp_path, {"a.py": PLAIN}) == fingerprint(tmp_path, {"a.py": backwards})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("X = 1", "X = 2"),
        ("def g():\n    return 1", "g = print"),
        ("X.append(1)", "X.append(2)"),
        ("os.nice(1)", "X[0] = 1"),
    ],
)
def test_the_order_of_what_follows_each_other_matters(tmp_path, first, second):
    """Definitions of one name, and statements that do something."""
    text = "import os\n{}\n{}\ndef f():\n    return g, X\n"
    one, other = (fingerprint(tmp_path, {"a.py": text.format(*pair)}) for pair in ((first, second), (second, first)))
    assert one != other


NAMED = {
    "stage.py": "from sys2ft.a import f, near\nimport sys2ft.b.old\nprint(f(), near(), sys2ft.b.old.TWO)\n",
    "a.py": (
        "from sys2ft.b import old\nfrom sys2ft.b import old as other\n\n"
        "def f():\n    return old.ONE, other.ONE, within()\n\n"
        "def near():\n    from sys2ft.b.old import TWO as two\n    return two\n\n"
        "def within():\n    import sys2ft.b.old as old\n    return old.ONE\n"
    ),
    "b/old.py": "ONE = 1\nTWO = 2\n",
}


def test_a_renamed_module_changes_no_fingerprint(tmp_path):
    renamed = {name.replace("old", "new"): re.sub(r"\bold\b", "new", text) for name, text in NAMED.items()}
    assert renamed["b/new.py"] == NAMED["b/old.py"]
    before = fingerprint(tmp_path, NAMED)
    assert fingerprint(tmp_path, renamed) == before
    for name in ("ONE", "TWO"):
        changed = renamed["b/new.py"].replace(f"{name} = ", f"{name} = -")
        assert fingerprint(tmp_path, renamed | {"b/new.py": changed}) != before


def test_a_definition_that_moved_to_another_file_changes_no_fingerprint(tmp_path):
    a, b = "from sys2ft.b import g\ndef f():\n    return g() + X\n", "def g():\n    return 1\n"
    here = {"a.py": f"{a}X = 3\n", "b.py": b}
    there = {"a.py": f"from sys2ft.c import X\n{a}", "b.py": b, "c.py": "X = 3\n"}
    assert fingerprint(tmp_path, here) == fingerprint(tmp_path, there)


def test_two_names_that_change_places_change_the_fingerprint(tmp_path):
    """The same definitions are reached; what each name stands for is not the same."""
    files = {
        "a.py": "from sys2ft.b import X\nfrom sys2ft.c import f as g\ndef f():\n    return X, g()\n",
        "b.py": "X = 1\n", "c.py": "from sys2ft.d import X\ndef f():\n    return X, 0\n", "d.py": "X = 2\n",
    }  # fmt: skip
    exchanged = {"a.py": files["a.py"].replace(".b", ".d"), "c.py": files["c.py"].replace(".d", ".b")}
    assert fingerprint(tmp_path, files) != fingerprint(tmp_path, files | exchanged)


def test_two_modules_that_change_places_change_the_fingerprint(tmp_path):
    files = {"a.py": "from sys2ft import b, c\ndef f():\n    return b.X - c.X\n", "b.py": "X = 1\n", "c.py": "X = 2\n"}
    exchanged = {"a.py": files["a.py"].replace("b.X - c.X", "c.X - b.X")}
    assert fingerprint(tmp_path, files) != fingerprint(tmp_path, files | exchanged)


# ---------------------------------------------------------------------------------------------------------- the reach
# Each case: files, the file that is changed, and what in it; one that does not count is marked.
REACHED = {
    "call": ({"a.py": "def f():\n    return g()\ndef g():\n    return 1\n"}, "a.py", "1"),
    "through others": (
        {"a.py": "from sys2ft.b import g as h\ndef f():\n    return h()\n", "b.py": "X = 1\ndef g():\n    return X\n"},
        "b.py", "1",
    ),
    "default": ({"a.py": "X = 1\ndef f(x=X):\n    return x\n"}, "a.py", "1"),
    "default of a keyword": ({"a.py": "X = 1\ndef f(*, x=X):\n    return x\n"}, "a.py", "1"),
    "default of a lambda": ({"a.py": "X = 1\nf = lambda x=X: x\n"}, "a.py", "1"),
    "decorator": ({"a.py": "def d(f):\n    return f\n@d\ndef f():\n    pass\n"}, "a.py", "return f"),
    "annotation": ({"a.py": "A = int | str\ndef f(x: A = 0):\n    pass\n"}, "a.py", "int"),
    "annotation in quotes": ({"a.py": "class A:\n    x = 1\ndef f() -> 'list[A] | None':\n    pass\n"}, "a.py", "1"),
    "annotation within another": ({"a.py": "class A:\n    x = 1\ndef f(*a: list['A']):\n    pass\n"}, "a.py", "1"),
    "annotation of a variable": ({"a.py": "A = int\nx: A\ndef f():\n    return x\n"}, "a.py", "int"),
    "import for type checkers": (
        {
            "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sys2ft.b import A\n"
            "def f(x: 'A' = None):\n    pass\n",
            "b.py": "class A:\n    x = 1\n",
        },
        "b.py", "1",
    ),
    "base class": ({"a.py": "class B:\n    x = 1\nclass f(B):\n    pass\n"}, "a.py", "1"),
    "class body": ({"a.py": "X = 1\nclass f:\n    x = X\n"}, "a.py", "1"),
    "method": ({"a.py": "X = 1\nclass f:\n    X = X\n    def __init__(self):\n        self.x = X\n"}, "a.py", "1"),
    "name of a field": (
        {"a.py": "X = 1\nclass f:\n    X: int = 0\n    def g(self):\n        return X\n"}, "a.py", "= 1",
    ),
    "comprehension": ({"a.py": "X = 1\ndef f():\n    return [x + X for x in ()]\n"}, "a.py", "1"),
    "first iterable": ({"a.py": "X = [1]\ndef f():\n    return [X for X in X]\n"}, "a.py", "1"),
    "beside a comprehension": ({"a.py": "X = 1\ndef f():\n    return [X for X in ()] or X\n"}, "a.py", "1"),
    "beside a lambda": ({"a.py": "X = 1\ndef f(g=lambda X: 0):\n    return X\n"}, "a.py", "1"),
    "nested function": ({"a.py": "X = 1\ndef f():\n    def g():\n        return X\n    return g\n"}, "a.py", "1"),
    "beside what a lambda binds": (
        {"a.py": "X = 1\ndef f():\n    return (lambda: (X := 0)), X\n"}, "a.py", "1",
    ),
    "beside a nested function": ({"a.py": "X = 1\ndef f():\n    def g(X):\n        pass\n    return X\n"}, "a.py", "1"),
    "pattern": (
        {"a.py": "class A:\n    x = 1\ndef f(y=0):\n    match y:\n        case A():\n            pass\n"}, "a.py", "1",
    ),
    "f-string": ({"a.py": "X = 1\ndef f():\n    return f'{0:{X}}'\n"}, "a.py", "1"),
    "global": ({"a.py": "X = 1\ndef f():\n    global X\n    X += 2\n"}, "a.py", "= 1"),
    "several targets": ({"a.py": "X, (Y, *Z) = 1, (2, 3)\ndef f():\n    return Z\n"}, "a.py", "1"),
    "walrus": ({"a.py": "Y = (X := 1) + 1\ndef f():\n    return X\n"}, "a.py", ":= 1"),
    "annotated constant": ({"a.py": "X: int = 1\ndef f():\n    return X\n"}, "a.py", "1"),
    "augmented constant": ({"a.py": "X = [0]\nX += [1]\ndef f():\n    return X\n"}, "a.py", "1"),
    "second definition": ({"a.py": "X = 0\nX = X + 1\ndef f():\n    return X\n"}, "a.py", "1"),
    "either definition": (
        {"a.py": "import os\nif os.name == 'nt':\n    X = 0\nelse:\n    X = 1\ndef f():\n    return X\n"}, "a.py", "1",
    ),
    "definition in a try": (
        {
            "a.py": "try:\n    from sys2ft.b import X\nexcept ImportError:\n    X = 0\ndef f():\n    return X\n",
            "b.py": "X = 1\n",
        },
        "b.py", "1",
    ),
    "unused import in a function": (
        {"a.py": "def f():\n    from sys2ft.b import X\n", "b.py": "X = 1\n"}, "b.py", "1",
    ),
    "import in a function": (
        {"a.py": "def f():\n    from sys2ft.b import X\n    return X\n", "b.py": "X = 1\n"}, "b.py", "1",
    ),
    "import after a nested function": (
        {
            "a.py": "def f():\n    def g():\n        return X\n    from sys2ft.b import X\n    return g()\n",
            "b.py": "X = 1\n",
        },
        "b.py", "1",
    ),
    "import in a class": (
        {"a.py": "class f:\n    from sys2ft.b import X\n", "b.py": "X = 1\n"}, "b.py", "1",
    ),
    "module": ({"a.py": "import sys2ft.b\ndef f():\n    return sys2ft.b.X\n", "b.py": "X = 1\n"}, "b.py", "1"),
    "module by another name": ({"a.py": "import sys2ft.b as z\nf = z.X\n", "b.py": "X = 1\n"}, "b.py", "1"),
    "module from its package": ({"a.py": "from sys2ft import b\nf = b.X.real\n", "b.py": "X = 1\n"}, "b.py", "1"),
    "relative import": ({"a.py": "from . import b\nfrom .c.d import Y\nf = b.X\n", "b.py": "X = 1\n"}, "b.py", "1"),
    "relative import in a package": (
        {"a.py": "from .c.d import Y as f\n", "c/d.py": "from ..b import X\nfrom .e import Z\nY = X, Z\n",
         "b.py": "X = 1\n",
         "c/e.py": "Z = 2\n"},
        "c/e.py", "2",
    ),
    "re-export": (
        {"a.py": "from sys2ft.b import X as f\n", "b.py": "from sys2ft.c import Y as X\n", "c.py": "Y = 1\n"},
        "c.py", "1",
    ),
    "re-export by a package": (
        {"a.py": "import sys2ft\nf = sys2ft.b.Y\n", "b/__init__.py": "from sys2ft.b.c import Y\n", "b/c.py": "Y = 1\n"},
        "b/c.py", "1",
    ),
    "relative re-export by a package": (
        {"a.py": "from sys2ft.b import Y as f\n", "b/__init__.py": "from .c import Y\n", "b/c.py": "Y = 1\n"},
        "b/c.py", "1",
    ),
    "re-exported module": (
        {"a.py": "from sys2ft import b\nf = b.c.Y\n", "b.py": "from sys2ft import c\n", "c.py": "Y = 1\n"}, "c.py", "1",
    ),
    "module as a value": (
        {"a.py": "from sys2ft import b\ndef f(n='X'):\n    return getattr(b, n)\n", "b.py": "X = 1\n"}, "b.py", "1",
    ),
    "re-export of a module as a value": (
        {"a.py": "from sys2ft import b\nf = vars(b)\n", "b.py": "from sys2ft.c import X\n", "c.py": "X = 1\n"},
        "c.py", "1",
    ),
    "attribute that is not defined": (
        {"a.py": "from sys2ft.b import Z as f\n", "b.py": "def __getattr__(name):\n    return 1\n"}, "b.py", "1",
    ),
    "attribute set from outside": (
        {"a.py": "from sys2ft import b\ndef f():\n    b.X = 2\n", "b.py": "X = 1\n"}, "b.py", "1",
    ),
    "star import": ({"a.py": "from sys2ft.b import *\n", "b.py": "__all__ = ['f']\nf = X = 1\n"}, "b.py", "1"),
    "star import through another": (
        {"a.py": "from sys2ft.b import *\n", "b.py": "from sys2ft.c import *\n", "c.py": "f = 1\n"}, "c.py", "1",
    ),
    "names for star imports": (
        {"a.py": "from sys2ft.b import *\n", "b.py": "__all__ = ['f']\nf = 1\n"}, "b.py", "'f'",
    ),
    "name of a module": (
        {"a.py": "import importlib\ndef f():\n    return importlib.import_module('sys2ft.b.c')\n", "b/c.py": "X = 1\n"},
        "b/c.py", "1",
    ),
    "name within a module": ({"a.py": "f = 'sys2ft.b:X'\n", "b.py": "X = 1\n"}, "b.py", "1"),
    "name in a command": ({"a.py": "f = 'python -m sys2ft.b --x'\n", "b.py": "X = 1\n"}, "b.py", "1"),
    "name with an end to come": (
        {"a.py": "def f(n):\n    return f'sys2ft.b.{n}'\n", "b/c.py": "X = 1\n"}, "b/c.py", "1",
    ),
    "command": ({"a.py": "f = ['-m', 'sys2ft']\n", "__main__.py": "print(1)\n"}, "__main__.py", "1"),
    "registration": ({"a.py": "X = []\nX.append(1)\ndef f():\n    return X\n"}, "a.py", "1"),
    "registration beside": ({"a.py": "import os\nos.nice(1)\ndef f():\n    pass\n"}, "a.py", "1"),
    "entry set": ({"a.py": "X = {}\nX['a'] = 1\ndef f():\n    return X\n"}, "a.py", "1"),
    "loop": ({"a.py": "X = []\nfor i in (1,):\n    X.append(i)\ndef f():\n    return X\n"}, "a.py", "1"),
    "what a registration uses": ({"a.py": "import os\nX = 1\nos.nice(X)\ndef f():\n    pass\n"}, "a.py", "1"),
    "registration where it is imported": (
        {"a.py": "from sys2ft import b\ndef f():\n    pass\n", "b.py": "import os\nos.nice(1)\n"}, "b.py", "1",
    ),
    "registration where it is imported within": (
        {"a.py": "def f():\n    import sys2ft.b\n", "b.py": "import os\nos.nice(1)\n"}, "b.py", "1",
    ),
    "registration in a package": (
        {"a.py": "from sys2ft.b.c import X as f\n", "b/__init__.py": "import os\nos.nice(1)\n", "b/c.py": "X = 2\n"},
        "b/__init__.py", "1",
    ),
    "registration by a decorator": (
        {
            "a.py": "from sys2ft import b\nfrom sys2ft.c import ALL\ndef f():\n    return ALL\n",
            "b.py": "from sys2ft import c\n@c.keep\ndef g():\n    return 1\n",
            "c.py": "ALL = []\ndef keep(f):\n    ALL.append(f)\n    return f\n",
        },
        "b.py", "1",
    ),
    "cycle": (
        {
            "a.py": "from sys2ft import b\nX = 1\ndef f():\n    return b.g()\n",
            "b.py": "from sys2ft import a\nY = 1\ndef g():\n    return a.f(), Y\n",
        },
        "b.py", "1",
    ),
    "cycle of names": (
        {"a.py": "from sys2ft.b import f\n",
         "b.py": "try:\n    from sys2ft.a import f\nexcept ImportError:\n    f = 1\n"},
        "b.py", "1",
    ),
    "package before a module of its name": (
        {"a.py": "from sys2ft.b import X as f\n", "b/__init__.py": "X = 1\n", "b.py": "X = 2\n"}, "b/__init__.py", "1",
    ),
    "another script": (
        {"stage.py": "from other import X\nprint(X)\n", "../../workflow/scripts/other.py": "X = 1\n"},
        "../../workflow/scripts/other.py", "1",
    ),
}  # fmt: skip
NOT_REACHED = {
    "definition beside": ({"a.py": "X = 1\ndef f():\n    pass\n"}, "a.py", "1"),
    "definition beside what is imported": (
        {"a.py": "from sys2ft.b import X as f\n", "b.py": "X = 1\nY = 2\n"}, "b.py", "2",
    ),
    "definition beside what is used of a module": (
        {"a.py": "import sys2ft.b.c as c\nf = c.X\n", "b/c.py": "X = 1\nY = 2\n"}, "b/c.py", "2",
    ),
    "unused import": ({"a.py": "from sys2ft.b import X\ndef f():\n    pass\n", "b.py": "X = 1\n"}, "b.py", "1"),
    "local name": ({"a.py": "X = 1\ndef f():\n    X = 2\n    return X\n"}, "a.py", "1"),
    "argument": ({"a.py": "X = 1\ndef f(X=0):\n    return X\n"}, "a.py", "1"),
    "target of a comprehension": ({"a.py": "X = 1\ndef f():\n    return [X for X in ()]\n"}, "a.py", "1"),
    "attribute": ({"a.py": "X = 1\ndef f(y):\n    return y.X\n"}, "a.py", "1"),
    "keyword": ({"a.py": "X = 1\ndef f():\n    return dict(X=0)\n"}, "a.py", "1"),
    "string": ({"a.py": "X = 1\ndef f():\n    return 'X'\n"}, "a.py", "1"),
    "string of a Literal": (
        {"a.py": "from typing import Literal\nX = 1\ndef f(x: Literal['X']):\n    pass\n"}, "a.py", "1",
    ),
    "name of the package": (
        {"__init__.py": "__version__ = '1'\n", "a.py": "f = b'sys2ft', 'sys2ft'\n"}, "__init__.py", "'1'",
    ),
    "name that begins with the package's": (
        {"__init__.py": "__version__ = '1'\n", "a.py": "f = 'sys2ft.toml'\n"}, "__init__.py", "'1'",
    ),
    "import for type checkers alone": (
        {
            "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sys2ft.b import X\n"
            "def f():\n    pass\n",
            "b.py": "import os\nos.nice(1)\nX = 1\n",
        },
        "b.py", "1",
    ),
    "other module": ({"a.py": "f = 1\n", "b.py": "import os\nos.nice(1)\n"}, "b.py", "1"),
    "other script": (
        {"../../workflow/scripts/other.py": "X = 1\n", "a.py": "f = 2\n"}, "../../workflow/scripts/other.py", "1",
    ),
}  # fmt: skip


def changed(files: dict[str, str], name: str, what: str) -> dict[str, str]:
    """The same files with something in one of them changed: a name, or a number or string."""
    assert what in files[name]
    other = {"int": "float", "return f": "return None"}.get(what) or what.translate(str.maketrans("12f", "78g"))
    return files | {name: files[name].replace(what, other, 1)}


@pytest.mark.parametrize(("files", "name", "what"), REACHED.values(), ids=REACHED)
def test_a_change_of_what_is_reached_counts(tmp_path, files, name, what):
    assert fingerprint(tmp_path, files) != fingerprint(tmp_path, changed(files, name, what))


@pytest.mark.parametrize(("files", "name", "what"), NOT_REACHED.values(), ids=NOT_REACHED)
def test_a_change_of_anything_else_does_not_count(tmp_path, files, name, what):
    assert fingerprint(tmp_path, files) == fingerprint(tmp_path, changed(files, name, what))


def test_what_a_stage_reaches_is_listed(tmp_path):
    files = {
        "a.py": "import math\nfrom sys2ft.b import X\nY, Z = 1, 2\nW = 0\ndef f():\n    return X, Y, math.pi\n",
        "b.py": "X = 1\n",
    }
    root = write_files(tmp_path, files)
    assert reached(root, "stage") == ["stage:(line 3)", "sys2ft.a:Y, Z", "sys2ft.a:f", "sys2ft.b:X"]


def test_a_file_that_is_no_python_is_named(tmp_path):
    with pytest.raises(InputError, match=r"src/sys2ft/a.py: line 2: is not Python"):
        fingerprint(tmp_path, {"a.py": "X = 1\ndef f(:\n"})


# -------------------------------------------------------------------------------------------------------- real stages
@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project's code, and its fingerprints."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("src/sys2ft", "workflow/scripts"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "workflow/code-versions.yaml", root / "workflow")
    return root, fingerprints(root, STAGES)


def edited(tree: tuple[Path, dict[str, str]], edits: dict[str, tuple[str, str]]) -> set[str]:
    """The stages whose fingerprints some edits change: for a file, a pattern and what takes its place."""
    root, before = tree
    kept = {name: (root / name).read_text(encoding="utf-8") for name in edits}
    try:
        for name, (pattern, new) in edits.items():
            text, count = re.subn(pattern, new, kept[name], flags=re.MULTILINE)
            assert count == 1, f"{name}: '{pattern}' stands there {count} times"
            (root / name).write_text(text, encoding="utf-8")
        after = fingerprints(root, STAGES)
    finally:
        for name, text in kept.items():
            (root / name).write_text(text, encoding="utf-8")
    return {stage for stage in STAGES if after[stage] != before[stage]}


def test_a_constant_in_the_loss_changes_training_and_no_stage_before_it(tree):
    """Stages that score or write load a tuned model by the class that trains it."""
    moved = edited(tree, {"src/sys2ft/training/objective.py": ("min=1e-6", "min=1e-5")})
    assert "fine_tune" in moved
    assert not moved & BEFORE_TRAINING
    scoring = {f"{verb}_{what}" for verb in ("score", "write") for what in ("base", "answers")}
    assert moved == {"fine_tune", *scoring, "score_base_retention", "score_retention"}


def test_a_new_schema_that_no_stage_uses_changes_none(tree):
    new = '\nNEW = make_schema("new", ("a", pa.string(), "New."))\n'
    assert not edited(tree, {"src/sys2ft/tables/stages.py": (r"\Z", new)})


SHOWN = {"draw_figures", "build_report"}


@pytest.mark.parametrize(
    ("name", "function", "stages"),
    [
        ("src/sys2ft/preflight.py", "open_study", SHOWN),  # they draw the bill
        ("src/sys2ft/models.py", "prepare_model", {"prepare_model"}),
        ("src/sys2ft/study/replay.py", "prepare_replay", {"prepare_replay"}),
        ("src/sys2ft/study/generate.py", "write_completions", {"generate_study"}),
        ("src/sys2ft/study/filters.py", "filter_study", {"filter_study"}),
        ("src/sys2ft/protocols.py", "compose_sequences", {"compose_training"}),
        ("src/sys2ft/training/fine_tune.py", "_learning_rate", {"fine_tune"}),
        ("src/sys2ft/evaluation/reading.py", "read_answer", {"write_base", "write_answers"}),
        ("src/sys2ft/evaluation/harness.py", "open_tasks", {"score_base_retention", "score_retention"}),
        ("src/sys2ft/news/audit.py", "audit", {"audit_dataset"}),
        ("src/sys2ft/analysis/effects.py", "estimate_effects", {"estimate_effects"}),
        ("src/sys2ft/analysis/dynamics.py", "trace_learning", {"trace_learning"}),
        ("src/sys2ft/analysis/fitting.py", "fit", {"fit_scaling_law"}),
        ("src/sys2ft/tables/files.py", "write_table", set(STAGES) - {"prepare_model"} - SHOWN),
        ("workflow/scripts/fine_tune.py", "main", {"fine_tune"}),
    ],
)
def test_a_change_touches_the_stages_that_reach_it(tree, name, function, stages):
    assert edited(tree, {name: (rf"^def {function}\(", f"@print\ndef {function}(")}) == stages


class Undocumented(ast.NodeTransformer):
    """Removes bare constants from every body, and puts `pass` where nothing is left."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body:
                kept = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
                setattr(node, name, kept or [ast.Pass()])
        return node


def rewrite(root: Path, how: Callable[[str], str]) -> dict[str, str]:
    """The fingerprints when every file is rewritten."""
    for path in root.rglob("*.py"):
        path.write_text(how(path.read_text(encoding="utf-8")), encoding="utf-8")
    return fingerprints(root, STAGES)


@pytest.fixture
def copy(tree, tmp_path):
    """The same for one test to change."""
    return shutil.copytree(tree[0], tmp_path / "copy")


def test_neither_docstrings_nor_comments_nor_formatting_count(tree, copy):
    assert rewrite(copy, lambda text: ast.unparse(Undocumented().visit(ast.parse(text))) + "\n") == tree[1]


# Each example adds to what the examples before it scattered.
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"])))
def test_comments_and_empty_lines_between_statements_do_not_count(tree, copy, seed, comment):
    random = Random(seed)

    def scatter(text: str) -> str:
        lines = text.splitlines(keepends=True)
        for statement in reversed(ast.parse(text).body):
            decorators = [decorator.lineno for decorator in getattr(statement, "decorator_list", ())]
            place = min([statement.lineno, *decorators]) - 1
            if random.random() < 0.5:
                lines.insert(place, random.choice(["\n", f"# {comment}\n", f'"""{random.random()}"""\n']))
        return "".join(lines)

    assert rewrite(copy, scatter) == tree[1]


def test_a_renamed_module_of_the_package_changes_no_fingerprint(tree, copy):
    def rename(text: str) -> str:
        return re.sub(r"\bsys2ft\.training\.objective\b", "sys2ft.training.losses", text)

    (copy / "src/sys2ft/training/objective.py").rename(copy / "src/sys2ft/training/losses.py")
    assert rewrite(copy, rename) == tree[1]


PYTHONS = """
import json, sys, types
from pathlib import Path
for name in ("sys2ft", "sys2ft.code_versions"):  # not their contents, which need packages that are not installed
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [f"{sys.argv[1]}/{name.replace('.', '/')}"]
sys.modules["sys2ft.errors"] = types.ModuleType("sys2ft.errors")
sys.modules["sys2ft.errors"].InputError = ValueError
from sys2ft.code_versions.reach import Project
project = Project(Path(sys.argv[2]))
print(json.dumps({stage: project.fingerprint(stage) for stage in project.stages}))
"""


def other_pythons() -> dict[str, str]:
    """Interpreters of other versions that this project supports, as far as there are any."""
    found = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
    found += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))]
    versions = {}
    for python in filter(None, found):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if run.returncode == 0 and (3, 11) <= tuple(map(int, run.stdout.split("."))) != sys.version_info[:2]:
            versions[run.stdout.strip()] = python
    return versions


ODD = r"""
def f(a: 'int' = 0, *b, c=None, **d):
    match a:
        case {'k': [1, *_], **rest}:
            return f'{a}{{' 'b\n' f'{b!r:>{c}}{d=}{rest:}\u0378', f'{a:\N{EM DASH}}{a:{b}}'
    return 'caf\u00e9\u0378\U0001fae8', 1e999, b'\xff', 1_000j
"""


def test_other_pythons_find_the_same_fingerprints(copy):
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other supported Python is installed")
    (copy / "workflow/scripts/odd.py").write_text(ODD)
    here = fingerprints(copy, [*STAGES, "odd"])
    for version, python in pythons.items():
        command = [python, "-I", "-c", PYTHONS, str(ROOT / "src"), str(copy)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout) == here, f"Python {version}"


# ----------------------------------------------------------------------------------------------- the file of versions
def test_every_stage_has_one_line_in_the_file_of_versions():
    lines = (ROOT / "workflow/code-versions.yaml").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    declared = read_declared(ROOT / "workflow/code-versions.yaml")
    assert lines == [found.line(stage) for stage, found in declared.items()]
    assert sorted(declared) == STAGES
    assert read_versions(ROOT / "workflow/code-versions.yaml") == {s: found.version for s, found in declared.items()}
    place = {stage: number for number, stage in enumerate(declared)}
    assert max(place[stage] for stage in BEFORE_TRAINING) < place["fine_tune"] < place["score_answers"]


ZEROS = "0" * 16
VERSIONS = f"""# The versions.
one: {{version: 1, fingerprint: "{ZEROS}"}}  # the first
two: {{version: 2, fingerprint: "{ZEROS}"}}
"""


@pytest.fixture
def small(tmp_path):
    """A project of two stages that are declared as they are."""
    write_files(tmp_path, {"a.py": "def f():\n    return 1\n", "b.py": "def g():\n    return 1\n"})
    (tmp_path / "workflow/scripts/stage.py").rename(tmp_path / "workflow/scripts/one.py")
    (tmp_path / "workflow/scripts/two.py").write_text("from sys2ft.b import g\n\ng()\n")
    (tmp_path / "workflow/code-versions.yaml").write_text(VERSIONS)
    declare(tmp_path, "all", "same")
    return tmp_path


def text_of(root: Path) -> str:
    return (root / "workflow/code-versions.yaml").read_text()


def versions_of(root: Path) -> dict[str, int]:
    return read_versions(root / "workflow/code-versions.yaml")


def change(root: Path, *modules: str) -> None:
    for name in modules:
        path = root / f"src/sys2ft/{name}.py"
        path.write_text(path.read_text() + "X = 1\n")
        path.write_text(path.read_text().replace("return 1", "return X"))


def test_what_is_declared_has_not_moved(small):
    assert not moved_stages(small)
    assert check(small) == []
    assert versions_of(small) == {"one": 1, "two": 2}
    assert ZEROS not in text_of(small)


def test_what_has_moved_is_named_with_its_mend(small):
    change(small, "b")
    assert list(moved_stages(small)) == ["two"]
    (message,) = check(small)
    assert "code-versions.yaml: two: " in message
    for results in ("changed", "same"):
        assert f"make code-version STAGE=two RESULTS={results}" in message


def test_the_same_results_keep_the_version(small):
    change(small, "a", "b")
    assert declare(small, "two", "same") == {"two": 2}
    assert list(moved_stages(small)) == ["one"]
    assert versions_of(small) == {"one": 1, "two": 2}


def test_changed_results_raise_the_version_by_one(small):
    before = text_of(small)
    change(small, "a")
    assert declare(small, "one", "changed") == {"one": 2}
    assert not moved_stages(small)
    assert versions_of(small) == {"one": 2, "two": 2}
    old, new = before.splitlines(), text_of(small).splitlines()
    assert [number for number, line in enumerate(new) if line != old[number]] == [1]
    assert new[0] == "# The versions."
    assert new[1].endswith("  # the first")


def test_several_stages_are_declared_at_once(small):
    change(small, "a", "b")
    assert declare(small, "two, one", "changed") == {"two": 3, "one": 2}
    assert not moved_stages(small)


def test_all_are_those_that_moved(small):
    change(small, "b")
    assert declare(small, "all", "changed") == {"two": 3}
    assert versions_of(small) == {"one": 1, "two": 3}


def test_a_rule_or_a_library_may_change_results_where_no_code_moved(small):
    assert declare(small, "one", "changed") == {"one": 2}
    assert not moved_stages(small)


@pytest.mark.parametrize(
    ("stage", "results", "problem", "mend"),
    [
        ("one", "same", "one: its code has not changed", "leave it out"),
        ("two,one", "same", "one: its code has not changed", "leave it out"),
        ("too", "changed", "too: there is no such stage", "write 'two'"),
        ("", "changed", "there is no such stage", "use one of: one, two"),
        ("two", "identical", "RESULTS: is 'identical'", "say changed or same"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_and_nothing_written(small, stage, results, problem, mend):
    change(small, "b")
    before = text_of(small)
    with pytest.raises(InputError, match=f"{re.escape(problem)}.*To mend: {re.escape(mend)}"):
        declare(small, stage, results)
    assert text_of(small) == before


@pytest.mark.parametrize("results", ["changed", "same"])
def test_all_of_none_is_refused(small, results):
    with pytest.raises(InputError, match="no stage's code has changed"):
        declare(small, "all", results)


def test_a_stage_without_a_line_is_named(small):
    (small / "workflow/scripts/three.py").write_text("print(1)\n")
    with pytest.raises(InputError, match=r"three: missing\. To mend: add `three: \{version: 1, ") as refusal:
        check(small)
    line = re.search("`(three: .*?)`", str(refusal.value))[1]
    (small / "workflow/code-versions.yaml").write_text(f"{text_of(small)}{line}\n")
    assert declare(small, "three", "same") == {"three": 1}
    assert not moved_stages(small)


def test_a_line_without_a_script_is_named(small):
    (small / "workflow/scripts/two.py").unlink()
    with pytest.raises(InputError, match=r"two: there is no workflow/scripts/two.py. To mend: remove the line"):
        check(small)
    with pytest.raises(InputError, match=r"workflow/scripts/two.py: the stage 'two' has no script"):
        reached(small, "two")


@pytest.mark.parametrize(
    ("line", "field", "problem"),
    [
        ("one: 3", "one", "is 3, not a version and a fingerprint"),
        ("one: {version: 3}", "one", "not a version and a fingerprint"),
        (f"one: {{version: 3, fingerprint: '{ZEROS}', by: me}}", "one", "not a version and a fingerprint"),
        (f"one: {{version: 1.5, fingerprint: '{ZEROS}'}}", "one.version", "is 1.5, not a whole number"),
        (f"one: {{version: true, fingerprint: '{ZEROS}'}}", "one.version", "is True, not a whole number"),
        (f"one: {{version: 0, fingerprint: '{ZEROS}'}}", "one.version", "is 0, not a whole number from 1 on"),
        ("one: {version: 1, fingerprint: 1234567812345678}", "one.fingerprint", "not 16 hexadecimal digits in quotes"),
        ("one: {version: 1, fingerprint: abc}", "one.fingerprint", "is 'abc', not 16 hexadecimal digits"),
    ],
)
def test_a_line_of_another_form_is_refused(tmp_path, line, field, problem):
    (tmp_path / "versions.yaml").write_text(line)
    with pytest.raises(InputError, match=f"versions.yaml: {re.escape(field)}: .*{re.escape(problem)}"):
        read_versions(tmp_path / "versions.yaml")


def test_a_stage_over_several_lines_is_not_written(small):
    spread = yaml.safe_dump(yaml.safe_load(text_of(small)))
    (small / "workflow/code-versions.yaml").write_text(spread)
    assert versions_of(small) == {"one": 1, "two": 2}
    with pytest.raises(InputError, match="one: does not stand on a line of its own"):
        declare(small, "one", "changed")
    assert text_of(small) == spread
