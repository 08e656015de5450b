"""Gather the answers and the costs of all cells of the grid.

In: the grid (settings) and the results folder, whose files the rule lists as inputs: they are enumerated from the grid,
not searched for, and too many for a command line. Out: `answers.parquet`, `cells.parquet`, each with a CSV twin.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of BuildTablesStage")
    parser.add_argument("--results", required=True)
    parser.add_argument("--output-answers", required=True, type=Path)
    parser.add_argument("--output-cells", required=True, type=Path)
    args = parser.parse_args(argv)

    import pyarrow as pa

    from sys2ft.analysis.cells import read_cell
    from sys2ft.paths import artefact_path, cell_path
    from sys2ft.settings import BuildTablesStage
    from sys2ft.tables import build_table, read_table, write_table

    stage = BuildTablesStage.model_validate_json(args.settings)
    cells = stage.cells()
    bases = dict.fromkeys((cell.model, cell.split) for cell in cells)
    paths = [artefact_path(args.results, "base_answers", model=model, split=split) for model, split in bases]
    paths += [cell_path(args.results, "answers", cell) for cell in cells]
    answers = pa.concat_tables([read_table("answers", path).replace_schema_metadata() for path in paths])
    rows = [{**cell.keys(), **read_cell(args.results, cell, stage)} for cell in cells]
    for table, path in ((answers, args.output_answers), (build_table("cells", rows), args.output_cells)):
        write_table(table, path, stage.model_dump(mode="json"))
        write_table(table, path.with_suffix(".csv"))


if __name__ == "__main__":
    main()
