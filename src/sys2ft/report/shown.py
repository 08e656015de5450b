"""Which cells can be looked at in the page, and what of them is read."""

from collections import Counter
from collections.abc import Iterator, Sequence

from sys2ft.grid import Cell
from sys2ft.paths import cell_path, study_path
from sys2ft.settings.study import Study


def choose_cells(cells: Sequence[Cell], count: int) -> list[Cell]:
    """So many cells that each model, method, protocol, ... is among them about equally often, in the grid's order."""
    shown: Counter[tuple[str, object]] = Counter()
    chosen: set[Cell] = set()
    while len(chosen) < min(count, len(cells)):
        rest = (cell for cell in cells if cell not in chosen)
        rarest = min(rest, key=lambda cell: sum(shown[value] for value in cell.keys().items()))
        shown.update(rarest.keys().items())
        chosen.add(rarest)
    return [cell for cell in cells if cell in chosen]


def shown_paths(study: Study) -> list[str]:
    """The tables that are read of the cells that are shown."""
    cells = choose_cells(study.cells(), study.report.cells)
    return list(dict.fromkeys(path for cell in cells for path in _paths(study, cell)))


def _paths(study: Study, cell: Cell) -> Iterator[str]:
    answers = study.answers(cell.split)
    names = ["items", "questions", "sequences", "train_log", *answers, *(f"base_{name}" for name in answers)]
    for name in names:
        yield cell_path(study.results, name, cell)
    for kind in study.kinds_of(cell.protocol):
        yield study_path(study.results, "study", cell, kind)
        for shard in study.shards(cell.resolved_teacher()):
            yield study_path(study.results, "completions", cell, kind, shard=shard)
