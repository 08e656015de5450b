"""Every setting of a study, as frozen models: the source of `workflow/schemas/config.schema.json`.

`Study` is a whole configuration: a catalogue (models, methods, protocols, kinds, teachers, splits) and a `grid` that
selects from it. The `...Stage` models at the end are what one job is told; a job reruns when its stage settings change
and not otherwise, so each holds exactly what its results depend on.
"""

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from sys2ft.errors import InputError, explain_validation, suggest_name
from sys2ft.grid import AXES, NONE, Cell, expand_grid

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, StringConstraints(pattern=SAFE_NAME, max_length=100)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Condition = Literal["closed_book", "in_context", "other_news"]
Control = Literal["blank_question", "other_adapter"]
Mode = Literal["letter", "cloze"]
Dtype = Literal["bfloat16", "float32"]


class Frozen(BaseModel):
    """Settings cannot be changed after they are read, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def check_template(template: str, allowed: set[str], required: set[str]) -> str:
    """A prompt whose placeholders are known.

    Raises:
        ValueError: a placeholder is unknown or missing, or a brace stands alone.
    """
    try:
        found = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"{error} in the prompt; double a brace that is meant as text") from None
    if unknown := found - allowed:
        raise ValueError(f"unknown placeholder {{{min(unknown)}}}; use {', '.join(sorted(allowed))}")
    if lacking := required - found:
        raise ValueError(f"the placeholder {{{min(lacking)}}} is missing; write it where its text is to stand")
    return template


# ---------------------------------------------------------------------------------------------------- the catalogue
class HubSource(Frozen):
    """A repository on the Hugging Face hub, at one commit."""

    kind: Literal["hub"]
    repository: str
    """`owner/name`."""
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    """The full commit, so that a moved branch cannot change results."""


class DirectorySource(Frozen):
    """A local directory with safetensors, `config.json` and a tokenizer."""

    kind: Literal["directory"]
    path: str
    """Relative to the project, or absolute."""


class GgufSource(Frozen):
    """A GGUF file on disk or inside an installed Python package (found without importing it)."""

    kind: Literal["gguf"]
    file: str
    """The file's path; inside the package's folder where `package` is given."""
    package: str | None = None
    """The import name of the package that ships the file as data."""
    sha256: Sha256
    """Checked before any work starts."""


class RandomSource(Frozen):
    """A model of random weights with a byte-level tokenizer, for tests and for measuring speed."""

    kind: Literal["random"]
    architecture: Name
    """A transformers `model_type`, such as `llama`."""
    shape: dict[str, int]
    """Arguments of its configuration class, such as `hidden_size`."""
    seed: int = 0


class ModelResources(Frozen):
    """What a job that holds this model needs; where it runs is the profile's business."""

    threads: int = Field(1, ge=1)
    gpu: int = Field(0, ge=0)
    mem_mb: int = Field(4000, ge=1)
    """Main memory, in MB."""
    runtime: int = Field(60, ge=1)
    """Minutes."""


class ModelSettings(Frozen):
    """A causal language model that can learn, teach, or both."""

    source: HubSource | DirectorySource | GgufSource | RandomSource = Field(discriminator="kind")
    dtype: Dtype = "bfloat16"
    """Of the frozen weights and of the arithmetic; adapters are kept in float32."""
    licence: str = ""
    resources: ModelResources = ModelResources()


class MethodSettings(Frozen):
    """What is updated, and how. `lora`: one adapter an item, all items of a split trained at once."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, multiple_of=8)
    """A multiple of 8, as grouped matrix products on GPUs ask for."""
    alpha: float = Field(32.0, gt=0)
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Last names of the linear modules that get an adapter."""
    lr: float = Field(5e-4, gt=0)
    """Constant after warm-up, so that a learning curve can be read off one run."""
    warmup_steps: int = Field(2, ge=0)
    batch_size: int = Field(4, ge=1)
    """Sequences a step and adapter."""
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    """Of each adapter's own gradient."""
    row_tokens: int = Field(512, ge=16)
    """Sequences are packed into rows of this many tokens; attention costs its square."""
    tokens_per_pass: int = Field(2048, ge=16)
    """Tokens in one forward and backward pass; bounds memory, does not change results."""


