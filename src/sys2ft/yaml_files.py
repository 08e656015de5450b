"""YAML files that people write, read strictly."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sys2ft.errors import InputError, explain_validation

Model = TypeVar("Model", bound=BaseModel)


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that stands twice in one mapping, where plain YAML keeps the last in silence."""


def _construct_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    if odd := [key for key, value in zip(node.value, keys, strict=True) if isinstance(value, (dict, list))]:
        raise yaml.constructor.ConstructorError(None, None, "a mapping or list stands as a key", odd[0][0].start_mark)
    if doubles := [key for key, count in Counter(keys).items() if count > 1]:
        raise yaml.constructor.ConstructorError(None, None, f"the key '{doubles[0]}' stands twice", node.start_mark)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def read_yaml(path: str | Path) -> Any:
    """Parse one YAML file.

    Raises:
        InputError: there is no such file, or it is not YAML; names line and column.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError:
        raise InputError(path, "", "no such file", "create it, or correct the path in the configuration") from None
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise InputError(path, "", problem, "name a file that can be read in the configuration") from None
    except UnicodeDecodeError as error:
        raise InputError(path, "", f"is not UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(path, where, f"is not YAML ({getattr(error, 'problem', error)})", "correct it there") from None


def read_config(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Configuration files as Snakemake merges them: mappings are merged, all else in a later file replaces.

    Raises:
        InputError: as `read_yaml`, or a file holds no mapping.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        config = read_yaml(path)
        if not isinstance(config, dict):
            raise InputError(path, "", "is not a mapping", "write `key: value`, as in config/config.yaml")
        merged = _merge(merged, config)
    return merged


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in above if isinstance(above[key], dict) and isinstance(below.get(key), dict)}
    return {**below, **{key: _merge(below[key], above[key]) if key in both else above[key] for key in above}}


def load_yaml(path: str | Path, model: type[Model], **parts: type[BaseModel]) -> Model:
    """Read a file that holds one `model`.

    Args:
        parts: models of its fields, by name, so that a misspelt key in them is told the closest one.

    Raises:
        InputError: it is missing, is not YAML, or has another shape; names the field.
    """
    data = read_yaml(path)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        known = {name: list(part.model_fields) for name, part in parts.items()}
        raise explain_validation(path, error, known_keys={"": list(model.model_fields)} | known) from None
