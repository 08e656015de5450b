"""Everything that can be checked before the first job starts, in one place."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sys2ft.cost.bill import Bill
from sys2ft.cost.needs import zero_stage
from sys2ft.cost.shape import linears
from sys2ft.errors import InputError
from sys2ft.evaluation.questions import check_others_exist
from sys2ft.evaluation.reading import check_readable
from sys2ft.evaluation.tasks import task_files
from sys2ft.grid import NONE, Cell
from sys2ft.models import check_prepared, check_source
from sys2ft.news.items import NewsFile, check_unique, load_general, open_split, question_rows
from sys2ft.paths import answer_paths, artefact_path, study_path
from sys2ft.settings.base import WRITTEN
from sys2ft.settings.resources import Launch, ModelShape
from sys2ft.settings.study import Study, load_study
from sys2ft.study.engines.recorded import check_questions, check_rows, load_recorded
from sys2ft.study.engines.vllm_offline import LORA_RANKS
from sys2ft.study.replay import load_replay
from sys2ft.yaml_files import read_config


def open_study(config: Mapping[str, Any], file: str | Path) -> Study:
    """Read a configuration and check it, its news, its models' files and all else that is read.

    Raises:
        InputError: names the file, the field and the mend.
    """
    study = load_study(config, file)
    news = check_news(study, file)
    check_models(study, file)
    check_costs(study, news, file)
    check_writing(study, file)
    check_teachers(study, news, file)
    check_recorded(study, news)
    load_general(study.retention.path)
    task_files(study.retention)
    check_texts(study, file)
    return study


def open_configured(files: Sequence[str]) -> Study:
    """The same from files that are read over `config/config.yaml`, as `snakemake --configfile` does.

    Raises:
        InputError: likewise.
    """
    told = ["config/config.yaml", *files]
    return open_study(read_config(told), " + ".join(reversed(told)))


def check_news(study: Study, file: str | Path) -> dict[str, NewsFile]:
    """Read the selected splits.

    Raises:
        InputError: a file cannot be used, an id stands twice, or a split is too small for what is asked of it.
    """
    news: dict[str, NewsFile] = {}
    for split in study.grid.split:
        settings = study.splits[split]
        path = settings.path or file
        try:
            news[split] = open_split(split, settings.path, study.validate_news_stage(split))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(file, f"splits.{split}.size", str(error), "correct the size") from None
        if news[split].split != split:
            raise InputError(
                path, "split", f"is '{news[split].split}', but {file} calls it '{split}'", "give both one name"
            )
        if len(news[split].items) == 1 and (shadowed := study.needs_other_news()):
            lacking = f"the split '{split}' has one item, and {shadowed} puts another one before it"
            raise InputError(path, "items", lacking, "add an item, or take the protocol out of the grid")
        if problem := check_others_exist(split, len(news[split].items), study.scoring):
            raise InputError(path, "items", problem, "add an item, or take those out of the settings of scoring")
        modes = study.modes(split)
        if "statement" in modes:
            others = set(modes) - {"statement", *WRITTEN}
            _check_statements(split, path, news[split], wanted=bool(settings.modes) or not others)
        if "written" in study.answers(split):
            _check_readable(path, news[split])
    check_unique((study.splits[split].path or file, content) for split, content in news.items())
    return news


def _check_statements(split: str, path: str | Path, news: NewsFile, wanted: bool) -> None:
    """All questions have statements, or none has and the split was not expressly given the mode."""
    questions = [question for item in news.items for question in item.questions]
    lacking = [question.id for question in questions if question.statement is None]
    if lacking and (wanted or len(lacking) < len(questions)):
        mend = f"add statement and false_statement, or write splits.{split}.modes without 'statement'"
        raise InputError(path, f"question '{lacking[0]}'", "has no statement to score", mend)


def _check_readable(path: str | Path, news: NewsFile) -> None:
    """No two options of a question would be read alike where answers are written."""
    for row in question_rows(news):
        if problem := check_readable(row):
            mend = "tell the options apart by words, or leave out the modes that write"
            raise InputError(path, f"question '{row['question_id']}'", problem, mend)


def check_models(study: Study, file: str | Path) -> None:
    """Check the files of the models that the grid uses.

    Raises:
        InputError: a file is missing, or is not the one meant or the one that was prepared.
    """
    for name in used_models(study):
        manifest = Path(artefact_path(study.results, "model", model=name))
        if manifest.exists():
            check_prepared(name, study.models[name], manifest, file)
        else:
            check_source(name, study.models[name], file)


def check_costs(study: Study, news: Mapping[str, NewsFile], file: str | Path) -> None:
    """Check that what every job needs can be computed and had, and what fine-tuning by several processes needs.

    Raises:
        InputError: a model's shape is unknown, no number of GPUs holds a job, DeepSpeed's configuration cannot be read,
            or a method of the grid knows one process only.
    """
    bill = Bill(study, file, news)
    bill.check()
    for cell in dict.fromkeys(replace(cell, seed=0, teacher=NONE) for cell in study.cells()):
        _check_launch(study, cell, bill.launch(cell.keys()), file)
        _check_targets(study, cell, bill.shape(cell.model), file)


def _check_targets(study: Study, cell: Cell, shape: ModelShape | None, file: str | Path) -> None:
    method = study.methods[cell.method]
    if shape is None or method.kind != "lora" or "all-linear" in method.targets:
        return
    there = linears(shape)
    if lacking := [name for name in method.targets if name not in there]:
        mend = f"write [all-linear] or some of {', '.join(there)}, or exclude the method for this model"
        problem = f"'{cell.model}' has no module named {', '.join(lacking)}"
        raise InputError(file, f"methods.{cell.method}.targets", problem, mend)


def _check_launch(study: Study, cell: Cell, launch: Launch, file: str | Path) -> None:
    method, model = study.methods[cell.method], cell.model
    several = launch.world > 1
    if several and zero_stage(str(launch.deepspeed)) is None:
        problem = f"{launch.deepspeed} is missing, or gives no zero_optimization.stage of 1 to 3"
        raise InputError(file, f"models.{model}.resources.deepspeed", problem, "name one of config/deepspeed/")
    if several and (method.half or method.lift):
        problem = f"half and lift train in one process, and '{model}' is trained by {launch.world}"
        raise InputError(file, f"methods.{cell.method}", problem, "give the model one GPU, or exclude the method")
    casts = not several and method.kind == "full" and study.models[model].dtype == "bfloat16"
    if casts and launch.activation_checkpointing:
        field = f"models.{model}.resources.activation_checkpointing"
        problem = f"'{cell.method}' in bfloat16 cannot do it in one process, which casts the weights for each pass"
        raise InputError(file, field, problem, "give several GPUs, write dtype: float32, or set it to false")


def check_writing(study: Study, file: str | Path) -> None:
    """Check that vLLM can put the adapters on, where it is to write answers.

    Raises:
        InputError: an adapter is too large for it.
    """
    written = any("written" in study.answers(split) for split in study.grid.split)
    for name in study.grid.method if written and study.writing.engine == "vllm" else ():
        if study.methods[name].kind == "lora" and study.methods[name].rank > LORA_RANKS[-1]:
            problem = f"vLLM knows adapters up to rank {LORA_RANKS[-1]}"
            raise InputError(file, f"methods.{name}.rank", problem, "lower it, or write with engine: transformers")


def check_teachers(study: Study, news: Mapping[str, NewsFile], file: str | Path) -> None:
    """Check what teachers need: a share of the items for each shard, and the prompts of checks.

    Raises:
        InputError: one of them is missing.
    """
    asked = {(cell.resolved_teacher(), cell.split) for cell in study.cells() if cell.teacher != NONE}
    for name, split in sorted(asked):
        teacher = study.teacher(name)
        if teacher.shards > len(news[split].items):
            problem = f"{teacher.shards} jobs cannot share the {len(news[split].items)} items of '{split}'"
            entry = name if name in study.teachers else "self"
            raise InputError(file, f"teachers.{entry}.shards", problem, "lower it")
        if study.budget.count_teacher and not (teacher.model or teacher.parameters):
            mend = "set budget.count_teacher: false, or say how many parameters a served model has"
            raise InputError(file, "budget.count_teacher", f"what '{name}' costs is unknown", mend)
    for kind in sorted({kind for cell in study.cells() for kind in study.kinds_of(cell.protocol)}):
        if study.filters.check_support and study.kind_prompts[kind].check is None:
            path, mend = study.kinds[kind].prompts, "write the prompt, or set filters.check_support: false"
            raise InputError(path, "check", "missing, and filters.check_support asks for it", mend)


def check_environment(study: Study, file: str | Path, environments: bool = False) -> None:
    """Check what is needed here by teachers that are still to write: vLLM in its own environment, or an endpoint; and
    by answers that are still to be written.

    Apart from the other checks, as a study can be planned where it cannot run.

    Raises:
        InputError: it is not there.
    """
    has_vllm = Path(".venv-generate/bin/vllm").exists() or importlib.util.find_spec("vllm") is not None
    lacking, mend = (
        "the environment of vLLM is not there",
        "run `make generate`, or let Snakemake make it: --software-deployment-method conda",
    )
    written = {split: set(study.answers(split)) & {"written"} for split in study.grid.split}
    to_write = not all(Path(path).exists() for path in answer_paths(study.results, study.cells(), written))
    if to_write and study.writing.engine == "vllm" and not (has_vllm or environments):
        raise InputError(file, "writing.engine", lacking, mend)
    for name in sorted(unwritten(study)):
        teacher, entry = study.teacher(name), name if name in study.teachers else "self"
        if teacher.engine == "vllm" and not (has_vllm or environments):
            raise InputError(file, f"teachers.{entry}.engine", lacking, mend)
        if teacher.engine == "openai" and not (teacher.endpoint or os.environ.get("OPENAI_BASE_URL")):
            raise InputError(file, f"teachers.{entry}.endpoint", "missing", "give it, or set OPENAI_BASE_URL")


def unwritten(study: Study) -> set[str]:
    """The teachers whose study data are not all there."""
    return {
        cell.resolved_teacher()
        for cell in study.cells()
        for kind in study.kinds_of(cell.protocol)
        for shard in study.shards(cell.resolved_teacher())
        if not Path(study_path(study.results, "completions", cell, kind, shard=shard)).exists()
    }


def check_texts(study: Study, file: str | Path) -> None:
    """Check the general text and the filler that the grid's protocols train.

    Raises:
        InputError: a file cannot be used.
    """
    chosen = dict.fromkeys(cell.protocol for cell in study.cells())
    for name in dict.fromkeys(name for protocol in chosen for name in study.replay_of(protocol)):
        if (path := study.replay[name].path) is not None:
            load_replay(path)
    for path in {path for protocol in chosen for path in study.filler_of(protocol)}:
        try:
            empty = not Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            empty = True
        if empty:
            problem = f"{path} is missing, empty or not UTF-8"
            raise InputError(file, "prompts.filler", problem, "write neutral prose into it")


def check_recorded(study: Study, news: Mapping[str, NewsFile]) -> None:
    """Check that recorded study data have what the grid asks for.

    Raises:
        InputError: a file cannot be used, has too few rows for an item and kind, or a question that cannot be read.
    """
    asked = {
        (path, kind, cell.split)
        for cell in study.cells()
        for kind in study.kinds_of(cell.protocol)
        if (path := study.teacher(cell.resolved_teacher()).path)
    }
    files = {path: load_recorded(path) for path, _, _ in asked}
    for path, kind, split in sorted(asked):
        for item in news[split].items:
            check_rows(files[path], path, item.id, kind, study.budget.study_rows)
            if study.kind_prompts[kind].has_questions:
                check_questions(files[path], path, item.id, kind, study.kinds[kind].per_call)


def used_models(study: Study) -> list[str]:
    """Learners and teachers of the grid."""
    names: dict[str, None] = {}
    for cell in study.cells():
        names[cell.model] = None
        if cell.teacher != NONE:
            names[study.teacher(cell.resolved_teacher()).model or ""] = None
    return [name for name in names if name]
