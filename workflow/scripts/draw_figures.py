"""Draw the figures, and export each as SVG, PDF, PNG and Vega-Lite; without a network.

In: effects, learning dynamics, the scaling law, questions, models; the configuration, for the bill.
Out: `figures/<name>.<format>`, `vega.js` (what draws them in a page) and `digests.json`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of DrawFiguresStage")
    parser.add_argument("--effects", required=True, type=Path)
    parser.add_argument("--dynamics", required=True, type=Path)
    parser.add_argument("--scaling", required=True, type=Path)
    parser.add_argument("--questions", required=True, nargs="+", type=Path)
    parser.add_argument("--models", required=True, nargs="+", type=Path, help="model.json of each learner")
    parser.add_argument("--configfile", nargs="*", default=[], help="of the study, to compare its bill with actuals")
    parser.add_argument("--output", required=True, type=Path, help="a folder")
    args = parser.parse_args(argv)

    import vl_convert

    from sys2ft.report.figure import write_figure
    from sys2ft.report.figures import DRAW
    from sys2ft.report.files import write_digests, write_file
    from sys2ft.report.reading import read_bill, read_findings
    from sys2ft.settings.stages import DrawFiguresStage

    stage = DrawFiguresStage.model_validate_json(args.settings)
    tables = {name: getattr(args, name) for name in ("effects", "dynamics", "scaling")}
    findings = read_findings(stage, tables, args.questions, args.models, read_bill(args.configfile))
    paths = [
        write_file(args.output / "vega.js", vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode())
    ]
    for name, draw in DRAW.items():
        figure = draw(findings)
        print(f"{name}: {'drawn' if figure.chart is not None else figure.caption}")
        paths += write_figure(figure.specification(), args.output, name)
    write_digests(args.output, paths)


if __name__ == "__main__":
    main()
