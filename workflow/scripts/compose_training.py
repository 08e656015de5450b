"""Make the training sequences of a protocol, as the learner reads them.

In: items, study data and what they cost (not for protocols without), general text (for those with), the learner's
tokenizer, the protocol and the budget (settings). Out: `sequences.parquet`.
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
    parser.add_argument("--study", type=Path, nargs="*", default=[], help="one file a kind")
    parser.add_argument("--counts", type=Path, nargs="*", default=[], help="what they cost")
    parser.add_argument("--replay", type=Path, nargs="*", default=[], help="in the order of the protocol's sets")
    parser.add_argument("--filler", type=Path, nargs="*", default=[], help="prose that stands in place of news")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    import json

    from sys2ft.models import load_manifest, load_tokenizer
    from sys2ft.origins import tell_origin
    from sys2ft.protocols import compose_sequences, gather_material
    from sys2ft.settings.stages import ComposeTrainingStage
    from sys2ft.tables import ITEMS, REPLAY, SEQUENCES, STUDY, STUDY_COUNTS, build_table, read_rows, write_table

    stage = ComposeTrainingStage.model_validate_json(args.settings)
    keys = json.loads(args.axes)
    material = gather_material(
        stage,
        items=read_rows(ITEMS, args.items),
        study=read_rows(STUDY, *args.study),
        counts=read_rows(STUDY_COUNTS, *args.counts),
        replay=[read_rows(REPLAY, path) for path in args.replay],
        filler="\n\n".join(path.read_text(encoding="utf-8").strip() for path in args.filler),
    )
    parameters = load_manifest(args.model)["parameters"]
    seed_parts = ["compose_training", *keys.values()]
    rows = compose_sequences(material, stage, load_tokenizer(args.model), parameters, seed_parts)
    read = {"study": args.study, "counts": args.counts, "replay": args.replay, "filler": args.filler}
    origin = tell_origin(__file__, model=args.model, items=args.items, **read)
    write_table(build_table(SEQUENCES, rows, keys), args.output, stage.model_dump(mode="json"), origin)


if __name__ == "__main__":
    main()
