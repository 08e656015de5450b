"""How the catalogue is used, and what of it is run."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sys2ft.grid import AXES, Cell, expand_grid
from sys2ft.settings.base import Frozen, Mode, Name, check_template

Condition = Literal["closed_book", "in_context", "other_news"]
Control = Literal["blank_question", "other_adapter"]


class PromptSettings(Frozen):
    """How news stands in a prompt: in evaluation, before a shadowed sequence and before a teacher's instruction."""

    context: str = "Here is some news.\n\n{news}\n\n"

    filler: str = "data/filler.txt"
    """Neutral prose that stands in place of news before a sequence, cut to the news' length in tokens."""

    @field_validator("context")
    @classmethod
    def _context(cls, text: str) -> str:
        return check_template(text, {"news", "title"}, {"news"})


class BudgetSettings(Frozen):
    """How much is studied and trained; protocols of a grid are matched by it."""

    items: int | None = Field(None, ge=1)
    """The first items of each split that are studied and asked about; null: all."""
    study_rows: int = Field(8, ge=1)
    """Study rows generated for an item and kind (1024 in New News)."""
    match: Literal["samples", "tokens", "flops"] = "samples"
    """What protocols are matched by, for each item: training sequences, trained tokens (those with loss), or FLOPs."""
    samples: int = Field(16, ge=1)
    """Training sequences an item; a protocol with fewer different ones repeats them in a new order."""
    tokens: int | None = Field(None, ge=1)
    """Trained tokens an item, with `match: tokens`."""
    flops: float | None = Field(None, gt=0)
    """FLOPs an item, with `match: flops`."""
    count_teacher: bool = False
    """Whether the FLOPs of writing an item's study data are part of its FLOPs."""
    milestones: bool = False
    """Whether what was learned is kept and scored along the way too, after 1, 2, 4, ... sequences of each learner."""

    @model_validator(mode="after")
    def _amount(self) -> "BudgetSettings":
        if self.match != "samples" and getattr(self, self.match) is None:
            raise ValueError(f"match is '{self.match}', and {self.match} is missing; say how many an item")
        if self.count_teacher and self.match != "flops":
            raise ValueError("count_teacher needs FLOPs to count; write match: flops")
        return self

    @property
    def amount(self) -> float:
        """How many of what is matched."""
        return float(getattr(self, self.match))


class FilterSettings(Frozen):
    """Which study rows are trained; every row that is not is counted by its reason."""

    max_words: int = Field(600, ge=1)
    """A longer text is left out."""
    near_duplicate: float = Field(0.8, gt=0, le=1)
    """A row is left out whose runs of three words agree so much (Jaccard) with those of an earlier row of its item."""
    check_support: bool = False
    """Whether the teacher is asked, with the news in context, if the news supports what it wrote."""
    leak_words: int = Field(5, ge=1)
    """An evaluation question is compared with a study row by its runs of that many words."""
    leak_overlap: float = Field(0.5, gt=0, le=1)
    """A row that holds such a share of an evaluation question's runs, or of an option's, is left out."""


class TrainingSettings(Frozen):
    """What is done beside fine-tuning; no result depends on it."""

    checkpoint_minutes: float = Field(10.0, ge=0)
    """Between two checkpoints, from which a killed job goes on; a job that is told to stop writes one at once."""
    tensorboard: bool = False
    """Whether each cell's folder gets TensorBoard's files."""


class ScoringSettings(Frozen):
    """How questions are asked and answers are read."""

    conditions: tuple[Condition, ...] = ("closed_book", "in_context", "other_news")
    controls: tuple[Control, ...] = ("blank_question", "other_adapter")
    modes: tuple[Mode, ...] = ("letter", "cloze")
    neutral_question: str = "Answer the question."
    """Stands in place of the question in the control `blank_question`."""
    letter_instruction: str = "Answer with the letter of the right option only."
    statement_instruction: str = "State a fact."
    """Stands before the true and the false statement of the mode `statement`, where nothing is asked."""
    tokens_per_pass: int = Field(2048, ge=16)
    """Tokens in one forward pass; bounds memory."""

    @model_validator(mode="after")
    def _closed_book(self) -> "ScoringSettings":
        if "closed_book" not in self.conditions or not self.modes:
            raise ValueError("closed_book and at least one mode are needed for every measure; add them")
        return self


