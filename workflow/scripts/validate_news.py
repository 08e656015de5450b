"""Check one split and write it as tables.

In: a YAML file of news, or the settings of a procedural split. Out: `items.parquet`, `questions.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of ValidateNewsStage")
    parser.add_argument("--split", required=True)
    parser.add_argument("--news", type=Path, help="the split's file; none for a procedural split")
    parser.add_argument("--output-items", required=True, type=Path)
    parser.add_argument("--output-questions", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.news.items import item_rows, open_split, question_rows
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import ValidateNewsStage
    from sys2ft.tables import ITEMS, QUESTIONS, build_table, write_table

    stage = ValidateNewsStage.model_validate_json(args.settings)
    news = open_split(args.split, args.news, stage)
    origin, settings = tell_origin(__file__, news=args.news), stage.model_dump(mode="json")
    write_table(build_table(ITEMS, item_rows(news)), args.output_items, settings, origin)
    write_table(build_table(QUESTIONS, question_rows(news)), args.output_questions, settings, origin)


if __name__ == "__main__":
    main()
