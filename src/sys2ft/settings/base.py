"""What all settings have in common."""

from string import Formatter
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, StringConstraints(pattern=SAFE_NAME, max_length=100)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Mode = Literal["letter", "cloze", "statement", "generate", "generate_reasoned"]
WRITTEN: tuple[Mode, ...] = ("generate", "generate_reasoned")
"""The modes in which a model writes; in all others options are scored."""
Dtype = Literal["bfloat16", "float32"]


class Frozen(BaseModel):
    """Settings cannot be changed after they are read; unknown keys and infinite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def check_template(template: str, allowed: set[str], required: set[str]) -> str:
    """A prompt whose placeholders are known.

    Raises:
        ValueError: a placeholder is unknown or missing, or a brace stands alone.
    """
    try:
        found = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"{error} in the prompt; double a brace that is meant as text") from None
    if unknown := found - allowed:
        raise ValueError(f"unknown placeholder {{{min(unknown)}}}; use {', '.join(sorted(allowed))}")
    if lacking := required - found:
        raise ValueError(f"the placeholder {{{min(lacking)}}} is missing; write it where its text is to stand")
    return template
