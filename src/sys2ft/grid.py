"""The grid: six axes, the cells they span, and the paths their artefacts live at.

An axis has one name everywhere: in config, wildcards, paths, Parquet columns and plots. A path holds exactly the
axes that its artefact depends on, so sharing falls out of the path.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

AXES = ("model", "method", "protocol", "teacher", "split", "seed")
NONE = "none"  # the teacher of a protocol that trains on the news alone
JOINT = "all"  # stands for an item where all items of a split have one learner


@dataclass(frozen=True, order=True)
class Cell:
    """One point of the grid."""

    model: str
    method: str
    protocol: str
    teacher: str
    split: str
    seed: int

    @property
    def path(self) -> str:
        """`model=.../method=.../...`, the cell's folder below a stage."""
        return key_path(AXES, astuple(self))

    @classmethod
    def from_path(cls, path: str) -> "Cell":
        """The inverse of `path`.

        Raises:
            ValueError: the path does not hold exactly the six axes, in order.
        """
        parts = [part.partition("=") for part in path.strip("/").split("/")]
        if tuple(name for name, _, _ in parts) != AXES:
            raise ValueError(f"'{path}' is not a cell: a cell is {key_path(AXES, ['...'] * 6)}")
        values = {name: value for name, _, value in parts}
        return cls(**{**values, "seed": int(values["seed"])})  # type: ignore[arg-type]

    def keys(self) -> dict[str, str | int]:
        """Axis name to value, as columns of a table."""
        return {axis: getattr(self, axis) for axis in AXES}

    def resolved_teacher(self) -> str:
        """The model that writes: `self` is the learner's own name."""
        return resolve_teacher(self.teacher, self.model)


def resolve_teacher(teacher: str, model: str) -> str:
    """The name of who writes for a learner: `self` is the learner's own."""
    return model if teacher == "self" else teacher


def key_path(names: Iterable[str], values: Iterable[object]) -> str:
    """Hive-style folders: `name=value/name=value`."""
    return "/".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def wildcard_path(*names: str) -> str:
    """The same with Snakemake wildcards as values: `model={model}/split={split}`."""
    return key_path(names, [f"{{{name}}}" for name in names])


def expand_grid(
    axes: Mapping[str, Iterable], exclude: Iterable[Mapping[str, object]], needs_teacher: Mapping[str, bool]
) -> list[Cell]:
    """All cells of a selection, without doubles, in the order of the lists.

    Args:
        axes: for each axis of `AXES` the selected names (integers for `seed`).
        exclude: partial matches; a cell that agrees with all keys of one of them is left out.
        needs_teacher: for each protocol whether it trains on study data; otherwise its teacher is `none`.
    """
    cells: dict[Cell, None] = {}
    for values in itertools.product(*(axes[axis] for axis in AXES)):
        keys = dict(zip(AXES, values, strict=True))
        if not needs_teacher[keys["protocol"]]:
            keys["teacher"] = NONE
        if not any(all(keys[axis] == value for axis, value in match.items()) for match in exclude):
            cells[Cell(**keys)] = None
    return list(cells)


def spread_cells(cells: Sequence[Cell], count: int) -> list[Cell]:
    """So many cells that each name of an axis is among them about equally often, in their order."""
    shown: Counter[tuple[str, object]] = Counter()
    chosen: set[Cell] = set()
    while len(chosen) < min(count, len(cells)):
        rest = (cell for cell in cells if cell not in chosen)
        rarest = min(rest, key=lambda cell: sum(shown[value] for value in cell.keys().items()))
        shown.update(rarest.keys().items())
        chosen.add(rarest)
    return [cell for cell in cells if cell in chosen]


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits from names, so that each purpose has its own generator.

    The same parts give the same seed on every machine; no two purposes share one.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
