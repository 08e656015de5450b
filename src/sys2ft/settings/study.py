"""A whole configuration: a catalogue and a grid that selects from it."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from sys2ft.errors import InputError, explain_validation, suggest_name
from sys2ft.grid import AXES, JOINT, NONE, Cell, spread_cells
from sys2ft.settings.base import WRITTEN, Frozen, Mode, Name
from sys2ft.settings.catalogue import (
    KindSettings,
    MethodSettings,
    ModelSettings,
    ProtocolSettings,
    ReplaySettings,
    SplitSettings,
    TeacherSettings,
)
from sys2ft.settings.choices import (
    BudgetSettings,
    FilterSettings,
    GridSettings,
    PromptSettings,
    ReportSettings,
    RetentionSettings,
    ScalingSettings,
    ScoringSettings,
    StatisticsSettings,
    TrainingSettings,
    WritingSettings,
)
from sys2ft.settings.prompts import KindPrompts, load_prompts
from sys2ft.settings.resources import DeviceName
from sys2ft.settings.stages import (
    BuildReportStage,
    BuildTablesStage,
    ComposeTrainingStage,
    CurvesStage,
    DrawFiguresStage,
    EstimateEffectsStage,
    FilterStudyStage,
    FineTuneStage,
    FitScalingLawStage,
    GenerateStudyStage,
    Part,
    PrepareModelStage,
    PrepareReplayStage,
    ScoreRetentionStage,
    ScoreStage,
    ValidateNewsStage,
    WriteStage,
)

RUNNING = ("transformers", "vllm")  # the engines that run a model of the catalogue
Check = Callable[[str, str, list[str], str], None]


class Study(Frozen):
    """A whole configuration."""

    results: str = Field("results", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    """The folder that everything is written to, relative to the project."""
    device: DeviceName = "cpu"
    """What jobs that hold a model run on, to compute what they need; no result depends on it."""
    models: dict[Name, ModelSettings]
    methods: dict[Name, MethodSettings]
    protocols: dict[Name, ProtocolSettings]
    kinds: dict[Name, KindSettings]
    teachers: dict[Name, TeacherSettings]
    splits: dict[Name, SplitSettings]
    replay: dict[Name, ReplaySettings] = Field(default_factory=dict)
    prompts: PromptSettings = PromptSettings()
    budget: BudgetSettings = BudgetSettings()
    filters: FilterSettings = FilterSettings()
    training: TrainingSettings = TrainingSettings()
    scoring: ScoringSettings = ScoringSettings()
    writing: WritingSettings = WritingSettings()
    retention: RetentionSettings = RetentionSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    scaling: ScalingSettings = ScalingSettings()
    report: ReportSettings = ReportSettings()
    grid: GridSettings

    @field_validator("results")
    @classmethod
    def _inside_the_project(cls, results: str) -> str:
        if ".." in Path(results).parts:
            raise ValueError("leads out of the project; write a folder inside it")
        return results

    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return self.grid.cells({name: bool(self.kinds_of(name)) for name in self.protocols})

    def shown_cells(self) -> list[Cell]:
        """The cells that can be looked at in the report."""
        return spread_cells(self.cells(), self.report.cells)

    def parts(self, protocol: str) -> tuple[Part, ...]:
        """The protocols that a mix consists of; any other consists of itself."""
        weights = self.protocols[protocol].mix or {protocol: 1.0}
        return tuple(Part(name=name, weight=w, protocol=self.protocols[name]) for name, w in weights.items())

    def kinds_of(self, protocol: str) -> tuple[str, ...]:
        """The kinds of study data that a protocol trains, each once."""
        return tuple(dict.fromkeys(part.protocol.study for part in self.parts(protocol) if part.protocol.study))

    def replay_of(self, protocol: str) -> tuple[str, ...]:
        """The sets of general text that a protocol trains, each once."""
        return tuple(dict.fromkeys(part.protocol.replay for part in self.parts(protocol) if part.protocol.replay))

    def needs_other_news(self) -> str | None:
        """A protocol of the grid that puts another item before the sequence; None where there is none."""
        parts = (part for cell in self.cells() for part in self.parts(cell.protocol))
        return next((part.name for part in parts if part.protocol.prefix == "other_news"), None)

    def filler_of(self, protocol: str) -> list[str]:
        """The file of prose that stands in place of news, where a protocol has it."""
        return [self.prompts.filler] if any(p.protocol.prefix == "filler" for p in self.parts(protocol)) else []

    @cached_property
    def kind_prompts(self) -> dict[str, KindPrompts]:
        """What a teacher is told, for each kind, read from its file.

        Raises:
            InputError: a file cannot be used.
        """
        return {name: load_prompts(kind.prompts) for name, kind in self.kinds.items()}

    def modes(self, split: str) -> tuple[Mode, ...]:
        """How the questions of a split are put."""
        settings = self.splits[split]
        return settings.modes or (("cloze",) if settings.generator else self.scoring.modes)

    def answers(self, split: str) -> tuple[str, ...]:
        """The artefacts that hold its answers: of options that were scored, of texts that were written."""
        modes = set(self.modes(split))
        return ("answers",) * bool(modes - set(WRITTEN)) + ("written",) * bool(modes & set(WRITTEN))

    def shards(self, teacher: str) -> list[int]:
        """The numbers of the jobs that share a split's items."""
        return list(range(self.teacher(teacher).shards))

    def teacher(self, name: str) -> TeacherSettings:
        """The settings of a teacher of the grid; a model's name without an entry teaches as `self` does."""
        settings = self.teachers.get(name) or self.teachers["self"]
        runs_it = settings.engine in RUNNING and name in self.models
        return settings.model_copy(update={"model": name}) if runs_it else settings

    # What one job is told, by stage.
    def prepare_model_stage(self, model: str) -> PrepareModelStage:
        """Settings of `prepare_model`."""
        return PrepareModelStage(source=self.models[model].source, dtype=self.models[model].dtype)

    def validate_news_stage(self, split: str) -> ValidateNewsStage:
        """Settings of `validate_news`."""
        settings = self.splits[split]
        chosen = {"generator": settings.generator, "seed": settings.seed, "size": settings.size}
        return ValidateNewsStage(**chosen, items=self.budget.items)

    def prepare_replay_stage(self, replay: str) -> PrepareReplayStage:
        """Settings of `prepare_replay`."""
        leaks = {"leak_words": self.filters.leak_words, "leak_overlap": self.filters.leak_overlap}
        settings = self.replay[replay].model_copy(update={"licence": ""})
        return PrepareReplayStage(replay=settings, **leaks)

    def _prompts(self, kind: str) -> KindPrompts:
        """The prompts that are used: an unasked check makes nothing stale."""
        prompts = self.kind_prompts[kind]
        return prompts if self.filters.check_support else prompts.model_copy(update={"check": None})

    def generate_study_stage(self, teacher: str, kind: str) -> GenerateStudyStage:
        """Settings of `generate_study`."""
        limits = self.kinds[kind].model_dump(exclude={"prompts", "min_kept"})
        return GenerateStudyStage(
            teacher=self.teacher(teacher),
            prompts=self._prompts(kind),
            rows=self.budget.study_rows,
            context=self.prompts.context,
            **limits,
        )

    def filter_study_stage(self, teacher: str, kind: str, split: str) -> FilterStudyStage:
        """Settings of `filter_study`."""
        settings = self.splits[split]
        chosen = settings.leak_options
        return FilterStudyStage(
            prompts=self._prompts(kind),
            rows=self.budget.study_rows,
            shards=self.teacher(teacher).shards,
            filters=self.filters,
            leak_options=settings.generator is None if chosen is None else chosen,
            **self.kinds[kind].model_dump(include={"per_call", "min_kept"}),
        )

    def compose_training_stage(self, protocol: str) -> ComposeTrainingStage:
        """Settings of `compose_training`."""
        return ComposeTrainingStage(
            parts=self.parts(protocol),
            match=self.budget.match,
            amount=self.budget.amount,
            count_teacher=self.budget.count_teacher,
            context=self.prompts.context,
        )

    def fine_tune_stage(self, method: str) -> FineTuneStage:
        """Settings of `fine_tune`."""
        samples = self.budget.samples if self.budget.match == "samples" else None
        return FineTuneStage(method=self.methods[method], samples=samples, milestones=self.budget.milestones)

    def score_stage(self, split: str) -> ScoreStage:
        """Settings of `score_base` and `score_answers`, where options of a split are scored (`answers`)."""
        modes = tuple(mode for mode in self.modes(split) if mode not in WRITTEN)
        told = {"modes": modes, "tokens_per_pass": ScoringSettings().tokens_per_pass}  # nothing depends on the latter
        told |= {f"{mode}_instruction": "" for mode in ("letter", "statement") if mode not in modes}
        return ScoreStage(scoring=self.scoring.model_copy(update=told), context=self.prompts.context)

    def write_stage(self, split: str) -> WriteStage:
        """Settings of `write_base` and `write_answers`, where answers are written (`answers`)."""
        modes = tuple(mode for mode in self.modes(split) if mode in WRITTEN)
        asked = {name: getattr(self.scoring, name) for name in ("conditions", "controls", "neutral_question")}
        scoring = ScoringSettings().model_copy(update={**asked, "modes": modes})
        names = {"engine"}
        names |= {"instruction", "max_new_tokens"} if "generate" in modes else set()
        names |= {"reasoning_instruction", "reasoning_max_new_tokens"} if "generate_reasoned" in modes else set()
        writing = WritingSettings(**self.writing.model_dump(include=names))
        return WriteStage(scoring=scoring, writing=writing, context=self.prompts.context)

    def score_base_retention_stage(self) -> ScoreRetentionStage:
        """Settings of `score_base_retention`."""
        told = self.retention
        return ScoreRetentionStage(tasks=told.tasks, limit=told.limit, chat_template=told.chat_template)

    def score_retention_stage(self) -> ScoreRetentionStage:
        """Settings of `score_retention`."""
        return self.score_base_retention_stage().model_copy(update={"adapters": self.retention.adapters})

    def estimate_effects_stage(self) -> EstimateEffectsStage:
        """Settings of `estimate_effects`."""
        chosen = {name: self.protocols[name] for name in self.grid.protocol}
        pairs = tuple(
            (plain, shadowed, protocol.prefix + ("+loss" if protocol.prefix_loss else ""))
            for shadowed, protocol in chosen.items()
            if protocol.prefix != "none"
            for plain, other in chosen.items()
            if other == protocol.model_copy(update={"prefix": "none", "prefix_loss": False})
        )
        return EstimateEffectsStage(statistics=self.statistics, models=self.grid.model, shadow_pairs=pairs)

    def trace_learning_stage(self) -> CurvesStage:
        """Settings of `trace_learning`."""
        return CurvesStage(draws=self.statistics.draws, **self._curves())

    def fit_scaling_law_stage(self) -> FitScalingLawStage:
        """Settings of `fit_scaling_law`."""
        return FitScalingLawStage(draws=self.scaling.draws, min_sizes=self.scaling.min_sizes, **self._curves())

    def _curves(self) -> dict[str, Any]:
        return {
            "grid": self.grid,
            "taught": {name: bool(self.kinds_of(name)) for name in self.grid.protocol},
            "methods": {name: self.methods[name].kind for name in self.grid.method},
            "milestones": self.budget.milestones,
            **self.statistics.model_dump(include={"level", "min_items", "seed"}),
        }

    def draw_figures_stage(self) -> DrawFiguresStage:
        """Settings of `draw_figures`."""
        return DrawFiguresStage(grid=self.grid, level=self.statistics.level)

    def build_report_stage(self) -> BuildReportStage:
        """Settings of `build_report`."""
        shown = tuple(cell.path for cell in self.shown_cells())
        told = self.draw_figures_stage().model_dump()
        return BuildReportStage(**told, report=self.report, cells=len(self.cells()), shown=shown)

    def build_tables_stage(self) -> BuildTablesStage:
        """Settings of `build_tables`."""
        kinds = {name: self.kinds_of(name) for name in self.grid.protocol}
        methods = {name: self.methods[name].kind for name in self.grid.method}
        return BuildTablesStage(
            grid=self.grid, kinds=kinds, methods=methods, match=self.budget.match, amount=self.budget.amount,
            answers={split: self.answers(split) for split in self.grid.split},
        )  # fmt: skip


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
        "": Study, "prompts": PromptSettings, "budget": BudgetSettings, "filters": FilterSettings,
        "training": TrainingSettings, "scoring": ScoringSettings, "writing": WritingSettings,
        "retention": RetentionSettings, "statistics": StatisticsSettings, "scaling": ScalingSettings,
        "report": ReportSettings, "grid": GridSettings,
    }  # fmt: skip
    catalogue: dict[str, type[Frozen]] = {
        "models": ModelSettings, "methods": MethodSettings, "protocols": ProtocolSettings,
        "kinds": KindSettings, "teachers": TeacherSettings, "splits": SplitSettings, "replay": ReplaySettings,
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
    reserved = {
        "models": {NONE, "self"}, "teachers": {NONE}, "methods": {NONE}, "protocols": {NONE}, "splits": {JOINT, NONE},
    }  # fmt: skip
    for section, taken in reserved.items():
        for name in taken & set(getattr(study, section)):
            raise InputError(file, f"{section}.{name}", "the name is reserved", "choose another name")
    for axis, names in known.items():
        for name in getattr(study.grid, axis):
            check(f"grid.{axis}", name, names, axis)
    check("statistics.reference_protocol", study.statistics.reference_protocol, known["protocol"], "protocol")
    for name, protocol in study.protocols.items():
        _check_protocol(study, file, name, protocol, check)
    for name, teacher in study.teachers.items():
        if teacher.model is not None:
            check(f"teachers.{name}.model", teacher.model, list(study.models), "model")
        elif name != "self" and name not in study.models and teacher.engine in RUNNING:
            raise InputError(file, f"teachers.{name}.model", "missing", "name the model that writes")
        if teacher.model not in (None, name) and name in study.models:
            mend = "remove model, or give the teacher a name of its own"
            raise InputError(file, f"teachers.{name}.model", f"'{name}' is a model and teaches itself", mend)
        if name == "self" and (teacher.engine not in RUNNING or teacher.model):
            mend = f"write engine: {' or '.join(RUNNING)} and no model, or give the teacher another name"
            raise InputError(file, "teachers.self", "is the learner, which must run", mend)
    if "self" not in study.teachers:
        raise InputError(file, "teachers.self", "missing", "add `self: {engine: transformers}`")
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


def _check_protocol(study: Study, file: str | Path, name: str, protocol: ProtocolSettings, check: Check) -> None:
    if protocol.study is not None:
        check(f"protocols.{name}.study", protocol.study, list(study.kinds), "kind")
    if protocol.replay is not None:
        check(f"protocols.{name}.replay", protocol.replay, list(study.replay), "set of general text")
    for part in protocol.mix or ():
        check(f"protocols.{name}.mix", part, list(study.protocols), "protocol")
        if study.protocols[part].mix is not None:
            raise InputError(file, f"protocols.{name}.mix", f"'{part}' is a mix itself", "name the protocols it mixes")
    asks_question = "{question}" in protocol.ask
    has_questions = protocol.replay is not None or (
        protocol.study is not None and study.kind_prompts[protocol.study].has_questions
    )
    if asks_question and not has_questions:
        raise InputError(
            file, f"protocols.{name}.ask", "its kind has no questions", "remove {question} or study self_qa"
        )
    if has_questions and not asks_question:
        mend = "write {question} where it is to stand"
        raise InputError(file, f"protocols.{name}.ask", "answers would be trained without their questions", mend)
