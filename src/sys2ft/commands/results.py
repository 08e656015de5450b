"""The command `sys2ft`: check news, look at a study's results."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sys2ft.errors import InputError

EFFECT_COLUMNS = (
    "protocol", "mode", "measure", "versus", "estimate", "low", "high", "control", "control_estimate", "net",
    "net_low", "net_high", "detectable", "unread_share", "verdict",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(prog="sys2ft", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="one worked example of a cell, from news to option scores")
    show.add_argument("cell", help="model=.../method=.../protocol=.../teacher=.../split=.../seed=...")
    show.add_argument("--item", help="the item's id (default: the first of the split)")
    show.add_argument("--question", help="a question's id, or 'all' (default: the item's first)")
    table = commands.add_parser("table", help="print a table of the results")
    table.add_argument("name", choices=["effects", "cells"])
    table.add_argument("--split", help="of the effects (default: all splits taken together)")
    check = commands.add_parser("check", help="every violation in files of news, with its line")
    check.add_argument("paths", nargs="+", type=Path, help="YAML files of news, or folders of them")
    export = commands.add_parser("export", help="write files of news as a Hugging Face data set")
    export.add_argument("paths", nargs="+", type=Path, help="YAML files of news, or folders of them")
    export.add_argument("--output", required=True, type=Path, help="a folder")
    bring = commands.add_parser("import", help="write a data set of the hub, or a local one, as a table of news")
    bring.add_argument("source", help="owner/name on the Hugging Face hub, or a folder with data files")
    bring.add_argument("--revision", help="the full commit; needed for the hub")
    bring.add_argument("--name", help="the data set's configuration, where it has several")
    bring.add_argument("--part", default="test", help="its split (default: %(default)s)")
    bring.add_argument("--column", action="append", default=[], metavar="OURS=THEIRS", help="options=a,b,c,d for four")
    bring.add_argument("--answer", choices=["text", "index", "letter"], default="text", help="what the answer holds")
    bring.add_argument("--output", required=True, type=Path, help="a .jsonl file; its stem is the split's name")
    for command in (show, table):
        command.add_argument("--results", default="results", help="the results folder (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        {"show": _show, "table": _table, "check": _check, "export": _export, "import": _import}[args.command](args)
    except InputError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()


def _show(args: argparse.Namespace) -> None:
    from sys2ft.grid import Cell
    from sys2ft.worked_example import show_example

    path = args.cell[max(args.cell.find("model="), 0) :]
    try:
        cell = Cell.from_path(path)
    except (ValueError, TypeError) as error:
        raise InputError(
            "sys2ft show", "cell", str(error), "copy the path of a folder below results/fine_tune"
        ) from None
    for line in show_example(args.results, cell, args.item, args.question):
        print(line)


def _table(args: argparse.Namespace) -> None:
    from sys2ft.paths import artefact_path
    from sys2ft.tables import SCHEMAS, read_rows

    path = Path(artefact_path(args.results, f"{args.name}_table"))
    if not path.exists():
        raise InputError(path, "", "no such table", "run the study first (`make run`)")
    rows = read_rows(SCHEMAS[args.name], path)
    if args.name == "effects":
        splits = list(dict.fromkeys(row["split"] for row in rows))
        split = args.split or splits[0]
        if split not in splits:
            raise InputError(path, "split", f"there is no split '{split}'", f"use one of: {', '.join(splits)}")
        shown = [row for row in rows if row["split"] == split]
        models = list(dict.fromkeys((row["model"], row["method"], row["teacher"]) for row in shown))
        varying = [name for i, name in enumerate(("model", "method", "teacher")) if len({m[i] for m in models}) > 2]
        first = shown[0]
        names = ", ".join(dict.fromkeys(model for model, _, _ in models))
        print(f"effects on split '{split}': {first['items']} items, {first['questions']} questions, model {names}")
        print(
            "accuracies and differences in percent; of gap_closed in percent of the gap, of perplexities in 0.01 nats"
        )
        print(format_rows(shown, [*varying, *EFFECT_COLUMNS], percent=True))
    else:
        print(format_rows(rows, list(rows[0])))
    folder = path.parent
    print(f"\ntables: {', '.join(str(folder / name) for name in sorted(p.name for p in folder.iterdir()))}")


def _check(args: argparse.Namespace) -> None:
    from sys2ft.news.check import check_files, news_files

    files = news_files(args.paths)
    violations, counts = check_files(files)
    for violation in violations:
        print(violation)
    print(f"{len(files)} files, {counts['items']} items, {counts['questions']} questions")
    if violations:
        sys.exit(f"{len(violations)} violations")


def _export(args: argparse.Namespace) -> None:
    from sys2ft.news.check import news_files
    from sys2ft.news.export import export_dataset
    from sys2ft.news.items import load_news

    export_dataset([load_news(path) for path in news_files(args.paths)], args.output)
    print(f"{args.output}: items.parquet, questions.parquet, README.md")


def _import(args: argparse.Namespace) -> None:
    from sys2ft.news.importing import import_news, parse_columns

    if args.output.suffix != ".jsonl":
        raise InputError("sys2ft import", "--output", f"{args.output} is no JSON lines file", "end it in .jsonl")
    if not Path(args.source).exists() and not re.fullmatch("[0-9a-f]{40}", args.revision or ""):
        raise InputError("sys2ft import", "--revision", "missing or no full commit", "name the 40 digits of a commit")
    columns = parse_columns(args.column)
    news = import_news(args.source, args.name, args.part, args.revision, columns, args.answer, args.output)
    print(f"{args.output}: {len(news.items)} items, {sum(len(item.questions) for item in news.items)} questions")


def format_rows(rows: Sequence[dict], columns: Sequence[str], percent: bool = False) -> str:
    """Rows as aligned text; numbers as percentages where asked, nothing for null."""

    def _text_of(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{100 * value:.1f}" if percent else f"{value:.4g}"
        return str(value)

    lines = [list(columns), *([_text_of(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
