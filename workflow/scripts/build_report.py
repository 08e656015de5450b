"""Build the report: one page with verdicts, figures, tables, worked examples and provenance, that needs no network.

In: the tables of the whole grid, figures, models, the results of the cells that are shown; the configuration, for the
bill.
Out: `report/index.html` and `digests.json`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of BuildReportStage")
    parser.add_argument("--results", required=True, help="the results folder")
    parser.add_argument("--questions", required=True, nargs="+", type=Path)
    parser.add_argument("--models", required=True, nargs="+", type=Path, help="model.json of each learner")
    parser.add_argument("--configfile", nargs="*", default=[], help="of the study, to compare its bill with actuals")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.paths import artefact_path
    from sys2ft.report.files import write_digests, write_file
    from sys2ft.report.page import render
    from sys2ft.report.reading import read_bill, read_page
    from sys2ft.settings.stages import BuildReportStage

    stage = BuildReportStage.model_validate_json(args.settings)
    page = read_page(stage, args.results, args.questions, args.models, read_bill(args.configfile))
    vega = Path(artefact_path(args.results, "vega")).read_text(encoding="utf-8")
    html = render(page, vega).encode()
    write_digests(args.output.parent, [write_file(args.output, html)])
    print(f"{args.output}: {len(html) / 1e6:.2f} MB, {len(page.examples)} examples of {stage.cells} cells")


if __name__ == "__main__":
    main()
