"""Effects with intervals over the paper's grid, side by side with a loop that estimates quantity by quantity.

In: nothing; answers are drawn at random, as many as `config/paper.yaml` asks for without milestones.
Out: a table, and as the last line a JSON object; ratios are of processor time for as many quantities, more than 1 where
`estimate_effects` is faster. Processor time hardly depends on what else runs.

The answers hold six models, twelve protocols, five splits of 15 items and five questions, three seeds, four modes, and
the conditions and controls of the defaults. `numpy` is what one writes by hand: for each quantity the items are drawn
anew and the percentiles taken. `scipy` is `scipy.stats.bootstrap`, percentile method, vectorised. Both get the sums of
each quantity ready made (seeds averaged), draw items only, and are timed on a few quantities of 15 and of 75 items in
the grid's proportion. Ours reads the table, makes the sums, and gives seeds, tests and corrections as well.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from measuring import Others, warn_of_others

KINDS = ("naive", "paraphrase", "implication", "self_qa")
PREFIXES = {"_shadowed": "own_news", "_shadowed_loss": "own_news+loss"}
CLOSED, CONTEXT = "closed_book", "in_context"
TERMS = [(CLOSED, "none"), (CLOSED, "blank_question"), (CLOSED, "other_adapter"), (CONTEXT, "none")]
TERMS += [(CONTEXT, "blank_question"), ("other_news", "none")]


def draw_answers(
    models: Sequence[str],
    kinds: Sequence[str],
    modes: Sequence[str],
    splits: int,
    items: int,
    questions: int,
    seeds: int,
) -> pa.Table:
    """A table like `answers`, every question answered at random, right in 35 % of the cases."""
    rng = np.random.default_rng(0)
    protocols = [kind + ending for kind in kinds for ending in ("", *PREFIXES)]
    place = np.arange(splits * items * questions)
    split, item = place // (items * questions), place // questions
    blocks = []
    for model in models:
        for protocol in ("none", *protocols):
            for mode in modes:
                for condition, control in TERMS:
                    if protocol == "none" and control == "other_adapter":
                        continue
                    for seed in [None] if protocol == "none" else range(seeds):
                        blocks.append((model, protocol, mode, condition, control, seed))
    size, names = len(place), list(zip(*blocks, strict=True))
    learned = [protocol != "none" for protocol in names[1]]
    teachers = ["none" if protocol.startswith("na") or protocol == "none" else "self" for protocol in names[1]]
    told = {
        "model": names[0], "method": ["lora" if some else "none" for some in learned], "protocol": names[1],
        "teacher": teachers, "mode": names[2], "condition": names[3], "control": names[4],
    }  # fmt: skip
    each = np.repeat(np.arange(len(blocks)), size)
    columns = {name: pa.array(values).dictionary_encode().take(pa.array(each)) for name, values in told.items()}
    columns["seed"] = pa.array(names[5], pa.int32()).take(pa.array(each))
    for name, numbers in (("split", split), ("item", item), ("question_id", place)):
        texts = pa.array([f"{name}-{number}" for number in range(numbers.max() + 1)])
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(np.tile(numbers, len(blocks)).astype(np.int32)), texts)
    columns["correct"] = pa.array((rng.random(len(each)) < 0.35).astype(float))
    return pa.table(columns)


def run_ours(answers: pa.Table, models: Sequence[str], kinds: Sequence[str], draws: int) -> list[dict]:
    """All rows of `effects`."""
    from sys2ft.analysis.effects import estimate_effects
    from sys2ft.settings.choices import StatisticsSettings
    from sys2ft.settings.stages import EstimateEffectsStage
    from sys2ft.tables import RETENTION

    pairs = tuple((kind, kind + ending, prefix) for kind in kinds for ending, prefix in PREFIXES.items())
    stage = EstimateEffectsStage(statistics=StatisticsSettings(draws=draws), models=tuple(models), shadow_pairs=pairs)
    return estimate_effects(answers, RETENTION.empty_table(), stage)


def run_numpy(sums: np.ndarray, counts: np.ndarray, draws: int) -> np.ndarray:
    """A percentile interval of one ratio, drawing items."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(sums), size=(draws, len(sums)))
    return np.percentile(sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1), [2.5, 97.5])


def run_scipy(sums: np.ndarray, counts: np.ndarray, draws: int) -> np.ndarray:
    """The same by the library."""
    from scipy.stats import bootstrap

    def ratio(above: np.ndarray, below: np.ndarray, axis: int = -1) -> np.ndarray:
        return above.sum(axis=axis) / below.sum(axis=axis)

    rng = np.random.default_rng(0)
    data = (sums, counts)
    found = bootstrap(data, ratio, n_resamples=draws, paired=True, method="percentile", rng=rng).confidence_interval
    return np.array([found.low, found.high])


def time_peer(peer: Callable, items: int, questions: int, draws: int, repeats: int) -> float:
    """Seconds of processor time a quantity."""
    rng = np.random.default_rng(1)
    sums, counts = rng.binomial(questions, 0.35, size=(repeats, items)).astype(float), np.full(items, float(questions))
    peer(sums[0], counts, draws)  # imports
    began = time.process_time()
    for row in sums:
        peer(row, counts, draws)
    return (time.process_time() - began) / repeats


def count_quantities(rows: Sequence[dict]) -> dict[int, int]:
    """How many intervals stand in the table, by their number of items: a measure beside two controls is told once."""
    found: dict[int, int] = {}
    seen = set()
    for row in rows:
        own = tuple(row[name] for name in ("model", "protocol", "split", "mode", "measure", "versus"))
        number = 2 * (row["net_low"] is not None) + (row["low"] is not None and own not in seen)
        seen.add(own)
        found[row["items"]] = found.get(row["items"], 0) + number
    return found


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=40, help="quantities that a peer is timed on")
    parser.add_argument("--tiny", action="store_true", help="a small grid, to test the program")
    args = parser.parse_args(argv)
    models = [f"model-{number}" for number in range(2 if args.tiny else 6)]
    kinds, modes = (KINDS[:2], ["cloze"]) if args.tiny else (KINDS, ["letter", "cloze", "statement", "generate"])
    splits, items, questions, seeds = (2, 5, 2, 2) if args.tiny else (5, 15, 5, 3)
    answers = draw_answers(models, kinds, modes, splits, items, questions, seeds)
    others = Others()
    began, cpu = time.perf_counter(), time.process_time()
    rows = run_ours(answers, models, kinds, args.draws)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    busy = others.cores()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    counts = count_quantities(rows)
    total = sum(counts.values())
    print(f"{answers.num_rows} answers, {len(rows)} rows, {total} intervals, {args.draws} draws")
    print("system            processor s  ms an interval")
    print(f"estimate_effects  {cpu_seconds:11.1f}  {1e3 * cpu_seconds / total:14.3f}")
    told = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1), "peak_gb": round(peak, 2)}
    told |= {"answers": answers.num_rows, "rows": len(rows), "intervals": total}
    for name, peer in (("numpy", run_numpy), ("scipy", run_scipy)):
        each = {size: time_peer(peer, size, questions, args.draws, args.repeats) for size in counts}
        whole = sum(number * each[size] for size, number in counts.items())
        print(f"{name:16}  {whole:11.1f}  {1e3 * whole / total:14.3f}")
        told[f"effects_vs_{name}"] = round(whole / cpu_seconds, 2)
    warn_of_others(busy)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
