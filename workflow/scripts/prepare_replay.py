"""Fetch a set of general text, and leave out what the general questions of retention ask.

In: a file or a data set on the hub (settings), the general questions. Out: `replay.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of PrepareReplayStage")
    parser.add_argument("--name", required=True, help="of the set")
    parser.add_argument("--general", required=True, type=Path, help="YAML of general questions")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.news.items import asked, load_general
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import PrepareReplayStage
    from sys2ft.study.replay import prepare_replay
    from sys2ft.tables import REPLAY, build_table, write_table

    stage = PrepareReplayStage.model_validate_json(args.settings)
    rows, left_out = prepare_replay(stage, [asked(question) for question in load_general(args.general).questions])
    text = Path(stage.replay.path) if stage.replay.path else None
    origin = tell_origin(__file__, general=args.general, text=text)
    write_table(build_table(REPLAY, rows, {"replay": args.name}), args.output, stage.model_dump(mode="json"), origin)
    print(f"{len(rows)} rows; {left_out} left out, as they overlap a general question")


if __name__ == "__main__":
    main()