class ProtocolSettings(Frozen):
    """How items and study data become training sequences."""

    study: Name | None = None
    """The kind of study data that is trained; null: the news itself."""
    ask: str
    """What the user asks in the trained sequence; {title}, and {question} where the kind has questions."""
    prefix: Literal["none", "own_news"] = "none"
    """`own_news` puts the item before the sequence, as in-context evaluation does (contextual shadowing)."""
    prefix_loss: bool = False
    """Whether the prefix is trained as well."""

    @field_validator("ask")
    @classmethod
    def _ask(cls, ask: str) -> str:
        return check_template(ask, {"title", "question"}, set())

    @model_validator(mode="after")
    def _loss_needs_prefix(self) -> "ProtocolSettings":
        if self.prefix_loss and self.prefix == "none":
            raise ValueError("prefix_loss without a prefix; set prefix: own_news or remove prefix_loss")
        return self


class KindSettings(Frozen):
    """A kind of study data: what the teacher is told, and how its text is read."""

    instruction: str
    """Follows the news in the teacher's prompt; {title}, {number}."""
    parser: Literal["text", "questions"] = "text"
    """`text`: the completion is one study row. `questions`: its lines are questions, each asked in a second call."""
    per_call: int = Field(1, ge=1)
    """Study rows asked for in one call; fills {number}."""
    answer_instruction: str | None = None
    """The second call of `questions`, with the news in context; {question}."""
    max_new_tokens: int = Field(256, ge=1)
    answer_max_new_tokens: int = Field(128, ge=1)
    min_kept: float = Field(0.25, ge=0, le=1)
    """A cell fails when a smaller share of an item's study rows could be read."""

    @field_validator("instruction")
    @classmethod
    def _instruction(cls, text: str) -> str:
        return check_template(text, {"title", "number"}, set())

    @model_validator(mode="after")
    def _answer(self) -> "KindSettings":
        if (self.parser == "questions") != (self.answer_instruction is not None):
            raise ValueError("parser and answer_instruction disagree; give answer_instruction with 'questions' only")
        if self.parser == "text" and self.per_call > 1:
            raise ValueError("a completion of parser 'text' is one study row; remove per_call")
        if self.answer_instruction is not None:
            check_template(self.answer_instruction, {"title", "question"}, {"question"})
        return self


