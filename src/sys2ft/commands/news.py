"""`sys2ft check`, `sys2ft export`, `sys2ft import`: news that people write."""

import argparse
import re
import sys
from pathlib import Path

from sys2ft.errors import InputError


def check(args: argparse.Namespace) -> None:
    """Name every violation in files of news."""
    from sys2ft.news.check import check_files, news_files

    files = news_files(args.paths)
    violations, counts = check_files(files)
    for violation in violations:
        print(violation)
    print(f"{len(files)} files, {counts['items']} items, {counts['questions']} questions")
    if violations:
        sys.exit(f"{len(violations)} violations")


def export(args: argparse.Namespace) -> None:
    """Write files of news as a data set."""
    from sys2ft.news.check import news_files
    from sys2ft.news.export import export_dataset
    from sys2ft.news.items import load_news

    export_dataset([load_news(path) for path in news_files(args.paths)], args.output)
    print(f"{args.output}: items.parquet, questions.parquet, README.md")


def bring(args: argparse.Namespace) -> None:
    """Write a data set as a table of news."""
    from sys2ft.news.importing import import_news, parse_columns

    if args.output.suffix != ".jsonl":
        raise InputError("sys2ft import", "--output", f"{args.output} is no JSON lines file", "end it in .jsonl")
    if not Path(args.source).exists() and not re.fullmatch("[0-9a-f]{40}", args.revision or ""):
        raise InputError("sys2ft import", "--revision", "missing or no full commit", "name the 40 digits of a commit")
    columns = parse_columns(args.column)
    news = import_news(args.source, args.name, args.part, args.revision, columns, args.answer, args.output)
    print(f"{args.output}: {len(news.items)} items, {sum(len(item.questions) for item in news.items)} questions")
