"""Learning curves: what each item's learner could do after so many training sequences, as arrays.

A grid has millions of answers, so they are summed to one record for each item, seed and moment as they are read, and
never held row by row. What was trained (loss, tokens) makes records of the same kind, one for each learner.

Items may have unequal numbers of sequences. A moment is then one up to which every learner was kept or had come to its
end; where it had ended before, it stands there as it was at its end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from sys2ft.analysis.bootstrap import Resampler, measure_spread
from sys2ft.grid import AXES, NONE, derive_seed
from sys2ft.learned import is_milestone
from sys2ft.models import load_manifest
from sys2ft.paths import cell_path
from sys2ft.settings.stages import CurvesStage
from sys2ft.tables import ANSWERS, TRAIN_LOG, read_batches, read_table

ALL = "all"
BLANK = "blank_question"
CONTROLS = (NONE, BLANK)
CLOSED, IN_CONTEXT = "closed_book", "in_context"
LOSS, TOKENS, CONTEXT_TOKENS, SAMPLES = "loss", "tokens", "context_tokens", "samples"
GROUP = ("model", "method", "protocol", "teacher", "mode")
RECORD = (*AXES, "item", "mode", "term", "control", "samples_seen")
Term = tuple[str, str]  # a condition, or what was logged; control


@dataclass(frozen=True)
class Curve:
    """One learner's way along its training, over the items of a split.

    Attributes:
        keys: model, method, protocol, teacher, mode and split.
        items: names of the clusters, (split, item).
        seeds: how many.
        samples: (points,), training sequences seen, rising; 0 is the base.
        counts: (items,), questions of each; of a loss 1.
        values: for each term (points, seeds, items), right answers, or what was logged.
    """

    keys: dict[str, str]
    items: tuple[tuple[str, str], ...]
    seeds: int
    samples: np.ndarray
    counts: np.ndarray
    values: Mapping[Term, np.ndarray]

    def means(self, term: Term) -> np.ndarray:
        """(points,): over all questions and seeds."""
        return self.values[term].mean(axis=1).sum(axis=-1) / self.counts.sum()

    def totals(self, term: Term, of: "Curve") -> np.ndarray:
        """What another curve's points had taken of what was logged.

        Args:
            of: the curve, of the same learner; a mode may be asked in some splits only.

        Returns:
            (points,): summed over items of its splits, mean over seeds, at the last point that has not more samples.
        """
        points = np.searchsorted(self.samples, of.samples, side="right") - 1
        splits = {split for split, _ in of.items}
        own = [split in splits for split, _ in self.items]
        return self.values[term].mean(axis=1)[:, own].sum(axis=-1)[points]


class Draws:
    """Bootstrap draws of curves: the same draws of items for all curves of as many.

    What seeds vary by is drawn anew for each learner, as its seeds have nothing in common with another's; it moves all
    points of a curve together.
    """

    def __init__(self, draws: int, seed: int) -> None:
        self.draws, self.seed = draws, seed
        self._resamplers: dict[int, Resampler] = {}

    def of(self, curve: Curve) -> Resampler:
        """The draws of a curve's items."""
        items = len(curve.items)
        if items not in self._resamplers:
            self._resamplers[items] = Resampler(items, self.draws, self.seed)
        return self._resamplers[items]

    def means(self, curve: Curve, term: Term) -> np.ndarray:
        """(draws, points)."""
        values = curve.values[term]
        spread = measure_spread(values, np.broadcast_to(curve.counts, (len(values), len(curve.counts))))
        rng = np.random.default_rng(derive_seed("curve", *curve.keys.values(), self.seed))
        moved = rng.standard_normal((self.draws, 1)) * np.sqrt(spread.seeds)
        return self.of(curve).draw(values, curve.counts).T + moved


