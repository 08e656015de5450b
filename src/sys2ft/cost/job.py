"""A job that holds a model, as the bill knows it before it runs."""

from dataclasses import dataclass

from sys2ft.cost.amounts import SplitSize, learner_count, moments, samples_of, sequence_sizes
from sys2ft.cost.shape import BYTES, adapter_parameters, count_parameters
from sys2ft.settings.base import Dtype
from sys2ft.settings.catalogue import MethodSettings, ModelSettings
from sys2ft.settings.resources import ModelShape
from sys2ft.settings.study import Study


@dataclass(frozen=True)
class Job:
    """One job; empty is what its rule does not depend on.

    Attributes:
        model: the name of the one that it holds.
        size: of the split; where the rule has none, of the grid's first.
        items: of the split, or of a teacher's share of it.
        method: how what answers or learns was trained; empty for a base and a teacher.
    """

    study: Study
    rule: str
    model: str
    shape: ModelShape
    size: SplitSize
    items: int
    method: str = ""
    protocol: str = ""
    split: str = ""
    kind: str = ""
    teacher: str = ""

    @property
    def settings(self) -> ModelSettings:
        """Of its model."""
        return self.study.models[self.model]

    @property
    def dtype(self) -> Dtype:
        """Of its model."""
        return self.settings.dtype

    @property
    def weights(self) -> float:
        """Bytes of its model."""
        return BYTES[self.dtype] * count_parameters(self.shape)

    @property
    def trained_by(self) -> MethodSettings | None:
        """The settings of its method."""
        return self.study.methods[self.method] if self.method else None

    @property
    def adapter(self) -> int:
        """Numbers of an adapter; 0 where there is none."""
        method = self.trained_by
        if method is None or method.kind != "lora":
            return 0
        return adapter_parameters(self.shape, method.rank, method.targets)

    @property
    def learners(self) -> int:
        """Adapters or models that are trained or answer; the base is one."""
        count = learner_count(self.trained_by, self.items) if self.trained_by else 1
        few = self.study.retention.adapters if self.rule == "score_retention" else None
        return min(count, few or count)

    @property
    def samples(self) -> int:
        """Training sequences of an item."""
        sizes = sequence_sizes(self.study, self.protocol, self.size)
        return samples_of(self.study.budget, sizes, count_parameters(self.shape))

    @property
    def moments(self) -> int:
        """How often what was learned is kept, and asked."""
        if self.trained_by is None:
            return 1
        return moments(self.trained_by, self.samples, self.items, self.study.budget.milestones)

    @property
    def learned(self) -> float:
        """Bytes on disk of what was learned by all, at one moment."""
        return self.learners * (4 * self.adapter or self.weights)

    def opened(self, points: int) -> float:
        """Bytes loaded to answer: the base and adapters, or one trained model after the other."""
        base = 0.0 if self.method and not self.adapter else self.weights
        return base + (points * self.learned if self.method else 0.0)
