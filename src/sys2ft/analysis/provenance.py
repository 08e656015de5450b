"""What stands in the table `cells` of where a cell comes from, read off the origins that its outputs carry."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sys2ft.origins import Origin, Source, read_origin
from sys2ft.tables import PROVENANCE

Row = Mapping[str, Any]


def summarise_origins(
    kinds: Sequence[str], counts: Sequence[Row], answered: Origin | None, others: Sequence[Origin | None]
) -> dict[str, Any]:
    """The columns of `cells` that say where a cell comes from, but for `revision`; null is what nobody kept.

    Args:
        kinds: of its study data.
        counts: its rows of `study_counts`.
        answered: the origin of its answers.
        others: of its other answers, of its base's, and of both in the tasks of retention.
    """
    empty: dict[str, Any] = {name: None for name, _, _ in PROVENANCE if name != "revision"}
    if answered is None:
        return empty
    names = {f"{name}_digest": _digest(answered.one(name)) for name in ("model", "items", "questions", "adapters")}
    trained = _origin(answered.one("train_log"))
    sequences = trained.one("sequences") if trained is not None else None
    composed = _origin(sequences)
    versions = {(o.stage, o.version) for told in (answered, *others) if told is not None for o in told.walk()}
    return {
        **empty,
        **names,
        "sequences_digest": _digest(sequences),
        "studies": None if composed is None or not kinds else _studies(kinds, counts, composed),
        "code_versions": [{"stage": stage, "version": version} for stage, version in sorted(versions)],
        "environment": None if trained is None else _pairs(trained.environment),
    }


def _studies(kinds: Sequence[str], counts: Sequence[Row], composed: Origin) -> list[dict[str, Any]]:
    prompts = {row["kind"]: row["prompts_version"] for row in counts}
    found = []
    for kind, source in zip(kinds, composed.inputs["study"], strict=True):
        written = source.origin and _origin(source.origin.one("completions"))
        revision = written.revision if written else None
        told = {"prompts_version": prompts[kind], "teacher_revision": revision, "digest": source.digest}
        found.append({"kind": kind, **told})
    return found


def _pairs(environment: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"package": name, "version": version} for name, version in environment.items()]


def _digest(source: Source | None) -> str | None:
    return None if source is None else source.digest


def _origin(source: Source | None) -> Origin | None:
    return None if source is None else source.origin


def read_origins(paths: Sequence[str]) -> list[Origin | None]:
    """Of several tables, in order."""
    return [read_origin(Path(path)) for path in paths]
