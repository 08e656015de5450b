"""Where a model's shape comes from: the catalogue, or the `config.json` of weights that are there already."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sys2ft.cost.shape import FAMILIES, count_parameters
from sys2ft.errors import InputError
from sys2ft.paths import artefact_path
from sys2ft.settings.catalogue import ModelSettings
from sys2ft.settings.resources import ModelShape

BYTE_VOCABULARY = 259
"""Tokens of a random model: all bytes and three special ones (`models.prepare_model`)."""


def find_shape(name: str, settings: ModelSettings, results: str) -> ModelShape | None:
    """What the catalogue says of a model, or its source, or what `prepare_model` left; None where none of them does."""
    if settings.shape is not None:
        return settings.shape
    source = settings.source
    if source.kind == "random":
        return _read({"model_type": source.architecture, "vocab_size": BYTE_VOCABULARY, **source.shape})
    weights = Path(artefact_path(results, "weights", model=name))
    if source.kind == "directory":
        weights = Path(source.path)
    elif source.kind == "hub" and weights.exists():
        try:
            from huggingface_hub import try_to_load_from_cache
        except ImportError:  # the environment that plans and draws: what jobs need is given then
            return None
        found = try_to_load_from_cache(source.repository, "config.json", revision=source.revision)
        return _load(Path(found)) if isinstance(found, str) else None
    return _load(weights / "config.json")


def _load(path: Path) -> ModelShape | None:
    try:
        return _read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _read(config: Mapping[str, Any]) -> ModelShape | None:
    """The shape in a configuration of transformers; None where something is missing or the architecture is unknown."""
    try:
        shape = ModelShape.model_validate({key: config[key] for key in ModelShape.model_fields if key in config})
    except ValidationError:
        return None
    return shape if shape.model_type in FAMILIES else None


def check_parameters(name: str, settings: ModelSettings, shape: ModelShape, results: str, file: str | Path) -> None:
    """Compare a shape's parameters with those of the prepared model, where it is prepared.

    Raises:
        InputError: they differ.
    """
    manifest = Path(artefact_path(results, "model", model=name))
    try:
        prepared = json.loads(manifest.read_text(encoding="utf-8"))["parameters"]
    except (OSError, ValueError, KeyError):
        return
    if prepared != (counted := count_parameters(shape)):
        field = f"models.{name}.shape" if settings.shape is not None else f"models.{name}.source"
        problem = f"its shape has {counted} parameters, and {manifest} says {prepared}"
        mend = "copy shape from the model's config.json, or remove the prepared model if it is another one"
        raise InputError(file, field, problem, mend)
