"""A cell's fine-tuning from tables to adapters: every learner it needs, on every process that takes part."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import distributed

from sys2ft.grid import Cell
from sys2ft.learned import milestone_folder, write_digests
from sys2ft.models import converted_weights, load_config, load_manifest, load_tokenizer
from sys2ft.origins import describe_environment
from sys2ft.progress import StepProgress
from sys2ft.settings.stages import FineTuneStage
from sys2ft.tables import atomic_path
from sys2ft.training.batches import Share
from sys2ft.training.checkpoint import Checkpoints
from sys2ft.training.engines import Engine, open_engine
from sys2ft.training.fine_tune import LogRow, Watch, fine_tune
from sys2ft.training.guards import check_sequences, trained_padding
from sys2ft.training.kept import Kept
from sys2ft.training.launch import meet
from sys2ft.training.learners import Learner, Member, make_members, open_learner, save_memory
from sys2ft.training.masked_input import replacement_token
from sys2ft.training.rules import UpdateRule


@dataclass(frozen=True)
class Run:
    """How a cell is trained; what is learned does not depend on it.

    Attributes:
        folder: where unfinished work lives; a killed run goes on from it.
        tokens_per_pass: of one forward and backward pass.
        activation_checkpointing: whether activations are computed again.
        deepspeed: its configuration, for several processes.
        checkpoint_minutes: between two checkpoints.
        tensorboard: where its files go; None: there are none.
        kept: where what was learned is kept, to be taken over by the next run; None: nothing is.
        version: of the code; what another one has learned is no use.
    """

    folder: Path
    tokens_per_pass: int = 2048
    activation_checkpointing: bool = False
    deepspeed: Path | None = None
    checkpoint_minutes: float = 10.0
    tensorboard: Path | None = None
    kept: Path | None = None
    version: int = 0


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def fine_tune_cell(
    manifest: Path, sequences: Sequence[Mapping[str, Any]], stage: FineTuneStage, cell: Cell, run: Run
) -> list[LogRow]:
    """Train what a cell learns; afterwards `run.folder / "adapters"` holds it, on the first process.

    Args:
        manifest: the learner's `model.json`.
        sequences: rows of the table `sequences`.

    Returns:
        Rows of `train_log`, without the cell's keys.

    Raises:
        ValueError, and what `fine_tune` raises.
    """
    config = load_config(manifest)
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    check_sequences(sequences, stage.samples, trained_padding(config), limit)
    seed_parts = ("fine_tune", *cell.keys().values())
    members = make_members(sequences, stage.method, seed_parts)
    identities = {member.name: _identity(manifest, member, stage, cell, run.version) for member in members}
    _begin(run.folder, _digest(sorted(identities.items())))
    kept = Kept(run.kept) if run.kept is not None else None
    logs = _take_over(kept, identities, run.folder / "adapters")
    new = [member for member in members if member.name not in logs]
    for group in [new] if new and stage.method.kind == "lora" else [[member] for member in new]:
        one_by_one = stage.method.kind == "full" and len(members) > 1
        folder = run.folder / "learners" / group[0].name if one_by_one else run.folder
        identity = _digest([identities[member.name] for member in group])
        for row in _train_group(manifest, group, stage, cell, run, folder, identity, seed_parts):
            logs.setdefault(row["item"], []).append(row)
    if is_first():
        if kept is not None:
            kept.keep({member.name: logs[member.name] for member in new}, identities, run.folder / "adapters")
        write_digests(run.folder / "adapters", manifest)
    return _in_order(logs, members, stage.method.kind)


def _begin(folder: Path, identity: str) -> None:
    """Remove what a run of other settings left unfinished: none of it may get into this one's outputs."""
    mark = folder / "identity"
    if is_first() and not (mark.exists() and mark.read_text() == identity):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        with atomic_path(mark) as temporary:
            temporary.write_text(identity)
    meet()


def _take_over(kept: Kept | None, identities: Mapping[str, str], adapters: Path) -> dict[str, list[LogRow]]:
    """Take over what was learned before from the same; the first process decides for all. Returns the logs."""
    if kept is None:
        return {}
    told = [kept.find(identities) if is_first() else {}]
    if distributed.is_initialized():
        distributed.broadcast_object_list(told)
    if is_first() and told[0]:
        for name in told[0]:
            kept.take(name, adapters / name)
        print(f"{len(told[0])} of {len(identities)} taken over, as nothing they depend on has changed", flush=True)
    return told[0]


