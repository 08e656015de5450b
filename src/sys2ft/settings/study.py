"""A whole configuration: a catalogue and a grid that selects from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from sys2ft.errors import InputError, explain_validation, suggest_name
from sys2ft.grid import AXES, NONE, Cell
from sys2ft.settings.base import Frozen, Name
from sys2ft.settings.catalogue import (
    KindSettings,
    MethodSettings,
    ModelSettings,
    ProtocolSettings,
    SplitSettings,
    TeacherSettings,
)
from sys2ft.settings.choices import (
    BudgetSettings,
    GridSettings,
    PromptSettings,
    RetentionSettings,
    ScoringSettings,
    StatisticsSettings,
)
from sys2ft.settings.stages import (
    BuildTablesStage,
    ComposeTrainingStage,
    EstimateEffectsStage,
    FineTuneStage,
    GenerateStudyStage,
    PrepareModelStage,
    ScoreStage,
    ValidateNewsStage,
)


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
    retention: RetentionSettings = RetentionSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    grid: GridSettings

    @field_validator("results")
    @classmethod
    def _inside_the_project(cls, results: str) -> str:
        if ".." in Path(results).parts:
            raise ValueError("leads out of the project; write a folder inside it")
        return results

    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return self.grid.cells({name: protocol.study is not None for name, protocol in self.protocols.items()})

    def teacher(self, name: str) -> TeacherSettings:
        """The settings of a teacher of the grid; a model's name without an entry teaches as `self` does."""
        settings = self.teachers.get(name) or self.teachers["self"]
        return settings.model_copy(update={"model": name if name in self.models else settings.model})

    # What one job is told, by stage.
    def prepare_model_stage(self, model: str) -> PrepareModelStage:
        """Settings of `prepare_model`."""
        return PrepareModelStage(source=self.models[model].source, dtype=self.models[model].dtype)

    def validate_news_stage(self, split: str) -> ValidateNewsStage:
        """Settings of `validate_news`."""
        settings = self.splits[split]
        chosen = {"generator": settings.generator, "seed": settings.seed, "size": settings.size}
        return ValidateNewsStage(**chosen, items=self.budget.items)

    def generate_study_stage(self, teacher: str, kind: str) -> GenerateStudyStage:
        """Settings of `generate_study`."""
        return GenerateStudyStage(
            teacher=self.teacher(teacher),
            kind=self.kinds[kind],
            rows=self.budget.study_rows,
            context=self.prompts.context,
        )

    def compose_training_stage(self, protocol: str) -> ComposeTrainingStage:
        """Settings of `compose_training`."""
        return ComposeTrainingStage(
            protocol=self.protocols[protocol], samples=self.budget.samples, context=self.prompts.context
        )

    def fine_tune_stage(self, method: str) -> FineTuneStage:
        """Settings of `fine_tune`."""
        return FineTuneStage(method=self.methods[method])

    def score_stage(self, split: str) -> ScoreStage:
        """Settings of `score_base` and `score_answers`."""
        settings = self.splits[split]
        modes = settings.modes or (("cloze",) if settings.generator else self.scoring.modes)
        return ScoreStage(scoring=self.scoring.model_copy(update={"modes": modes}), context=self.prompts.context)

    def estimate_effects_stage(self) -> EstimateEffectsStage:
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

    def build_tables_stage(self) -> BuildTablesStage:
        """Settings of `build_tables`."""
        kinds = {name: self.protocols[name].study for name in self.grid.protocol}
        writers = sorted({cell.resolved_teacher() for cell in self.cells() if cell.teacher != NONE})
        models = {writer: self.teacher(writer).model for writer in writers}
        return BuildTablesStage(grid=self.grid, kinds=kinds, teacher_models=models)


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
        "retention": RetentionSettings, "statistics": StatisticsSettings, "grid": GridSettings,
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
