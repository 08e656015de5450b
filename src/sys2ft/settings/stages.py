"""What one job is told.

A job reruns when its stage settings change and not otherwise, so each holds exactly what its results depend on.
"""

from pydantic import Field

from sys2ft.grid import Cell
from sys2ft.settings.base import Dtype, Frozen
from sys2ft.settings.catalogue import (
    DirectorySource,
    GgufSource,
    HubSource,
    KindSettings,
    MethodSettings,
    ProtocolSettings,
    RandomSource,
    TeacherSettings,
)
from sys2ft.settings.choices import GridSettings, ScoringSettings, StatisticsSettings


class PrepareModelStage(Frozen):
    """What `prepare_model` is told."""

    source: HubSource | DirectorySource | GgufSource | RandomSource = Field(discriminator="kind")
    dtype: Dtype


class ValidateNewsStage(Frozen):
    """What `validate_news` is told, beside the file."""

    generator: str | None
    seed: int
    size: int | None
    items: int | None
    """The first ones are kept; null: all."""


class GenerateStudyStage(Frozen):
    """What `generate_study` is told."""

    teacher: TeacherSettings
    kind: KindSettings
    rows: int
    context: str


class ComposeTrainingStage(Frozen):
    """What `compose_training` is told."""

    protocol: ProtocolSettings
    samples: int
    context: str


class FineTuneStage(Frozen):
    """What `fine_tune` is told."""

    method: MethodSettings


class ScoreStage(Frozen):
    """What `score_base` and `score_answers` are told."""

    scoring: ScoringSettings
    context: str


class EstimateEffectsStage(Frozen):
    """What `estimate_effects` is told."""

    statistics: StatisticsSettings
    shadow_pairs: tuple[tuple[str, str], ...]
    """(protocol, the same protocol shadowed)."""


class BuildTablesStage(Frozen):
    """What `build_tables` is told: enough to enumerate the cells, however many they are."""

    grid: GridSettings
    kinds: dict[str, str | None]
    """For each protocol of the grid its kind of study data."""
    teacher_models: dict[str, str | None]
    """For each teacher the model that writes; null for recorded study data."""

    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return self.grid.cells({name: kind is not None for name, kind in self.kinds.items()})
