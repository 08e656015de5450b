"""Put the tasks of retention to a tuned model, at the end of its training.

In: the learner, its adapters (or trained models) and training log, the tasks (settings). Out: `retention.parquet`.
"""

import argparse
import shutil
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of ScoreRetentionStage")
    parser.add_argument("--method", required=True, help="JSON of FineTuneStage: what was trained")
    parser.add_argument("--cell", required=True, help="model=.../method=.../...")
    parser.add_argument("--model", required=True, type=Path, help="the learner's model.json")
    parser.add_argument("--adapters", required=True, type=Path)
    parser.add_argument("--train-log", required=True, type=Path)
    parser.add_argument("--include", required=True, help="folder with task files of one's own")
    parser.add_argument("--tokens-per-pass", type=int, default=2048, help="of what is scored")
    parser.add_argument("--batch-size", type=int, default=16, help="answers that are written together")
    parser.add_argument("--unfinished", required=True, type=Path, help="folder that is kept until all is measured")
    parser.add_argument("--version", type=int, default=0, help="of the code: what another one has measured is no use")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.evaluation.harness import Capacity, keep_unfinished, open_tasks, score_retention
    from sys2ft.evaluation.respondents import open_respondents
    from sys2ft.evaluation.tasks import task_files
    from sys2ft.grid import Cell
    from sys2ft.learned import find_learned
    from sys2ft.models import file_sha256, load_manifest, load_tokenizer
    from sys2ft.origins import describe_environment, tell_origin
    from sys2ft.settings.choices import RetentionSettings
    from sys2ft.settings.stages import FineTuneStage, ScoreRetentionStage
    from sys2ft.tables import RETENTION, TRAIN_LOG, build_table, read_rows, write_table

    stage = ScoreRetentionStage.model_validate_json(args.settings)
    trained, cell = FineTuneStage.model_validate_json(args.method), Cell.from_path(args.cell)
    end = find_learned(args.model, args.adapters, read_rows(TRAIN_LOG, args.train_log))[-1][: stage.adapters]
    origin = tell_origin(__file__, model=args.model, adapters=args.adapters, train_log=args.train_log)
    learned, readers = [end], {one.name: one.name for one in end}
    tasks, capacity = open_tasks(stage.tasks, args.include), Capacity(args.tokens_per_pass, args.batch_size)
    tokenizer = load_tokenizer(args.model)
    files = task_files(RetentionSettings(tasks=stage.tasks, include=args.include))
    identity = {
        "version": args.version,
        "environment": describe_environment(),
        "stage": stage.model_dump(mode="json"),
        "base": load_manifest(args.model),
        "files": {path: file_sha256(Path(path)) for path in files},
    }
    unfinished = keep_unfinished(args.unfinished, identity)
    rows: list[dict] = []
    for respondent in open_respondents(args.model, learned, readers, trained.method):
        rows += score_retention(respondent, tokenizer, stage, tasks, capacity, unfinished)
        del respondent  # or two models would be held while the next is loaded
    write_table(build_table(RETENTION, rows, cell.keys()), args.output, stage.model_dump(mode="json"), origin)
    shutil.rmtree(args.unfinished)


if __name__ == "__main__":
    main()
