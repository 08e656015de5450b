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
    parser.add_argument("--tokens-per-pass", type=int, default=2048, help="bounds memory")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    import json

    from sys2ft.evaluation.respondents import Respondent
    from sys2ft.evaluation.scoring import score_split
    from sys2ft.grid import NONE
    from sys2ft.models import load_model, load_tokenizer
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import ScoreStage
    from sys2ft.tables import ANSWERS, ITEMS, QUESTIONS, build_table, read_rows, write_table

    stage = ScoreStage.model_validate_json(args.settings)
    keys = {**json.loads(args.axes), "method": NONE, "protocol": NONE, "teacher": NONE, "seed": None}
    items, questions = read_rows(ITEMS, args.items), read_rows(QUESTIONS, args.questions)
    origin = tell_origin(__file__, model=args.model, items=args.items, questions=args.questions)
    base, tokenizer = Respondent(load_model(args.model)), load_tokenizer(args.model)
    answers = score_split(base, tokenizer, items, questions, stage, args.tokens_per_pass)
    write_table(build_table(ANSWERS, answers, keys), args.output, stage.model_dump(mode="json"), origin)


if __name__ == "__main__":
    main()
