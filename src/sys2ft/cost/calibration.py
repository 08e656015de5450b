"""What jobs took, by Snakemake's benchmark files, against what was expected of them."""

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import median

from sys2ft.paths import artefact_path

ARTEFACTS: Mapping[str, str] = {
    "generate_study": "completions",
    "fine_tune": "adapters",
    "score_base": "base_answers",
    "score_answers": "answers",
    "write_base": "base_written",
    "write_answers": "written",
    "score_base_retention": "base_retention",
    "score_retention": "retention",
}
"""For each rule that holds a model an artefact that lies where its benchmark file does."""
FILES, LOOKED = 3, 24
"""Benchmark files that are read of a rule and model, and places where one is looked for: parsing must stay fast."""
LEAST = 0.5
"""ASSUME: a file of a job that was resumed tells its last stretch only, so no factor is smaller."""

Keys = Mapping[str, object]


@dataclass(frozen=True)
class Actual:
    """What a job took: seconds, and bytes of main memory at its peak (None where Snakemake could not tell)."""

    seconds: float
    memory: float | None


@dataclass(frozen=True)
class Calibration:
    """By what the seconds of a bill are multiplied.

    Attributes:
        models: by rule and model.
        rules: by rule, for models that have no file yet.
        files: how many were read.
    """

    models: Mapping[tuple[str, str], float] = field(default_factory=dict)
    rules: Mapping[str, float] = field(default_factory=dict)
    files: int = 0

    def factor(self, rule: str, model: str) -> float:
        """Of a rule and model; 1 where nothing is known."""
        return self.models.get((rule, model), self.rules.get(rule, 1.0))


def benchmark_path(results: str, rule: str, keys: Keys) -> Path:
    """Where Snakemake writes what a job took.

    Args:
        keys: the wildcards of the rule; others are ignored.
    """
    place = PurePosixPath(artefact_path("", ARTEFACTS[rule], **keys)).parent.relative_to(f"/{rule}")
    return Path(f"{results}/benchmarks/{rule}/{place}.tsv")


def read_actual(path: Path) -> Actual | None:
    """What a job took; None where there is no such file, or it is torn."""
    try:
        with path.open(encoding="utf-8") as stream:
            row = list(csv.DictReader(stream, delimiter="\t"))[-1]
        return Actual(float(row["s"]), _memory(row["max_rss"]))
    except (OSError, LookupError, ValueError, TypeError):
        return None


def _memory(text: str) -> float | None:
    """Snakemake tells MiB, or NA or - for a job that was too short."""
    try:
        return float(text) * 2**20
    except ValueError:
        return None


def calibrate(
    results: str, jobs: Iterable[tuple[str, str, Keys]], expected: Callable[[str, Keys], float | None]
) -> Calibration:
    """Compare what jobs took with what was expected of them.

    Args:
        jobs: rule, model and wildcards of jobs that may have run.
        expected: the seconds of a job, uncalibrated; None where they are unknown.
    """
    there = {rule: Path(f"{results}/benchmarks/{rule}").is_dir() for rule in ARTEFACTS}
    if not any(there.values()):
        return Calibration()
    candidates: dict[tuple[str, str], list[Keys]] = {}
    for rule, model, keys in jobs:
        if there[rule]:
            candidates.setdefault((rule, model), []).append(keys)
    found: dict[tuple[str, str], list[float]] = {}
    for (rule, model), several in candidates.items():
        for keys in several[:: max(1, len(several) // LOOKED)]:
            actual, seconds = read_actual(benchmark_path(results, rule, keys)), expected(rule, keys)
            if actual is not None and seconds:
                found.setdefault((rule, model), []).append(actual.seconds / seconds)
            if len(found.get((rule, model), ())) == FILES:
                break
    rules = {rule: [ratio for (own, _), some in found.items() if own == rule for ratio in some] for rule, _ in found}
    return Calibration(
        {which: max(LEAST, median(ratios)) for which, ratios in found.items()},
        {rule: max(LEAST, median(ratios)) for rule, ratios in rules.items()},
        sum(map(len, found.values())),
    )
