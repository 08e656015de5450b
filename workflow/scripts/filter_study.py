"""Read study rows from a teacher's completions, and leave out what should not be trained.

In: completions, items, evaluation questions, which no row may give away. Out: `study.parquet`, every row with its
status, and `study_counts.parquet`, the statuses counted for each item.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of FilterStudyStage")
    parser.add_argument("--axes", required=True, help="JSON: teacher, kind, split, seed")
    parser.add_argument("--items", required=True, type=Path)
    parser.add_argument("--questions", required=True, type=Path)
    parser.add_argument("--completions", required=True, type=Path, nargs="+")
    parser.add_argument("--output-study", required=True, type=Path)
    parser.add_argument("--output-counts", required=True, type=Path)
    args = parser.parse_args(argv)

    import json

    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import FilterStudyStage
    from sys2ft.study.filters import count_study, filter_study
    from sys2ft.tables import COMPLETIONS, ITEMS, QUESTIONS, STUDY, STUDY_COUNTS, build_table, read_rows, write_table

    stage = FilterStudyStage.model_validate_json(args.settings)
    keys = json.loads(args.axes)
    completions = read_rows(COMPLETIONS, *args.completions)
    items, questions = read_rows(ITEMS, args.items), read_rows(QUESTIONS, args.questions)
    rows = filter_study(items, questions, completions, stage)
    counts = count_study(rows, completions, stage.filters, stage.prompts.version)
    settings = stage.model_dump(mode="json")
    origin = tell_origin(__file__, completions=args.completions, items=args.items, questions=args.questions)
    write_table(build_table(STUDY, rows, keys), args.output_study, settings, origin)
    write_table(build_table(STUDY_COUNTS, counts, keys), args.output_counts, settings, origin)
    print(f"{sum(row['kept'] for row in counts)} of {len(rows)} study rows kept")


if __name__ == "__main__":
    main()
