"""Train the adapters of a cell, one an item, all at once.

In: the learner, training sequences, the method (settings). Out: `adapters/<item>/` in PEFT's format and
`train_log.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of FineTuneStage")
    parser.add_argument("--cell", required=True, help="model=.../method=.../...")
    parser.add_argument("--model", required=True, type=Path, help="the learner's model.json")
    parser.add_argument("--sequences", required=True, type=Path)
    parser.add_argument("--output-adapters", required=True, type=Path)
    parser.add_argument("--output-log", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.grid import Cell
    from sys2ft.models import load_model
    from sys2ft.settings.stages import FineTuneStage
    from sys2ft.tables import atomic_path, build_table, read_rows, write_table
    from sys2ft.training.fine_tune import fine_tune_items

    stage = FineTuneStage.model_validate_json(args.settings)
    cell = Cell.from_path(args.cell)
    sequences = read_rows("sequences", args.sequences)
    bank, log = fine_tune_items(load_model(args.model), sequences, stage.method, ["fine_tune", *cell.keys().values()])
    with atomic_path(args.output_adapters) as folder:
        for index, name in enumerate(bank.names):
            bank.export(index, folder / name, cell.model)
    write_table(build_table("train_log", log, cell.keys()), args.output_log, stage.model_dump(mode="json"))


if __name__ == "__main__":
    main()
