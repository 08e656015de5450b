"""Turn answers into measures beside their controls, with intervals.

In: `answers.parquet` and `retention.parquet` of the whole grid, statistics (settings).
Out: `effects.parquet` with a CSV twin.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of EstimateEffectsStage")
    parser.add_argument("--answers", required=True, type=Path)
    parser.add_argument("--retention", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    import pyarrow.compute as pc

    from sys2ft.analysis.effects import estimate_effects
    from sys2ft.analysis.scores import COLUMNS
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import EstimateEffectsStage
    from sys2ft.tables import ANSWERS, EFFECTS, RETENTION, build_table, read_table, write_table

    stage = EstimateEffectsStage.model_validate_json(args.settings)
    answers = read_table(ANSWERS, args.answers, [*COLUMNS, "milestone"])
    answers = answers.filter(pc.invert(answers["milestone"])).drop_columns("milestone")
    rows = estimate_effects(answers, read_table(RETENTION, args.retention), stage)
    table = build_table(EFFECTS, rows)
    write_table(table, args.output, stage.model_dump(mode="json"), tell_origin(__file__))
    write_table(table, args.output.with_suffix(".csv"))


if __name__ == "__main__":
    main()
