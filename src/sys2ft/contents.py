"""What files that people write say: a comment, white space, the order of keys or a `touch` change nothing of it.

Results depend on these contents; a file's time says nothing of them.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import yaml

TOLD_AS_YAML = (".yaml", ".yml", ".json")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads tags such as lm_eval's `!function` as text."""


_Loader.add_multi_constructor("!", lambda _, tag, node: f"!{tag} {node.value}")


def digests(paths: Sequence[str]) -> dict[str, str | None]:
    """Path to a digest of what the file says; None where there is no such file."""
    return {path: _digest(path, Path(path).stat().st_mtime_ns) if Path(path).is_file() else None for path in paths}


@cache
def _digest(path: str, _: int) -> str:
    content = Path(path).read_bytes()
    if path.endswith(TOLD_AS_YAML):
        with suppress(yaml.YAMLError, TypeError):  # its reader will say what is wrong with it
            content = json.dumps(yaml.load(content, _Loader), sort_keys=True, default=str).encode()
    return hashlib.sha256(content).hexdigest()[:12]
