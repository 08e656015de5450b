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
    MethodSettings,
    ProtocolSettings,
    RandomSource,
    ReplaySettings,
    TeacherSettings,
)
from sys2ft.settings.choices import (
    FilterSettings,
    GridSettings,
    ReportSettings,
    ScoringSettings,
    StatisticsSettings,
    WritingSettings,
)
from sys2ft.settings.prompts import KindPrompts


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


class PrepareReplayStage(Frozen):
    """What `prepare_replay` is told."""

    replay: ReplaySettings
    leak_words: int
    leak_overlap: float


class GenerateStudyStage(Frozen):
    """What `generate_study` is told."""

    teacher: TeacherSettings
    prompts: KindPrompts
    per_call: int
    list_calls: int
    list_max_new_tokens: int
    max_new_tokens: int
    rows: int
    context: str


class FilterStudyStage(Frozen):
    """What `filter_study` is told."""

    prompts: KindPrompts
    per_call: int
    rows: int
    shards: int
    """Tables of completions that the rows are read from."""
    min_kept: float
    filters: FilterSettings
    leak_options: bool


class Part(Frozen):
    """A protocol within a protocol: a mix has several, any other has itself."""

    name: str
    weight: float
    protocol: ProtocolSettings


class ComposeTrainingStage(Frozen):
    """What `compose_training` is told."""

    parts: tuple[Part, ...]
    match: str
    amount: float
    count_teacher: bool
    context: str


class FineTuneStage(Frozen):
    """What `fine_tune` is told."""

    method: MethodSettings
    samples: int | None = None
    """Training sequences that every item must have; null: as many as there are."""
    milestones: bool = False
    """Whether what was learned is kept after 1, 2, 4, ... sequences too."""


class ScoreStage(Frozen):
    """What `score_base` and `score_answers` are told."""

    scoring: ScoringSettings
    context: str


class WriteStage(Frozen):
    """What `write_base` and `write_answers` are told."""

    scoring: ScoringSettings
    """Conditions, controls, modes and the neutral question; nothing else of it is read."""
    writing: WritingSettings
    """What the modes need; how many answers are written together is told apart."""
    context: str


class ScoreRetentionStage(Frozen):
    """What `score_base_retention` and `score_retention` are told."""

    tasks: tuple[str, ...]
    limit: int | None
    chat_template: bool
    adapters: int | None = None
    """Of a base there is none to count."""


class EstimateEffectsStage(Frozen):
    """What `estimate_effects` is told."""

    statistics: StatisticsSettings
    models: tuple[str, ...]
    """In the order of the grid: each is compared with the one before it."""
    shadow_pairs: tuple[tuple[str, str, str], ...]
    """(protocol, the same shadowed, by what: own_news, other_news or filler, with `+loss` where that is trained)."""


class CurvesStage(Frozen):
    """What `trace_learning` is told: which cells, and how intervals are made."""

    grid: GridSettings
    taught: dict[str, bool]
    """For each protocol of the grid whether it trains on study data."""
    methods: dict[str, str]
    """For each method of the grid what it updates: `lora` or `full`."""
    milestones: bool
    """Whether what was learned was kept along the way."""
    draws: int
    level: float
    min_items: int
    seed: int

    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return self.grid.cells(self.taught)


class FitScalingLawStage(CurvesStage):
    """What `fit_scaling_law` is told; its draws are fewer, as each is a fit."""

    min_sizes: int


class DrawFiguresStage(Frozen):
    """What `draw_figures` is told."""

    grid: GridSettings
    """The order in which names stand."""
    level: float
    """Of the intervals."""


class BuildReportStage(DrawFiguresStage):
    """What `build_report` is told."""

    report: ReportSettings
    cells: int
    """Of the whole grid."""
    shown: tuple[str, ...]
    """The cells that can be looked at, by their paths."""


class BuildTablesStage(Frozen):
    """What `build_tables` is told: enough to enumerate the cells, however many they are."""

    grid: GridSettings
    kinds: dict[str, tuple[str, ...]]
    """For each protocol of the grid its kinds of study data."""
    methods: dict[str, str]
    """For each method of the grid what it updates: `lora` or `full`."""
    match: str
    amount: float
    answers: dict[str, tuple[str, ...]]
    """For each split the artefacts that hold its answers."""

    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return self.grid.cells({name: bool(kinds) for name, kinds in self.kinds.items()})
