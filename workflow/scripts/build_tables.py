"""Gather the answers and the costs of all cells of the grid.

In: the grid (settings) and the results folder, whose files the rule lists as inputs: they are enumerated from the grid,
not searched for, and too many for a command line. Out: `answers.parquet`, `retention.parquet`, `study_counts.parquet`,
`cells.parquet`, each with a CSV twin.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of BuildTablesStage")
    parser.add_argument("--results", required=True)
    parser.add_argument("--output-answers", required=True, type=Path)
    parser.add_argument("--output-retention", required=True, type=Path)
    parser.add_argument("--output-study-counts", required=True, type=Path)
    parser.add_argument("--output-cells", required=True, type=Path)
    args = parser.parse_args(argv)

    import pyarrow as pa

    from sys2ft.analysis.cells import read_cell
    from sys2ft.origins import tell_origin
    from sys2ft.paths import answer_paths, study_paths
    from sys2ft.settings.stages import BuildTablesStage
    from sys2ft.tables import ANSWERS, CELLS, RETENTION, STUDY_COUNTS, build_table, read_table, write_table

    stage = BuildTablesStage.model_validate_json(args.settings)
    cells = stage.cells()
    rows = [{**cell.keys(), **read_cell(args.results, cell, stage)} for cell in cells]
    counts = [read_table(STUDY_COUNTS, path) for path in study_paths(args.results, "study_counts", cells, stage.kinds)]
    tables = {
        args.output_cells: build_table(CELLS, rows),
        args.output_study_counts: pa.concat_tables(
            [build_table(STUDY_COUNTS, []), *(table.replace_schema_metadata() for table in counts)]
        ),
    }
    retention = dict.fromkeys(stage.grid.split, ("retention",))
    for schema, output, artefacts in (
        (ANSWERS, args.output_answers, stage.answers),
        (RETENTION, args.output_retention, retention),
    ):
        paths = answer_paths(args.results, cells, artefacts)
        tables[output] = pa.concat_tables([read_table(schema, path).replace_schema_metadata() for path in paths])
    for path, table in tables.items():
        write_table(table, path, stage.model_dump(mode="json"), tell_origin(__file__))
        write_table(table, path.with_suffix(".csv"))


if __name__ == "__main__":
    main()
