"""Who answers: the base, a bank of adapters, or a fully trained model; at the end of training or at a milestone."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sys2ft.forward import own_attention, token_logits
from sys2ft.learned import Learned
from sys2ft.models import load_generation_config, load_model, load_trained
from sys2ft.packing import Pass
from sys2ft.settings.catalogue import MethodSettings
from sys2ft.training.lora_bank import LoraBank


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


def open_respondents(
    manifest: Path, points: Sequence[Sequence[Learned]], readers: Mapping[str, str], method: MethodSettings
) -> Iterator[Respondent]:
    """Everyone who is to answer for a cell, one after the other; each is to be done with before the next.

    Args:
        manifest: the learner's `model.json`.
        points: what was learned, moment by moment (`find_learned`).
        readers: for each item the name of who answers its questions.
    """
    if method.kind == "lora":
        bank = LoraBank(load_model(manifest), [one.name for one in points[-1]], method)
        for point in points:
            for one in point:
                bank.load(bank.names.index(one.name), Path(str(one.folder)))
            yield _respondent(bank.model, bank, readers, point)
        return
    for one in itertools.chain(*points):
        model = load_trained(Path(str(one.folder)))
        model.generation_config = load_generation_config(manifest)
        yield _respondent(model, None, readers, [one])


def _respondent(
    model: Any, bank: LoraBank | None, readers: Mapping[str, str], learned: Sequence[Learned]
) -> Respondent:
    digests = {one.name: str(one.digest) for one in learned}
    return Respondent(model, bank, readers, digests, {one.name: one.samples for one in learned}, learned[0].milestone)
