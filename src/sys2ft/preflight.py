"""Everything that can be checked before the first job starts, in one place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sys2ft.errors import InputError
from sys2ft.evaluation.questions import check_others_exist
from sys2ft.models import check_source
from sys2ft.news.items import NewsFile, check_unique, load_general, open_split
from sys2ft.paths import artefact_path
from sys2ft.settings.study import Study, load_study
from sys2ft.study.recorded import check_rows, load_recorded


def open_study(config: Mapping[str, Any], file: str | Path) -> Study:
    """Read a configuration and check it, its news and its models' files.

    Raises:
        InputError: names the file, the field and the mend.
    """
    study = load_study(config, file)
    news = check_news(study, file)
    check_models(study, file)
    check_recorded(study, news)
    load_general(study.retention.path)
    return study


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
        if problem := check_others_exist(split, len(news[split].items), study.scoring):
            raise InputError(path, "items", problem, "add an item, or take those out of the settings of scoring")
    check_unique((study.splits[split].path or file, content) for split, content in news.items())
    return news


def check_models(study: Study, file: str | Path) -> None:
    """Check the files of the models that the grid uses, unless they are prepared already.

    Raises:
        InputError: a file is missing or is not the one meant.
    """
    for name in used_models(study):
        if not Path(artefact_path(study.results, "model", model=name)).exists():
            check_source(name, study.models[name], file)


def check_recorded(study: Study, news: Mapping[str, NewsFile]) -> None:
    """Check that recorded study data have what the grid asks for.

    Raises:
        InputError: a file cannot be used, or has too few rows for an item and kind.
    """
    asked = {
        (path, kind, cell.split)
        for cell in study.cells()
        if (kind := study.protocols[cell.protocol].study) and (path := study.teacher(cell.resolved_teacher()).path)
    }
    files = {path: load_recorded(path) for path, _, _ in asked}
    for path, kind, split in sorted(asked):
        for item in news[split].items:
            check_rows(files[path], path, item.id, kind, study.budget.study_rows)


def used_models(study: Study) -> list[str]:
    """Learners and teachers of the grid."""
    names: dict[str, None] = {}
    for cell in study.cells():
        names[cell.model] = None
        if study.protocols[cell.protocol].study is not None:
            names[study.teacher(cell.resolved_teacher()).model or ""] = None
    return [name for name in names if name]