class WritingSettings(Frozen):
    """How answers are written in the modes `generate` and `generate_reasoned`: greedily, options not shown."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs the model; vLLM puts adapters on as LoRA requests."""
    instruction: str = "Answer in a few words."
    """Stands before the question in `generate`."""
    max_new_tokens: int = Field(32, ge=1)
    """Of an answer."""
    reasoning_instruction: str = (
        'Think step by step. Then end with a line that begins with "Answer:" and gives the answer in a few words.'
    )
    """Stands before the question in `generate_reasoned`, where what follows the last "Answer:" is read."""
    reasoning_max_new_tokens: int = Field(512, ge=1)
    """Of reasoning and answer."""
    batch_size: int = Field(16, ge=1)
    """Answers written together."""


class RetentionSettings(Frozen):
    """What a model knew before it learned the news: tasks of EleutherAI's lm_eval, put to base and tuned models."""

    tasks: tuple[str, ...] = Field(("sys2ft_general_knowledge", "sys2ft_text"), min_length=1)
    """Names of tasks, groups or tags, of lm_eval or of `include`."""
    include: str = "config/lm_eval"
    """A folder with task files of your own."""
    limit: int | None = Field(None, ge=1)
    """The first documents of each task; null: all."""
    adapters: int | None = Field(None, ge=1)
    """How many adapters or models of a cell answer, the first in the order of its items; null: all."""
    chat_template: bool = True
    """Whether questions are put as chats."""
    batch_size: int = Field(16, ge=1)
    """Answers that are written together, in tasks that have the model write."""
    path: str = "data/general_knowledge.yaml"
    """A YAML file of general questions, which general text that is trained must not hold."""


class StatisticsSettings(Frozen):
    """Intervals, tests and verdicts."""

    draws: int = Field(10_000, ge=100)
    """Bootstrap draws."""
    level: float = Field(0.95, gt=0.5, lt=1)
    power: float = Field(0.8, gt=0.5, lt=1)
    """Of the smallest detectable difference."""
    min_items: int = Field(5, ge=2)
    """With fewer items no interval is given: a bootstrap over so few clusters means nothing."""
    reference_protocol: Name = "naive"
    """Paired contrasts compare each protocol with this one."""
    seed: int = 0


class ScalingSettings(Frozen):
    """The fit of a scaling law."""

    draws: int = Field(200, ge=100)
    """Bootstrap draws, in each of which every form is fitted again."""
    min_sizes: int = Field(3, ge=3)
    """With fewer sizes of models no law is said to be identified: one is left out to be predicted, by two or more."""


class ReportSettings(Frozen):
    """How much stands in the report, whose size it bounds; all of it stands in the tables."""

    cells: int = Field(24, ge=0)
    """Cells that can be looked at, so chosen that each name of an axis is among them about equally often."""
    items: int = Field(1, ge=1)
    """Items of each of them, the first of the split."""
    rows: int = Field(20_000, ge=1)
    """Rows of a table at most, the first ones."""


class GridSettings(Frozen):
    """What is run: names from the catalogue for each axis."""

    model: tuple[Name, ...] = Field(min_length=1)
    method: tuple[Name, ...] = Field(min_length=1)
    protocol: tuple[Name, ...] = Field(min_length=1)
    teacher: tuple[Name, ...] = Field(min_length=1)
    split: tuple[Name, ...] = Field(min_length=1)
    seed: tuple[int, ...] = Field(min_length=1)
    exclude: tuple[dict[str, str | int], ...] = ()
    """Partial matches: a cell that agrees with all keys of an entry is left out."""

    def cells(self, needs_teacher: Mapping[str, bool]) -> list[Cell]:
        """The cells selected, given which protocols train on study data."""
        return expand_grid({axis: getattr(self, axis) for axis in AXES}, self.exclude, needs_teacher)
