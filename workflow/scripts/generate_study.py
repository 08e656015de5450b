"""Have every item of a split studied by a teacher.

In: items, the teacher's model, the kind of study data (settings). Out: `completions.parquet` (what the teacher was
asked and wrote) and `study.parquet` (what was read from it).
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of GenerateStudyStage")
    parser.add_argument("--axes", required=True, help="JSON: teacher, kind, split, seed")
    parser.add_argument("--source", required=True, type=Path, help="the teacher's model.json, or its recorded study")
    parser.add_argument("--items", required=True, type=Path)
    parser.add_argument("--output-completions", required=True, type=Path)
    parser.add_argument("--output-study", required=True, type=Path)
    args = parser.parse_args(argv)

    import json

    from sys2ft.models import source_revision
    from sys2ft.settings.stages import GenerateStudyStage
    from sys2ft.study.engines import open_engine
    from sys2ft.study.generate import study_items
    from sys2ft.tables import build_table, read_rows, write_table

    stage = GenerateStudyStage.model_validate_json(args.settings)
    keys = json.loads(args.axes)
    items = read_rows("items", args.items)
    engine = open_engine(stage.teacher, args.source, keys["kind"])
    study = study_items(items, stage, engine, ["generate_study", *keys.values()])
    sampling = {name: getattr(stage.teacher, name) for name in ("engine", "temperature", "top_p", "top_k")}
    sampling["revision"] = source_revision(args.source)
    completions = build_table("completions", study.completions, {**keys, **sampling})
    settings = stage.model_dump(mode="json")
    write_table(completions, args.output_completions, settings)
    write_table(build_table("study", study.rows, keys), args.output_study, settings)
    kept = sum(row["status"] == "kept" for row in study.rows)
    print(f"{kept} of {len(study.rows)} study rows kept")


if __name__ == "__main__":
    main()
