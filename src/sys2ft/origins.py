"""Where an output comes from, kept with it: the stage and the version of its code, the environment, and what it was
made from, each with a digest of its content and with where that comes from in turn.

It is written when the output is, in a table's metadata under `origin` (a model's in its `model.json`), and is no part
of its content. So what is known of a table stays known when the files before it have been deleted or changed.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import Field

from sys2ft.code_versions import read_versions
from sys2ft.contents import digests
from sys2ft.learned import DIGESTS
from sys2ft.models import load_manifest
from sys2ft.settings.base import Frozen
from sys2ft.tables import content_digest

PACKAGES = ("torch", "transformers", "tokenizers", "peft", "deepspeed", "vllm", "lm_eval", "numpy", "pyarrow")
ORIGIN = "origin"
MANIFEST = "model.json"


class Source(Frozen):
    """Something that an output was made from."""

    path: str
    """From the project's folder."""
    digest: str
    """Of its content, as `digest_of` has it."""
    origin: "Origin | None" = None
    """None of what people write, and of what was written before origins were kept."""


class Origin(Frozen):
    """Where an output comes from."""

    stage: str
    version: int
    """Of the stage's code."""
    environment: dict[str, str]
    """Python's version and those of the packages that results may depend on, where the job ran."""
    revision: str | None = None
    """Of the model or teacher, where it is a model or a teacher's text."""
    inputs: dict[str, tuple[Source, ...]] = Field(default_factory=dict)

    def one(self, name: str) -> Source | None:
        """The input of a name, where there is one."""
        return next(iter(self.inputs.get(name, ())), None)

    def walk(self) -> Iterator["Origin"]:
        """This one and all before it."""
        yield self
        for source in self.sources():
            if source.origin is not None:
                yield from source.origin.walk()

    def sources(self) -> Iterator[Source]:
        """What the output itself was made from."""
        for several in self.inputs.values():
            yield from several


def tell_origin(script: str, revision: str | None = None, **inputs: Path | Sequence[Path] | None) -> Origin:
    """Where the outputs of a stage's script come from; long work asks before it begins, when it reads its inputs.

    Args:
        script: its `__file__`; the versions of code are read beside its folder, as they stand when the script runs.
        revision: of a model or teacher.
        inputs: what it read, by name.

    Raises:
        InputError, KeyError: the versions cannot be read, or the stage has none.
    """
    path = Path(script)
    told = {name: [read] if isinstance(read, Path) else read or () for name, read in inputs.items()}
    return Origin(
        stage=path.stem,
        version=read_versions(path.parents[1] / "code-versions.yaml")[path.stem],
        environment=describe_environment(),
        revision=revision,
        inputs={name: tuple(map(tell_source, paths)) for name, paths in told.items() if paths},
    )


def tell_source(path: Path) -> Source:
    """What is read, as it is now."""
    return Source(path=str(path), digest=digest_of(path), origin=read_origin(path))


@cache
def describe_environment() -> dict[str, str]:
    """The versions of Python and of the packages of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_origin(path: Path) -> Origin | None:
    """What is kept with an output; None where nothing is.

    Raises:
        ValueError: it is damaged.
    """
    if path.name == MANIFEST:
        kept = load_manifest(path).get(ORIGIN)
        return None if kept is None else Origin.model_validate(kept)
    if path.suffix != ".parquet":
        return None
    kept = (pq.read_schema(path).metadata or {}).get(ORIGIN.encode())
    return None if kept is None else Origin.model_validate_json(kept)


def digest_of(path: Path) -> str:
    """A digest of content: of a table's values, a model's files, what was learned, or what a file says.

    Raises:
        OSError, ValueError: it is missing or damaged.
    """
    if path.suffix == ".parquet":
        return content_digest(pq.ParquetFile(path, page_checksum_verification=True).read())
    if path.is_dir():
        return _digest(json.loads((path / DIGESTS).read_text(encoding="utf-8"))["digests"])
    if path.name == MANIFEST:
        manifest = load_manifest(path)
        return _digest([manifest["revision"], manifest["dtype"], manifest.get("files", {})])
    if (found := digests([str(path)])[str(path)]) is None:
        raise FileNotFoundError(path)
    return found


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
