"""Write the JSON schemas of configuration and news files from the models that check them.

Editors use them: `# yaml-language-server: $schema=...`. Run by `make schemas`; a test fails when they drift.
"""

import json
from pathlib import Path


def main() -> None:
    """Write both schemas beside this file."""
    from sys2ft.news.items import NewsFile
    from sys2ft.settings.study import Study

    for name, model in {"config": Study, "news": NewsFile}.items():
        path = Path(__file__).parent / f"{name}.schema.json"
        path.write_text(json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
