"""`sys2ft power`: what a study can detect before it is run."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from sys2ft.errors import InputError


def power(args: argparse.Namespace) -> None:
    """Print the smallest differences that a design detects, and how many items a wanted one needs."""
    from sys2ft.analysis.power import Design, plan
    from sys2ft.commands.results import format_rows

    chosen = {name: getattr(args, name) for name in Design.__dataclass_fields__}
    if args.icc is None:
        chosen["icc"] = read_icc(args.results) if args.results else Design.icc
    elif args.results:
        raise InputError("sys2ft power", "--results", "given beside --icc", "give one of them")
    design = Design(**chosen).check()
    rows = plan(design, args.difference)
    if args.format == "json":
        print(json.dumps({**asdict(design), "difference": args.difference, "rows": rows}, indent=1))
        return
    seeds = f"{design.seeds} seeds, correlated by {design.seed_correlation:g}" if design.seeds > 1 else "1 seed"
    print(f"{design.items} items of {design.questions} questions, {seeds}; accuracy {100 * design.accuracy:g} %,")
    print(f"correlation {design.icc:.3g} within an item, {design.correlation:g} of two arms on a question;")
    wanted = "" if args.difference is None else f"; items needed for {100 * args.difference:g} points"
    print(f"in percent, at level {design.level:g} with power {design.power:g}{wanted}")
    print(format_rows(rows, list(rows[0]), percent=True))


def read_icc(results: Path) -> float:
    """The correlation within items that a study's closed-book answers show.

    Raises:
        InputError: there are no answers to estimate it from.
    """
    import pyarrow.compute as pc

    from sys2ft.analysis.power import estimate_icc
    from sys2ft.analysis.scores import COLUMNS, read_scores
    from sys2ft.paths import artefact_path
    from sys2ft.tables import ANSWERS, read_table

    path = Path(artefact_path(str(results), "answers_table"))
    if not path.exists():
        raise InputError(path, "", "no such table", "run the study first, or give --icc")
    answers = read_table(ANSWERS, path, [*COLUMNS, "milestone"])
    try:
        return estimate_icc([scores for _, scores in read_scores(answers.filter(pc.invert(answers["milestone"])))])
    except ValueError as error:
        raise InputError(path, "", str(error), "give --icc") from None