class TeacherSettings(Frozen):
    """Who writes study data. `self` stands for the learner; a model's name stands for that model."""

    engine: Literal["transformers", "recorded"] = "transformers"
    """`transformers` runs a model; `recorded` reads what was written before."""
    model: Name | None = None
    """A catalogue model; null where the teacher's own name says it, and for recorded study data."""
    path: str | None = None
    """The YAML file of recorded study data."""
    temperature: float = Field(0.8, gt=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(64, ge=1)
    """Sampling looks at no more than this many tokens."""
    batch_size: int = Field(16, ge=1)
    """Requests decoded together."""

    @model_validator(mode="after")
    def _recorded_has_path(self) -> "TeacherSettings":
        if (self.engine == "recorded") != (self.path is not None) or (self.path and self.model):
            raise ValueError("engine, path and model disagree; give path (and no model) with engine 'recorded' only")
        return self


class SplitSettings(Frozen):
    """A set of items: a domain, or a set of the user's own."""

    path: str
    """A YAML file of items and questions."""


# ------------------------------------------------------------------------------------------------ defaults of stages
class PromptSettings(Frozen):
    """How news stands in a prompt: in evaluation, before a shadowed sequence and before a teacher's instruction."""

    context: str = "Here is some news.\n\n{news}\n\n"

    @field_validator("context")
    @classmethod
    def _context(cls, text: str) -> str:
        return check_template(text, {"news", "title"}, {"news"})


class BudgetSettings(Frozen):
    """How much is studied and trained; protocols of a grid are matched by it."""

    study_rows: int = Field(8, ge=1)
    """Study rows generated for an item and kind (1024 in New News)."""
    match: Literal["samples"] = "samples"
    samples: int = Field(16, ge=1)
    """Training sequences an item; a protocol with fewer different ones repeats them in a new order."""


class ScoringSettings(Frozen):
    """How questions are asked and answers are read."""

    conditions: tuple[Condition, ...] = ("closed_book", "in_context", "other_news")
    controls: tuple[Control, ...] = ("blank_question", "other_adapter")
    modes: tuple[Mode, ...] = ("letter", "cloze")
    neutral_question: str = "Answer the question."
    """Stands in place of the question in the control `blank_question`."""
    letter_instruction: str = "Answer with the letter of the right option only."
    row_tokens: int = Field(512, ge=16)
    """Rows of this many tokens; a prefix is computed again in every row that needs it."""
    tokens_per_pass: int = Field(3072, ge=16)
    """Tokens in one forward pass; bounds memory."""

    @model_validator(mode="after")
    def _closed_book(self) -> "ScoringSettings":
        if "closed_book" not in self.conditions or not self.modes:
            raise ValueError("closed_book and at least one mode are needed for every measure; add them")
        return self


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


class Study(Frozen):
    """A whole configuration."""

    results: str = Field("results", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    """The folder that everything is written to, relative to the project."""
    models: dict[Name, ModelSettings]
    methods: dict[Name, MethodSettings]
    protocols: dict[Name, ProtocolSettings]
    kinds: dict[Name, KindSettings]
    teachers: dict[Name, TeacherSettings]
    splits: dict[Name, SplitSettings]
    prompts: PromptSettings = PromptSettings()
    budget: BudgetSettings = BudgetSettings()
    scoring: ScoringSettings = ScoringSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    grid: GridSettings

    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return self.grid.cells({name: protocol.study is not None for name, protocol in self.protocols.items()})

    def teacher(self, name: str) -> TeacherSettings:
        """The settings of a teacher of the grid; a model's name without an entry teaches as `self` does."""
        settings = self.teachers.get(name) or self.teachers["self"]
        return settings.model_copy(update={"model": name if name in self.models else settings.model})

    # What one job is told, by stage.
    def prepare_model_stage(self, model: str) -> "PrepareModelStage":
        """Settings of `prepare_model`."""
        return PrepareModelStage(source=self.models[model].source, dtype=self.models[model].dtype)

    def generate_study_stage(self, teacher: str, kind: str) -> "GenerateStudyStage":
        """Settings of `generate_study`."""
        return GenerateStudyStage(
            teacher=self.teacher(teacher),
            kind=self.kinds[kind],
            rows=self.budget.study_rows,
            context=self.prompts.context,
        )

    def compose_training_stage(self, protocol: str) -> "ComposeTrainingStage":
        """Settings of `compose_training`."""
        return ComposeTrainingStage(
            protocol=self.protocols[protocol], samples=self.budget.samples, context=self.prompts.context
        )

    def fine_tune_stage(self, method: str) -> "FineTuneStage":
        """Settings of `fine_tune`."""
        return FineTuneStage(method=self.methods[method])

    def score_stage(self) -> "ScoreStage":
        """Settings of `score_base` and `score_answers`."""
        return ScoreStage(scoring=self.scoring, context=self.prompts.context)

    def estimate_effects_stage(self) -> "EstimateEffectsStage":
        """Settings of `estimate_effects`."""
        chosen = {name: self.protocols[name] for name in self.grid.protocol}
        pairs = tuple(
            (plain, shadowed)
            for shadowed, protocol in chosen.items()
            if protocol.prefix != "none"
            for plain, other in chosen.items()
            if (other.study, other.ask, other.prefix) == (protocol.study, protocol.ask, "none")
        )
        return EstimateEffectsStage(statistics=self.statistics, shadow_pairs=pairs)

    def build_tables_stage(self) -> "BuildTablesStage":
        """Settings of `build_tables`."""
        kinds = {name: self.protocols[name].study for name in self.grid.protocol}
        writers = sorted({cell.resolved_teacher() for cell in self.cells() if cell.teacher != NONE})
        models = {writer: self.teacher(writer).model for writer in writers}
        return BuildTablesStage(grid=self.grid, kinds=kinds, teacher_models=models)


class PrepareModelStage(Frozen):
    """What `prepare_model` is told."""

    source: HubSource | DirectorySource | GgufSource | RandomSource = Field(discriminator="kind")
    dtype: Dtype


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


# ----------------------------------------------------------------------------------------------------------- reading
def load_study(config: Mapping[str, Any], file: str | Path = "config/config.yaml") -> Study:
    """Read a merged configuration and check that the grid names what the catalogue has.

    Args:
        config: the mapping that the configuration files merge to.
        file: what to call it in messages.

    Raises:
        InputError: an unknown key, a value of the wrong kind, or a name that is not in the catalogue.
    """
    try:
        study = Study.model_validate(dict(config))
    except ValidationError as error:
        raise explain_validation(file, error, known_keys=_known_keys(config)) from None
    _check_names(study, file)
    return study


def _known_keys(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """The keys that each part of the configuration may have, by its dotted path."""
    parts: dict[str, type[Frozen]] = {
        "": Study, "prompts": PromptSettings, "budget": BudgetSettings, "scoring": ScoringSettings,
        "statistics": StatisticsSettings, "grid": GridSettings,
    }  # fmt: skip
    catalogue: dict[str, type[Frozen]] = {
        "models": ModelSettings, "methods": MethodSettings, "protocols": ProtocolSettings,
        "kinds": KindSettings, "teachers": TeacherSettings, "splits": SplitSettings,
    }  # fmt: skip
    for section, entry in catalogue.items():
        entries = config.get(section)
        names = entries if isinstance(entries, Mapping) else {}
        parts |= {f"{section}.{name}": entry for name in names}
    return {path: list(model.model_fields) for path, model in parts.items()}


def _check_names(study: Study, file: str | Path) -> None:
    def check(field: str, name: str, known: list[str], what: str) -> None:
        if name not in known:
            raise InputError(file, field, f"there is no {what} '{name}'", suggest_name(name, known))

    known = {
        "model": list(study.models), "method": list(study.methods), "protocol": list(study.protocols),
        "teacher": [*study.teachers, *study.models], "split": list(study.splits),
    }  # fmt: skip
    for axis, names in known.items():
        for name in getattr(study.grid, axis):
            check(f"grid.{axis}", name, names, axis)
    for name, protocol in study.protocols.items():
        if protocol.study is not None:
            check(f"protocols.{name}.study", protocol.study, list(study.kinds), "kind")
        asks_question = "{question}" in protocol.ask
        has_questions = protocol.study is not None and study.kinds[protocol.study].parser == "questions"
        if asks_question and not has_questions:
            raise InputError(
                file, f"protocols.{name}.ask", "its kind has no questions", "remove {question} or study self_qa"
            )
        if has_questions and not asks_question:
            mend = "write {question} where it is to stand"
            raise InputError(file, f"protocols.{name}.ask", "answers would be trained without their questions", mend)
    for name, teacher in study.teachers.items():
        if teacher.model is not None:
            check(f"teachers.{name}.model", teacher.model, list(study.models), "model")
        elif name != "self" and name not in study.models and teacher.engine != "recorded":
            raise InputError(file, f"teachers.{name}.model", "missing", "name the model that writes")
    if "self" not in study.teachers:
        raise InputError(file, "teachers.self", "missing", "add `self: {engine: transformers}`")
    for reserved in ({NONE, "self"} & set(study.models)) | ({NONE} & set(study.teachers)):
        raise InputError(file, reserved, "the name is reserved", "choose another name")
    for number, match in enumerate(study.grid.exclude):
        for axis, value in match.items():
            check(f"grid.exclude.{number}", axis, list(AXES), "axis")
            if axis == "seed" and value not in study.grid.seed:
                seeds = ", ".join(map(str, study.grid.seed))
                raise InputError(file, f"grid.exclude.{number}.seed", f"no seed is {value!r}", f"use one of: {seeds}")
            if axis != "seed":
                check(f"grid.exclude.{number}.{axis}", str(value), [*known[axis], NONE], axis)
    if not study.cells():
        raise InputError(file, "grid.exclude", "nothing is left of the grid", "exclude less")
