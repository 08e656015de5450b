"""Make a model ready to load.

In: the model's source (settings). Out: `model.json`, and the folder of converted weights (empty where none are).
"""

import argparse
import json
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of PrepareModelStage")
    parser.add_argument("--output-weights", required=True, type=Path)
    parser.add_argument("--output-manifest", required=True, type=Path)
    args = parser.parse_args(argv)

    from sys2ft.models import prepare_model
    from sys2ft.origins import ORIGIN, tell_origin
    from sys2ft.settings.stages import PrepareModelStage
    from sys2ft.tables import atomic_path

    stage = PrepareModelStage.model_validate_json(args.settings)
    with atomic_path(args.output_weights) as folder:
        manifest = prepare_model(stage, folder)
    origin = tell_origin(__file__, manifest["revision"])
    with atomic_path(args.output_manifest) as path:
        path.write_text(json.dumps({**manifest, ORIGIN: origin.model_dump(exclude_defaults=True)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
