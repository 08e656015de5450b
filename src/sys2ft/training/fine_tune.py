"""`fine_tune`: the one loop that trains everything, on one device or many.

A step takes the next `batch_size` sequences of each member, an item or a whole split; a member whose sequences are used
up rests while the others go on. Members know nothing of each other: the result equals training each alone.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sys2ft.learned import is_milestone
from sys2ft.progress import StepProgress
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.batches import Batch, Share, share_passes, step_count, take_batch
from sys2ft.training.checkpoint import Checkpoints, InterruptedTraining, watch_signals
from sys2ft.training.engines import Engine
from sys2ft.training.guards import check_finite, check_moved, explain_memory
from sys2ft.training.learners import Learner, Member
from sys2ft.training.rules import UpdateRule

LogRow = dict[str, Any]


@dataclass
class Watch:
    """What is done beside training.

    Attributes:
        step: called with every step's rows of the log.
        milestone: called with a member's number and how many sequences it has seen, before its last, at 1, 2, 4, ...
        checkpoints: where to go on from and what to write; None: a killed run begins anew.
        progress: shown while training.
    """

    step: Callable[[Sequence[LogRow]], object] = lambda _: None
    milestone: Callable[[int, int], object] | None = None
    checkpoints: Checkpoints | None = None
    progress: StepProgress | None = None


def fine_tune(
    learner: Learner, engine: Engine, members: Sequence[Member], share: Share, rule: UpdateRule, watch: Watch
) -> list[LogRow]:
    """Train every member on its own sequences, in their order, to their end.

    Args:
        learner: initialised; its names are the members'.
        engine: of the same learner.
        members: what is learned.
        share: of this process.
        rule: which weights may move.

    Returns:
        Rows of `train_log`, without the cell's keys.

    Raises:
        FloatingPointError: a loss or gradient is not finite; names the item and the step.
        InterruptedTraining: a signal came; the checkpoint is written.
        MemoryError: a pass was too large; says which setting makes it smaller.
        RuntimeError: a member did not move.
    """
    steps = step_count(members, learner.method)
    done, log = _resume(engine, rule, watch.checkpoints)
    if watch.progress is not None:
        watch.progress.start(steps, done)
    with watch_signals() as interruption:
        for step in range(done, steps):
            batch = take_batch(members, step, learner.method, share.replacement)
            rows = _train_step(learner, engine, members, batch, step + 1, share, rule)
            log += rows
            watch.step(rows)
            if watch.progress is not None:
                watch.progress.advance(rows)
            _save_milestones(engine, members, step, learner.method, watch)
            signum = _agree(engine, interruption.signum)
            _save_checkpoint(engine, rule, watch.checkpoints, step + 1, log, signum)
            if signum:
                raise InterruptedTraining(signum, step + 1)
    check_moved(members, log)
    return log


def _train_step(
    learner: Learner, engine: Engine, members: Sequence[Member], batch: Batch, step: int, share: Share, rule: UpdateRule
) -> list[LogRow]:
    began = time.perf_counter()
    losses, computed = torch.zeros(len(members) + 1), 0
    owners = torch.tensor([sequence.adapter for sequence in batch.sequences])
    for pass_, context, weights in share_passes(batch, share, len(members), learner.method.distill_top_k):
        names = [members[i].name for i in owners[pass_.sequences].unique().tolist()]
        with explain_memory(step, pass_, names):
            found = engine.forward(pass_.to(learner.device), context and context.to(learner.device))
            weighted = found * weights.to(found.device)
            engine.backward(weighted.sum())
        losses.index_add_(0, owners[pass_.sequences], weighted.detach().cpu())
        computed += int(weights.any()) * pass_.computed_tokens
    losses[-1] = computed
    losses = engine.sum(losses)
    rates = [_learning_rate(member, step, learner.method) for member in members]
    rule.before_update(step)
    with explain_memory(step):
        norms = engine.step(rates, batch.active)
    seconds = time.perf_counter() - began
    rows = _log_rows(members, batch, step, losses.tolist(), rates, norms, seconds)
    check_finite(step, rows)
    return rows


def _learning_rate(member: Member, step: int, method: MethodSettings) -> float:
    """Linear warm-up, then constant, so that a learning curve can be read off one run."""
    return (method.lr if member.lr is None else member.lr) * min(1.0, step / (method.warmup_steps + 1))


def _log_rows(
    members: Sequence[Member], batch: Batch, step: int, losses: Sequence[float], rates: Sequence[float],
    norms: Sequence[float], seconds: float,
) -> list[LogRow]:  # fmt: skip
    useful = sum(len(sequence.tokens) - 1 for sequence in batch.sequences)  # nothing is predicted from the last
    shared = {"computed_tokens": int(losses[-1]), "useful_share": useful / losses[-1], "seconds": seconds}
    return [
        {
            "item": member.name,
            "step": step,
            "loss": losses[index],
            "lr": rates[index],
            "grad_norm": norms[index],
            "samples": len(batch.rows[index]),
            "tokens": sum(len(row["token_ids"]) for row in batch.rows[index]),
            "loss_tokens": int(batch.loss_tokens[index]),
            "context_tokens": sum(len(row["context_ids"] or ()) for row in batch.rows[index]),
            **shared,
        }
        for index, member in enumerate(members)
        if batch.rows[index]
    ]


def _save_milestones(
    engine: Engine, members: Sequence[Member], step: int, method: MethodSettings, watch: Watch
) -> None:
    """Hand over the members that have passed a power of two."""
    if watch.milestone is None:
        return
    before, after = step * method.batch_size, (step + 1) * method.batch_size
    due = [i for i, member in enumerate(members) if is_milestone(before, after, len(member.rows))]
    if due:
        with engine.gathered():
            for index in due:
                watch.milestone(index, after)


def _agree(engine: Engine, signum: int) -> int:
    """The signal that any process got: all stop after the same step."""
    if engine.world == 1:
        return signum
    found = torch.zeros(engine.world)
    found[engine.rank] = signum
    return int(engine.sum(found).max())


def _save_checkpoint(
    engine: Engine, rule: UpdateRule, checkpoints: Checkpoints | None, step: int, log: list[LogRow], signum: int
) -> None:
    if checkpoints is None or not (signum or _agree(engine, int(checkpoints.due()))):
        return

    def write(folder: Path) -> None:
        engine.save(folder)
        if engine.rank == 0:
            rule.save(folder)
            (folder / "log.json").write_text(json.dumps(log))

    checkpoints.save(step, write)


def _resume(engine: Engine, rule: UpdateRule, checkpoints: Checkpoints | None) -> tuple[int, list[LogRow]]:
    found = checkpoints.newest() if checkpoints is not None else None
    if found is None:
        return 0, []
    step, folder = found
    engine.load(folder)
    rule.load(folder)
    print(f"going on after step {step}", flush=True)
    return step, json.loads((folder / "log.json").read_text())
