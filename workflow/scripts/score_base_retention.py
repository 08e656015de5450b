"""Put the tasks of retention to a base model.

In: the model, the tasks (settings). Out: `retention.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of ScoreRetentionStage")
    parser.add_argument("--name", required=True, help="the model's, in the catalogue")
    parser.add_argument("--model", required=True, type=Path, help="the model's model.json")
    parser.add_argument("--include", required=True, help="folder with task files of one's own")
    parser.add_argument("--tokens-per-pass", type=int, default=2048, help="of what is scored")
    parser.add_argument("--batch-size", type=int, default=16, help="answers that are written together")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.evaluation.harness import Capacity, open_tasks, score_retention
    from sys2ft.evaluation.respondents import Respondent
    from sys2ft.grid import NONE
    from sys2ft.models import load_model, load_tokenizer
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import ScoreRetentionStage
    from sys2ft.tables import RETENTION, build_table, write_table

    stage = ScoreRetentionStage.model_validate_json(args.settings)
    keys = {**dict.fromkeys(("method", "protocol", "teacher", "split"), NONE), "model": args.name, "seed": None}
    origin = tell_origin(__file__, model=args.model)
    tasks, capacity = open_tasks(stage.tasks, args.include), Capacity(args.tokens_per_pass, args.batch_size)
    base, tokenizer = Respondent(load_model(args.model)), load_tokenizer(args.model)
    rows = list(score_retention(base, tokenizer, stage, tasks, capacity))
    write_table(build_table(RETENTION, rows, keys), args.output, stage.model_dump(mode="json"), origin)


if __name__ == "__main__":
    main()
