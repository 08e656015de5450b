"""`sys2ft show`, `sys2ft table`, `sys2ft explain`: what a study found, and what that was made from."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sys2ft.commands import parse_cell
from sys2ft.errors import InputError
from sys2ft.grid import NONE

EFFECT_COLUMNS = (
    "protocol", "mode", "measure", "versus", "prefix", "estimate", "low", "high", "control", "control_estimate", "net",
    "net_low", "net_high", "detectable", "p_holm", "unread_share", "verdict",
)  # fmt: skip
MAY_BE_EMPTY = ("versus", "prefix", "unread_share")
P_VALUES = ("p", "p_holm")


def show(args: argparse.Namespace) -> None:
    """Print one worked example of a cell."""
    from sys2ft.worked_example import show_example

    for line in show_example(args.results, parse_cell(args.cell), args.item, args.question):
        print(line)


def table(args: argparse.Namespace) -> None:
    """Print a table of the results."""
    from sys2ft.paths import artefact_path
    from sys2ft.tables import PROVENANCE, SCHEMAS, read_rows

    path = Path(artefact_path(args.results, f"{args.name}_table"))
    if not path.exists():
        raise InputError(path, "", "no such table", "run the study first (`make run`)")
    rows = read_rows(SCHEMAS[args.name], path)
    if args.name == "effects":
        splits = list(dict.fromkeys(row["split"] for row in rows))
        split = args.split or splits[0]
        if split not in splits:
            raise InputError(path, "split", f"there is no split '{split}'", f"use one of: {', '.join(splits)}")
        measures = list(dict.fromkeys(row["measure"] for row in rows))
        if args.measure and args.measure not in measures:
            mend = f"use one of: {', '.join(measures)}"
            raise InputError(path, "measure", f"there is no measure '{args.measure}'", mend)
        _print_effects([row for row in rows if row["split"] == split and args.measure in (None, row["measure"])], split)
    else:  # where a cell comes from is told by `explain`
        print(format_rows(rows, [name for name in rows[0] if name not in {told for told, _, _ in PROVENANCE}]))
    folder = path.parent
    print(f"\ntables: {', '.join(str(folder / name) for name in sorted(p.name for p in folder.iterdir()))}")


def _print_effects(rows: Sequence[dict], split: str) -> None:
    """Effects as text, without columns that say nothing here."""
    if not rows:
        print(f"no such effects on split '{split}'")
        return
    names = {key: list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "method", "teacher")}
    varying = [key for key, found in names.items() if len({*found} - {NONE}) > 1]
    items, questions = (max(row[name] for row in rows) for name in ("items", "questions"))
    print(f"effects on split '{split}': {items} items, {questions} questions, model {', '.join(names['model'])}")
    print("accuracies and differences in percent; of gap_closed in percent of the gap, of perplexities in 0.01 nats")
    columns = [name for name in EFFECT_COLUMNS if name not in MAY_BE_EMPTY or any(row[name] for row in rows)]
    print(format_rows(rows, [*varying, *columns], percent=True))


def explain(args: argparse.Namespace) -> None:
    """Print what a row of a table was made from, and whether it is still that; exit with 1 where it is not."""
    from sys2ft.explain.account import explain
    from sys2ft.explain.report import as_data, as_text

    if args.row is not None and args.key:
        raise InputError("sys2ft explain", "--row", "does not go with --key", "leave out one of them")
    account = explain(args.path, args.row, args.key)
    if args.format == "json":
        print(json.dumps(as_data(account), indent=1, default=str))
    else:
        for line in as_text(account):
            print(line)
    if account.damage:
        sys.exit(f"{len(account.damage)} differ from what was written")


def format_rows(rows: Sequence[dict], columns: Sequence[str], percent: bool = False) -> str:
    """Rows as aligned text; numbers but p values as percentages where asked, nothing for null."""

    def _text_of(value: object, column: str) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{100 * value:.1f}" if percent and column not in P_VALUES else f"{value:.{2 if percent else 4}g}"
        return str(value)

    lines = [list(columns), *([_text_of(row[column], column) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
