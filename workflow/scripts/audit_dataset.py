"""Measure what the questions give away to a reader who does not know the news; fail where a rule is broken.

In: `items.parquet`, `questions.parquet` of all splits; recorded study data; `answers.parquet` of base models.
Out: `audit.parquet` with a CSV twin. Prints the table.
"""

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", required=True, nargs="+", type=Path)
    parser.add_argument("--questions", required=True, nargs="+", type=Path)
    parser.add_argument("--study", nargs="*", default=[], type=Path, help="YAML files of recorded study data")
    parser.add_argument("--answers", nargs="*", default=[], type=Path, help="answers of base models")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.commands.results import format_rows
    from sys2ft.news.audit import audit
    from sys2ft.origins import tell_origin
    from sys2ft.study.engines.recorded import load_recorded, recorded_texts
    from sys2ft.tables import ANSWERS, AUDIT, ITEMS, QUESTIONS, build_table, read_rows, write_table

    items, questions, answers = (
        [row for path in paths for row in read_rows(schema, path)]
        for schema, paths in ((ITEMS, args.items), (QUESTIONS, args.questions), (ANSWERS, args.answers))
    )
    study = [text for path in args.study for text in recorded_texts(load_recorded(path))]
    findings = audit(items, questions, study, answers)
    rows = [finding.as_row() for finding in findings]
    table = build_table(AUDIT, rows)
    write_table(table, args.output, origin=tell_origin(__file__))
    write_table(table, args.output.with_suffix(".csv"))
    print(format_rows(rows, list(rows[0])))
    if failed := [finding for finding in findings if not finding.passed]:
        sys.exit("\n".join(f"violated: {finding.explain()}" for finding in failed))


if __name__ == "__main__":
    main()
