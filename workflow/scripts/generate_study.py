"""Have the items of a split studied by a teacher, or one job's share of them.

In: items, the teacher's model or recorded study data, the kind of study data (settings). Out: `completions.parquet`,
what the teacher was asked and wrote. What is finished is kept in the folder of requests: killed and started again, only
the missing requests are made.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of GenerateStudyStage")
    parser.add_argument("--axes", required=True, help="JSON: teacher, kind, split, seed")
    parser.add_argument("--shard", type=int, default=0, help="which of the teacher's shards this is")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of the job, for tensor parallelism")
    parser.add_argument("--source", type=Path, help="the teacher's model.json, or its recorded study data")
    parser.add_argument("--items", required=True, type=Path)
    parser.add_argument("--requests", required=True, type=Path, help="folder of the requests answered before")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)

    import json

    from sys2ft.models import converted_weights, describe_teacher
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import GenerateStudyStage
    from sys2ft.study.cache import CachedEngine, RequestCache
    from sys2ft.study.engines import SAMPLES, open_engine
    from sys2ft.study.generate import write_completions
    from sys2ft.tables import COMPLETIONS, ITEMS, build_table, read_rows, write_table

    stage = GenerateStudyStage.model_validate_json(args.settings)
    keys = json.loads(args.axes)
    items = read_rows(ITEMS, args.items)
    chosen = [item["item"] for item in items][args.shard :: stage.teacher.shards]
    revision, parameters = describe_teacher(stage.teacher, args.source)
    origin = tell_origin(__file__, revision, source=args.source, items=args.items)
    sampling = {name: getattr(stage.teacher, name) for name in ("engine", "temperature", "top_p", "top_k")}
    identity = {**sampling, "revision": revision}
    asked = identity | {"kind": keys["kind"], "samples": SAMPLES, "weights": converted_weights(args.source)}
    engine = CachedEngine(
        lambda: open_engine(stage.teacher, args.source, keys["kind"], args.gpus),
        RequestCache(args.requests, asked),
    )
    rows = write_completions(items, chosen, stage, engine, ["generate_study", *keys.values()], parameters)
    table = build_table(COMPLETIONS, rows, {**keys, **identity, "prompts_version": stage.prompts.version})
    write_table(table, args.output, stage.model_dump(mode="json"), origin)
    print(engine.summary())


if __name__ == "__main__":
    main()
