"""Follow measures and loss along training, with intervals.

In: `answers.parquet` of the whole grid, and of the results folder the training logs and models, which the rule lists as
inputs: they are enumerated from the grid (settings), and too many for a command line.
Out: `dynamics.parquet` with a CSV twin.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of CurvesStage")
    parser.add_argument("--results", required=True)
    parser.add_argument("--answers", required=True)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.analysis.curves import read_curves
    from sys2ft.analysis.dynamics import trace_learning
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import CurvesStage
    from sys2ft.tables import DYNAMICS, build_table, write_table

    stage = CurvesStage.model_validate_json(args.settings)
    answered, trained, parameters = read_curves(args.results, args.answers, stage)
    table = build_table(DYNAMICS, trace_learning(answered, trained, parameters, stage))
    write_table(table, args.output, stage.model_dump(mode="json"), tell_origin(__file__))
    write_table(table, args.output.with_suffix(".csv"))


if __name__ == "__main__":
    main()
