"""Tables and curves of made-up learners."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sys2ft.analysis.curves import CLOSED, CONTEXT_TOKENS, LOSS, SAMPLES, TOKENS, Curve
from sys2ft.settings.choices import GridSettings
from sys2ft.settings.stages import FitScalingLawStage
from sys2ft.tables import ANSWERS, TRAIN_LOG, build_table, write_table

KEYS = {"model": "m", "method": "lora", "protocol": "qa", "teacher": "self", "split": "s", "seed": 0}
BASE = {"method": "none", "protocol": "none", "teacher": "none", "seed": None}
GRID = GridSettings(model=("m",), method=("lora",), protocol=("qa",), teacher=("self",), split=("s",), seed=(0,))


def stage(**chosen: Any) -> FitScalingLawStage:
    """What both scripts are told; few draws and items will do."""
    told = {"draws": 200, "level": 0.95, "min_items": 2, "seed": 0, "min_sizes": 3, "milestones": True}
    told |= {"grid": GRID, "taught": {"qa": True}, "methods": {"lora": "lora"}}
    return FitScalingLawStage(**{**told, **chosen})


def answers(
    rights: str, samples: int | Sequence[int] = 0, milestone: bool = False, condition: str = CLOSED,
    control: str = "none", mode: str = "cloze", **keys: Any,
) -> list[dict]:  # fmt: skip
    """Rows of `answers`: one word an item, one digit a question (x: unread, dot: none); without samples of the base."""
    words = rights.split()
    seen = [samples] * len(words) if isinstance(samples, int) else samples
    told = KEYS | (BASE if not any(seen) else {}) | keys
    told |= {"condition": condition, "control": control, "mode": mode, "milestone": milestone}
    return [
        dict.fromkeys(ANSWERS.names) | told
        | {"item": item, "question_id": f"{item}{number}", "samples_seen": count}
        | {"correct": None if right == "x" else float(right)}
        for item, word, count in zip("abcdefgh", words, seen, strict=False)
        for number, right in enumerate(word)
        if right != "."
    ]  # fmt: skip


def log(losses: Mapping[str, Sequence[float]], samples: int = 2, tokens: int = 10, **keys: Any) -> list[dict]:
    """Rows of `train_log`: the losses of each learner's steps, the last learner's steps first."""
    return [
        dict.fromkeys(TRAIN_LOG.names) | KEYS | keys
        | {"item": item, "step": step, "loss": loss, "samples": samples, "tokens": tokens, "context_tokens": 1}
        for item, steps in reversed(losses.items())
        for step, loss in enumerate(steps, 1)
    ]  # fmt: skip


def write(schema: pa.Schema, rows: Sequence[Mapping[str, Any]], path: Path) -> str:
    """A table as a file; its path."""
    write_table(build_table(schema, rows), path)
    return str(path)


def grown(
    accuracies: np.ndarray, samples: Sequence[int], rng: np.random.Generator, model: str = "m", items: int = 40,
    seeds: int = 2, spread: float = 0.0,
) -> Curve:  # fmt: skip
    """A curve of five questions an item, answered rightly with these chances.

    Args:
        spread: standard deviation of the items on the logit scale.
    """
    ease = rng.normal(0, spread, items)
    chance = 1 / (1 + (1 / np.asarray(accuracies)[:, None, None] - 1) * np.exp(-ease))
    rights = rng.binomial(5, np.broadcast_to(chance, (len(samples), seeds, items))).astype(float)
    keys = {name: KEYS[name] for name in ("method", "protocol", "teacher", "split")}
    names = tuple(("s", f"i{number}") for number in range(items))
    return Curve({"model": model, **keys, "mode": "cloze"}, names, seeds, np.array(samples), np.full(items, 5.0),
                 {(CLOSED, "none"): rights})  # fmt: skip


def trained(curve: Curve, losses: Sequence[float] | None = None, noise: np.ndarray | None = None) -> Curve:
    """What was trained beside a curve: a hundred tokens a sequence.

    Args:
        losses: (points,).
        noise: (points, seeds, items), a factor.
    """
    shape = (len(curve.samples), curve.seeds, len(curve.items))
    seen = np.broadcast_to(curve.samples[:, None, None], shape).astype(float)
    loss = np.broadcast_to(np.asarray(losses or np.ones(shape[0]))[:, None, None], shape) * (
        1 if noise is None else noise
    )
    values = {SAMPLES: seen, TOKENS: 100 * seen, CONTEXT_TOKENS: 0 * seen, LOSS: loss}
    told = {(name, "none"): value for name, value in values.items()}
    return Curve(curve.keys | {"mode": "none"}, curve.items, curve.seeds, curve.samples, np.ones(shape[2]), told)
