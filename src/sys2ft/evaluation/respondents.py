"""Who answers: the base, a bank of adapters, or a fully trained model; at the end of training or at a milestone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sys2ft.forward import own_attention, token_logits
from sys2ft.grid import JOINT
from sys2ft.models import load_model, load_trained
from sys2ft.packing import Pass
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.fine_tune import is_milestone
from sys2ft.training.learners import weights_digest
from sys2ft.training.lora_bank import LoraBank

Row = Mapping[str, Any]


@dataclass
class Respondent:
    """A model, with what was trained for each name.

    Attributes:
        model: that reads; with `bank`, the base that the bank was put on.
        bank: adapters, one a name of `digests`; None where the model itself is the base, or was trained.
        readers: for each item the name of who answers its questions; None for the base.
        digests: for each name that is here what tells its weights from others.
        samples: for each name how many training sequences it has seen.
        milestone: whether training went on after this.
    """

    model: Any
    bank: LoraBank | None = None
    readers: Mapping[str, str] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    milestone: bool = False

    @property
    def names(self) -> list[str]:
        """Who is here."""
        return list(self.digests)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    def logits(self, step: Pass) -> Tensor:
        """(P, V): what each scored token of a pass is predicted from; the pass is on the device.

        Raises:
            ValueError: the pass is for adapters and there is no bank, or the other way round.
        """
        if self.bank is not None:
            return self.bank.logits(step)
        if step.offsets is not None:
            raise ValueError("sequences of an adapter were given to a bare model")
        return token_logits(self.model, step)

    def alone(self, adapter: int) -> AbstractContextManager[None]:
        """Within it `model` is one of transformers' own: every token is read under one adapter, and it generates.

        Args:
            adapter: its number in the bank; without meaning where there is none.
        """
        return own_attention(self.model) if self.bank is None else self.bank.alone(adapter)


def choose_readers(items: Sequence[str], method: MethodSettings) -> dict[str, str]:
    """For each item the name of who learned it."""
    return {item: JOINT if method.per == "split" else item for item in items}


def training_points(log: Sequence[Row], milestones: bool) -> list[dict[str, int]]:
    """The moments that were kept, the end last: for each name of `train_log` the sequences it had seen.

    Args:
        milestones: whether what was learned was kept along the way.
    """
    seen: dict[str, list[int]] = {}
    for row in log:
        counts = seen.setdefault(row["item"], [0])
        counts.append(counts[-1] + row["samples"])
    end = {name: counts[-1] for name, counts in seen.items()}
    kept = {
        (after, name)
        for name, counts in seen.items()
        for before, after in pairwise(counts)
        if milestones and is_milestone(before, after, counts[-1])
    }
    moments = sorted({after for after, _ in kept})
    return [{name: moment for name in seen if (moment, name) in kept} for moment in moments] + [end]


def open_respondents(
    manifest: Path,
    adapters: Path,
    readers: Mapping[str, str],
    method: MethodSettings,
    points: Sequence[Mapping[str, int]],
) -> Iterator[Respondent]:
    """Everyone who is to answer for a cell, one after the other; each is to be done with before the next.

    Args:
        manifest: the learner's `model.json`.
        adapters: the folder that fine-tuning wrote.
        points: as `training_points` gives them.
    """
    bank = LoraBank(load_model(manifest), list(points[-1]), method) if method.kind == "lora" else None
    for number, samples in enumerate(points):
        milestone = number < len(points) - 1
        folders = {n: adapters / n / f"samples={seen}" if milestone else adapters / n for n, seen in samples.items()}
        digests = {name: weights_digest(folder) for name, folder in folders.items()}
        if bank is not None:
            for name, folder in folders.items():
                bank.load(bank.names.index(name), folder)
            yield Respondent(bank.model, bank, readers, digests, samples, milestone)
            continue
        for name, folder in folders.items():
            yield Respondent(load_trained(folder), None, readers, {name: digests[name]}, samples, milestone)
