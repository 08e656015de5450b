"""Put all questions of a split to a base model.

In: the model, items, questions, how to ask (settings). Out: `answers.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of ScoreStage")
    parser.add_argument("--axes", required=True, help="JSON: model, split")
    parser.add_argument("--model", required=True, type=Path, help="the model's model.json")
    parser.add_argument("--items", required=True, type=Path)
    parser.add_argument("--questions", required=True, type=Path)
    parser.add_argument("--general", required=True, type=Path, help="the YAML file of general questions")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--output-retention", required=True, type=Path)
    args = parser.parse_args(argv)

    import json

    from sys2ft.evaluation.respondents import Respondent
    from sys2ft.evaluation.scoring import score_retention, score_split
    from sys2ft.grid import NONE
    from sys2ft.models import load_model, load_tokenizer
    from sys2ft.news.items import asked, load_general
    from sys2ft.settings.stages import ScoreStage
    from sys2ft.tables import build_table, read_rows, write_table

    stage = ScoreStage.model_validate_json(args.settings)
    keys = {**json.loads(args.axes), "method": NONE, "protocol": NONE, "teacher": NONE, "seed": None}
    items, questions = read_rows("items", args.items), read_rows("questions", args.questions)
    general = [asked(question) for question in load_general(args.general).questions]
    base, tokenizer = Respondent(load_model(args.model)), load_tokenizer(args.model)
    answers = score_split(base, tokenizer, items, questions, stage)
    retention = score_retention(base, tokenizer, general, stage)
    settings = stage.model_dump(mode="json")
    write_table(build_table("answers", answers, keys), args.output, settings)
    write_table(build_table("retention", retention, keys), args.output_retention, settings)


if __name__ == "__main__":
    main()
