"""Make the training sequences of a protocol, as the learner reads them.

In: items, study data (not for protocols without), the learner's tokenizer, the protocol (settings).
Out: `sequences.parquet`.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of ComposeTrainingStage")
    parser.add_argument("--axes", required=True, help="JSON: model, protocol, teacher, split, seed")
    parser.add_argument("--model", required=True, type=Path, help="the learner's model.json")
    parser.add_argument("--items", required=True, type=Path)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    import json

    from sys2ft.models import load_tokenizer
    from sys2ft.protocols import compose_sequences, render_sequences
    from sys2ft.settings.stages import ComposeTrainingStage
    from sys2ft.tables import build_table, read_rows, write_table

    stage = ComposeTrainingStage.model_validate_json(args.settings)
    keys = json.loads(args.axes)
    items = read_rows("items", args.items)
    study = read_rows("study", args.study) if args.study else []
    chats = compose_sequences(items, study, stage, ["compose_training", *keys.values()])
    rows = render_sequences(load_tokenizer(args.model), chats)
    write_table(build_table("sequences", rows, keys), args.output, stage.model_dump(mode="json"))


if __name__ == "__main__":
    main()
