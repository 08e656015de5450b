"""Put all questions of a split to a tuned model, at the end of its training and at its milestones.

In: the learner, its adapters (or trained models) and training log, items, questions, how to ask (settings).
Out: `answers.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of ScoreStage")
    parser.add_argument("--method", required=True, help="JSON of FineTuneStage: what was trained")
    parser.add_argument("--cell", required=True, help="model=.../method=.../...")
    parser.add_argument("--model", required=True, type=Path, help="the learner's model.json")
    parser.add_argument("--adapters", required=True, type=Path)
    parser.add_argument("--train-log", required=True, type=Path)
    parser.add_argument("--items", required=True, type=Path)
    parser.add_argument("--questions", required=True, type=Path)
    parser.add_argument("--tokens-per-pass", type=int, default=2048, help="bounds memory")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.evaluation.questions import choose_readers
    from sys2ft.evaluation.respondents import open_respondents
    from sys2ft.evaluation.scoring import score_split
    from sys2ft.grid import Cell
    from sys2ft.learned import find_learned
    from sys2ft.models import load_tokenizer
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import FineTuneStage, ScoreStage
    from sys2ft.tables import ANSWERS, ITEMS, QUESTIONS, TRAIN_LOG, build_table, read_rows, write_table

    stage = ScoreStage.model_validate_json(args.settings)
    trained = FineTuneStage.model_validate_json(args.method)
    cell = Cell.from_path(args.cell)
    items, questions = read_rows(ITEMS, args.items), read_rows(QUESTIONS, args.questions)
    readers = choose_readers([item["item"] for item in items], trained.method)
    log = read_rows(TRAIN_LOG, args.train_log)
    learned = find_learned(args.model, args.adapters, log, readers.values(), trained.milestones)
    asked = {"items": args.items, "questions": args.questions}
    origin = tell_origin(__file__, model=args.model, adapters=args.adapters, train_log=args.train_log, **asked)
    tokenizer = load_tokenizer(args.model)
    answers = []
    for respondent in open_respondents(args.model, learned, readers, trained.method):
        answers += score_split(respondent, tokenizer, items, questions, stage, args.tokens_per_pass)
        del respondent  # or two models would be held while the next is loaded
    write_table(build_table(ANSWERS, answers, cell.keys()), args.output, stage.model_dump(mode="json"), origin)


if __name__ == "__main__":
    main()