def _in_order(logs: Mapping[str, list[LogRow]], members: Sequence[Member], kind: str) -> list[LogRow]:
    """Step by step where all are trained together, else one after the other."""
    log = [row for member in members for row in logs[member.name]]
    return sorted(log, key=lambda row: row["step"]) if kind == "lora" else log


def _train_group(
    manifest: Path, members: Sequence[Member], stage: FineTuneStage, cell: Cell, run: Run, folder: Path, identity: str,
    seed_parts: Sequence[object],
) -> list[LogRow]:  # fmt: skip
    """Train one learner, or take over what an earlier run finished."""
    finished = folder / "finished.json"
    written = all((run.folder / "adapters" / member.name).is_dir() for member in members)
    if written and finished.exists() and (done := json.loads(finished.read_text()))["identity"] == identity:
        return done["log"]
    learner = open_learner(manifest, members, stage.method, seed_parts)
    if run.activation_checkpointing:
        save_memory(learner)
    engine = open_engine(learner, stage.method, run.deepspeed, load_manifest(manifest)["dtype"])
    rule = UpdateRule(learner, stage.method, engine.optimiser, members[0].seed)
    share = Share(run.tokens_per_pass, engine.rank, engine.world, _replacement(manifest, stage))
    watch = _watch(learner, engine, stage, cell, run, folder, identity)
    log = fine_tune(learner, engine, members, share, rule, watch)
    with engine.gathered():
        for index, name in enumerate(learner.names if engine.rank == 0 else ()):
            learner.export(index, run.folder / "adapters" / name, cell.model)
    if engine.rank == 0:
        with atomic_path(finished) as temporary:
            temporary.write_text(json.dumps({"identity": identity, "log": log}))
    if watch.checkpoints is not None:
        watch.checkpoints.clear()
    engine.close()
    return log


def _watch(
    learner: Learner, engine: Engine, stage: FineTuneStage, cell: Cell, run: Run, folder: Path, identity: str
) -> Watch:
    """What is done beside training: milestones, checkpoints, progress, TensorBoard."""

    def keep_milestone(index: int, samples: int) -> None:
        if engine.rank == 0:
            target = milestone_folder(run.folder / "adapters", learner.names[index], samples)
            learner.export(index, target, cell.model)

    layout = f"{identity} {engine.world} {run.deepspeed.read_text() if engine.world > 1 and run.deepspeed else ''}"
    checkpoints = Checkpoints(folder / "checkpoints", layout, 60 * run.checkpoint_minutes, engine.rank, meet)
    watch = Watch(checkpoints=checkpoints, milestone=keep_milestone if stage.milestones else None)
    if engine.rank == 0:
        watch.progress = StepProgress()
        if run.tensorboard is not None:
            watch.step = tensorboard_writer(run.tensorboard)
    return watch


def tensorboard_writer(folder: Path) -> Callable[[Sequence[LogRow]], object]:
    """A function that writes rows of the log as TensorBoard's curves, one run an item."""
    from torch.utils.tensorboard import SummaryWriter

    writers: dict[str, Any] = {}

    def write(rows: Sequence[LogRow]) -> None:
        for row in rows:
            if row["item"] not in writers:
                writers[row["item"]] = SummaryWriter(str(folder / row["item"]))
            for name in ("loss", "lr", "grad_norm"):
                writers[row["item"]].add_scalar(name, row[name], row["step"])
            writers[row["item"]].flush()

    return write


def _replacement(manifest: Path, stage: FineTuneStage) -> int:
    return 0 if stage.method.masked_input is None else replacement_token(load_tokenizer(manifest))


def _identity(manifest: Path, member: Member, stage: FineTuneStage, cell: Cell, version: int) -> str:
    """What the weights learned under a name depend on, as a digest: work of another identity is no use."""
    model = load_manifest(manifest)
    where = [version, describe_environment(), model["revision"], model["dtype"], converted_weights(manifest)]
    return _digest([*where, stage.model_dump(mode="json"), cell.keys(), member.name, *member.rows])


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
