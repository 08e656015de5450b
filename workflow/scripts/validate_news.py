"""Check one split and write it as tables.

In: a YAML file of news. Out: `items.parquet`, `questions.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--news", required=True, type=Path)
    parser.add_argument("--output-items", required=True, type=Path)
    parser.add_argument("--output-questions", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.news.items import item_rows, load_news, question_rows
    from sys2ft.tables import build_table, write_table

    news = load_news(args.news)
    write_table(build_table("items", item_rows(news)), args.output_items)
    write_table(build_table("questions", question_rows(news)), args.output_questions)


if __name__ == "__main__":
    main()
