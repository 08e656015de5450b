"""Fit forms of a scaling law to closed-book accuracy and loss, and say which can be told apart.

In: `answers.parquet` and `cells.parquet` of the whole grid, the questions of its splits, and of the results folder the
training logs and models, which the rule lists as inputs: they are enumerated from the grid (settings), and too many for
a command line.
Out: `scaling.parquet` with a CSV twin.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of FitScalingLawStage")
    parser.add_argument("--results", required=True)
    parser.add_argument("--answers", required=True)
    parser.add_argument("--cells", required=True, type=Path)
    parser.add_argument("--questions", required=True, type=Path, nargs="+")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.analysis.curves import read_curves
    from sys2ft.analysis.panels import build_panels, chances
    from sys2ft.analysis.scaling import fit_scaling_laws
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import FitScalingLawStage
    from sys2ft.tables import CELLS, QUESTIONS, SCALING, build_table, read_rows, write_table

    stage = FitScalingLawStage.model_validate_json(args.settings)
    answered, trained, parameters = read_curves(args.results, args.answers, stage)
    cells, guesses = read_rows(CELLS, args.cells), chances(read_rows(QUESTIONS, *args.questions))
    panels = build_panels(answered, trained, cells, guesses, parameters, stage)
    table = build_table(SCALING, fit_scaling_laws(panels, stage))
    write_table(table, args.output, stage.model_dump(mode="json"), tell_origin(__file__))
    write_table(table, args.output.with_suffix(".csv"))


if __name__ == "__main__":
    main()