def expanded_limits(draws: np.ndarray, items: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The expanded percentile intervals (`bootstrap`) of many quantities at once.

    Args:
        draws: (draws, ...).
        items: clusters.
        level: of confidence.
    """
    df = items - 1
    outer = stats.norm.cdf(np.sqrt(items / df) * stats.t.ppf((1 - level) / 2, df))
    low, high = np.quantile(draws, [outer, 1 - outer], axis=0)
    return low, high


# ------------------------------------------------------------------------------------------------------------- records
def read_curves(results: str, answers: str, stage: CurvesStage) -> tuple[list[Curve], list[Curve], dict[str, int]]:
    """The curves of answers and of what was trained of a whole grid, and each learner's number of parameters."""
    cells = stage.cells()
    logs = [cell_path(results, "train_log", cell) for cell in cells]
    parameters = {cell.model: cell_path(results, "model", cell) for cell in cells}
    return (
        build_curves(read_answered(answers)),
        build_curves(read_trained(logs, stage.milestones)),
        {model: load_manifest(path)["parameters"] for model, path in parameters.items()},
    )


def read_answered(path: str) -> pa.Table:
    """Records of the table `answers`: right answers and questions of an item, closed book and in context."""
    columns = [*AXES, "item", "mode", "condition", "control", "samples_seen", "correct"]
    parts = []
    for batch in read_batches(ANSWERS, path, columns):
        kept = pc.and_(
            pc.is_in(batch["condition"], pa.array([CLOSED, IN_CONTEXT])), pc.is_in(batch["control"], pa.array(CONTROLS))
        )
        table = pa.Table.from_batches([batch.filter(kept)]).rename_columns({"condition": "term"})
        # What names no option is not right.
        table = table.set_column(table.num_columns - 1, "value", pc.fill_null(table["correct"], 0.0))
        parts.append(_summed(table.append_column("count", pa.repeat(1.0, len(table)))))
    return _summed(pa.concat_tables(parts))


def _summed(table: pa.Table) -> pa.Table:
    """One record for each key, in the order of their first rows."""
    summed = table.group_by(list(RECORD), use_threads=False).aggregate([("value", "sum"), ("count", "sum")])
    return summed.rename_columns({"value_sum": "value", "count_sum": "count"}).select([*RECORD, "value", "count"])


def read_trained(paths: Iterable[str], milestones: bool) -> pa.Table:
    """Records of the tables `train_log`: loss, and what had been seen, at each moment that was kept.

    The loss of a moment is that of the first step from there, whose sequences the weights have not learned yet; at the
    end, where none follows, that of the last step.
    """
    return pa.concat_tables(_trained(read_table(TRAIN_LOG, path), milestones) for path in paths)


def _trained(log: pa.Table, milestones: bool) -> pa.Table:
    """The records of one cell."""
    columns = {name: log[name].to_numpy() for name in ("step", LOSS, SAMPLES, TOKENS, CONTEXT_TOKENS)}
    learners = log["item"].to_numpy()
    found: dict[str, list[np.ndarray]] = {name: [] for name in (SAMPLES, TOKENS, CONTEXT_TOKENS, LOSS)}
    names: list[str] = []
    for name in dict.fromkeys(learners.tolist()):
        rows = np.flatnonzero(learners == name)
        rows = rows[np.argsort(columns["step"][rows], kind="stable")]
        points = _points(columns[SAMPLES][rows], milestones)
        names += [name] * len(points)
        for what in (SAMPLES, TOKENS, CONTEXT_TOKENS):
            found[what].append(np.concatenate([[0], columns[what][rows].cumsum()])[points].astype(float))
        found[LOSS].append(columns[LOSS][rows][np.minimum(points, len(rows) - 1)])
    values = {what: np.concatenate(several) for what, several in found.items()}
    length = len(values) * len(names)
    told = {axis: pa.repeat(log[axis][0], length) for axis in AXES}
    told |= {"item": pa.array(names * len(values)), "term": pa.array(np.repeat(list(values), len(names)), pa.string())}
    told |= dict.fromkeys(("mode", "control"), pa.repeat(NONE, length))
    told |= {"samples_seen": np.tile(values[SAMPLES].astype(np.int64), len(values))}
    told |= {"value": np.concatenate(list(values.values())), "count": np.ones(length)}
    return pa.table(told).select([*RECORD, "value", "count"])


def _points(samples: np.ndarray, milestones: bool) -> np.ndarray:
    """After how many steps a learner was kept; 0 is the base, the last is its end."""
    seen = [0, *samples.cumsum().tolist()]
    kept = [step for step, pair in enumerate(pairwise(seen), 1) if milestones and is_milestone(*pair, seen[-1])]
    return np.array([0, *kept, len(samples)])


# -------------------------------------------------------------------------------------------------------------- curves
class _Coded:
    """Records with numbers for names, numbered in the order in which they come."""

    def __init__(self, records: pa.Table) -> None:
        self.names: dict[str, list[Any]] = {}
        self.codes: dict[str, np.ndarray] = {}
        for column in (*GROUP, "split", "seed", "item", "term", "control"):
            encoded = records[column].combine_chunks().dictionary_encode("encode")
            self.names[column] = encoded.dictionary.to_pylist()
            self.codes[column] = encoded.indices.to_numpy()
        self.samples = records["samples_seen"].to_numpy()
        self.value, self.count = records["value"].to_numpy(), records["count"].to_numpy()

    def pairs(self, one: str, other: str, rows: np.ndarray) -> np.ndarray:
        """A number for each pair of two columns."""
        return self.codes[one][rows].astype(np.int64) * len(self.names[other]) + self.codes[other][rows]

    def names_of(self, one: str, other: str, pair: int) -> tuple[str, str]:
        """The names behind such a number."""
        first, second = divmod(int(pair), len(self.names[other]))
        return self.names[one][first], self.names[other][second]

    def groups(self) -> dict[tuple[str, ...], np.ndarray]:
        """The rows of each model, method, protocol, teacher and mode."""
        order = np.lexsort([self.codes[name] for name in reversed(GROUP)])
        keys = np.stack([self.codes[name][order] for name in GROUP])
        starts = np.flatnonzero(np.concatenate([[True], (np.diff(keys, axis=1) != 0).any(axis=0)]))
        return {
            tuple(self.names[name][code] for name, code in zip(GROUP, keys[:, start], strict=True)): rows
            for start, rows in zip(starts, np.split(order, starts[1:]), strict=True)
        }


def build_curves(records: pa.Table) -> list[Curve]:
    """The curves of all tuned models, over each split and, of several, over all.

    Args:
        records: of `read_answered`, where the base's answers are the point 0 of each curve, or of `read_trained`.
    """
    coded = _Coded(records)
    groups = coded.groups()
    splits = list(range(len(coded.names["split"])))
    curves = []
    for key, rows in groups.items():
        keys = dict(zip(GROUP, key, strict=True))
        if keys["protocol"] == NONE:
            continue
        base = groups.get((keys["model"], NONE, NONE, NONE, keys["mode"]))
        for chosen in [splits, *([split] for split in splits)] if len(splits) > 1 else [splits]:
            parts = [part[np.isin(coded.codes["split"][part], chosen)] for part in (rows, base) if part is not None]
            split = ALL if len(chosen) > 1 else coded.names["split"][chosen[0]]
            if len(parts[0]) and (curve := _build_curve(coded, keys | {"split": split}, *parts)) is not None:
                curves.append(curve)
    return curves


def _build_curve(coded: _Coded, keys: dict[str, str], rows: np.ndarray, base: np.ndarray | None = None) -> Curve | None:
    """One curve from the rows of a tuned model and those of its base; None where no seed was run on all items."""
    places, place = np.unique(coded.pairs("split", "item", rows), return_inverse=True)
    terms, term = np.unique(coded.pairs("term", "control", rows), return_inverse=True)
    seeds, seed = np.unique(coded.codes["seed"][rows], return_inverse=True)
    moments, moment = np.unique(coded.samples[rows], return_inverse=True)
    ends = np.zeros((len(seeds), len(places)), np.int64)
    np.maximum.at(ends, (seed, place), coded.samples[rows])
    values = np.full((len(terms), len(moments), len(seeds), len(places)), np.nan)
    values[term, moment, seed, place] = coded.value[rows]
    counts = np.zeros(len(places))
    counts[place] = coded.count[rows]
    complete = (ends > 0).all(axis=1)
    if not complete.any():
        return None
    values, ends = values[:, :, complete], ends[complete]
    last = np.take_along_axis(values, np.searchsorted(moments, ends)[None, None], axis=1)
    values = np.where(np.isnan(values) & (ends <= moments[:, None, None]), last, values)
    if base is not None:
        start = np.full((len(terms), 1, 1, len(places)), np.nan)
        known = np.isin(coded.pairs("split", "item", base), places) & np.isin(
            coded.pairs("term", "control", base), terms
        )
        base = base[known]
        where = np.searchsorted(places, coded.pairs("split", "item", base))
        start[np.searchsorted(terms, coded.pairs("term", "control", base)), 0, 0, where] = coded.value[base]
        values = np.concatenate([np.broadcast_to(start, (*start.shape[:2], *values.shape[2:])), values], axis=1)
        moments = np.concatenate([[0], moments])
    asked = ~np.isnan(values[:, [0, -1]]).any(axis=(1, 2, 3))
    values = values[asked]
    there = ~np.isnan(values).any(axis=(0, 2, 3))
    named = [coded.names_of("term", "control", code) for code in terms[asked]]
    items = tuple(coded.names_of("split", "item", code) for code in places)
    told = dict(zip(named, values[:, there], strict=True))
    return Curve(keys, items, int(complete.sum()), moments[there], counts, told)
