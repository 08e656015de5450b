"""Have a tuned model answer all questions of a split in writing, at the end of its training and at its milestones.

In: the learner, its adapters (or trained models) and training log, items, questions, how to ask (settings).
Out: `answers.parquet`. What is written is kept in the folder of requests: killed and started again, only the missing
answers are written.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of WriteStage")
    parser.add_argument("--method", required=True, help="JSON of FineTuneStage: what was trained")
    parser.add_argument("--cell", required=True, help="model=.../method=.../...")
    parser.add_argument("--batch-size", type=int, default=16, help="answers that are written together")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of the job, for tensor parallelism")
    parser.add_argument("--model", required=True, type=Path, help="the learner's model.json")
    parser.add_argument("--adapters", required=True, type=Path)
    parser.add_argument("--train-log", required=True, type=Path)
    parser.add_argument("--items", required=True, type=Path)
    parser.add_argument("--questions", required=True, type=Path)
    parser.add_argument("--requests", required=True, type=Path, help="folder of what was written before")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.evaluation.questions import choose_readers
    from sys2ft.evaluation.writing import greedy, open_writer, write_split
    from sys2ft.grid import Cell
    from sys2ft.learned import find_learned
    from sys2ft.models import converted_weights, describe_teacher
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import FineTuneStage, WriteStage
    from sys2ft.tables import ANSWERS, ITEMS, QUESTIONS, TRAIN_LOG, build_table, read_rows, write_table

    stage = WriteStage.model_validate_json(args.settings)
    trained, cell = FineTuneStage.model_validate_json(args.method), Cell.from_path(args.cell)
    items, questions = read_rows(ITEMS, args.items), read_rows(QUESTIONS, args.questions)
    readers = choose_readers([item["item"] for item in items], trained.method)
    log = read_rows(TRAIN_LOG, args.train_log)
    learned = find_learned(args.model, args.adapters, log, readers.values(), trained.milestones)
    asked = {"items": args.items, "questions": args.questions}
    origin = tell_origin(__file__, model=args.model, adapters=args.adapters, train_log=args.train_log, **asked)
    revision, _ = describe_teacher(greedy(stage.writing), args.model)
    identity = {"revision": revision, "weights": converted_weights(args.model)}
    writing = stage.writing.model_copy(update={"batch_size": args.batch_size})
    writer = open_writer(args.model, trained.method, writing, args.gpus)
    answers = write_split(items, questions, stage, writer, learned, readers, args.requests, identity)
    write_table(build_table(ANSWERS, answers, cell.keys()), args.output, stage.model_dump(mode="json"), origin)


if __name__ == "__main__":
    main()
