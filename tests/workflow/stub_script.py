"""Stands for a rule's script where only Snakemake's decisions are tested: it writes every output at once.

What a script writes plays no part in them but for its bytes; test_workflow.py asks the same of the real scripts.
"""

import sys
from itertools import pairwise
from pathlib import Path

from sys2ft.paths import figure_paths

told = sys.argv[1:]
for option, value in pairwise(told):
    path = Path(value)
    if not option.startswith("--output"):
        continue
    if path.name == "adapters":
        path.mkdir(parents=True)
        (path / "weights").write_text(str(told))
    elif path.name == "figures":
        for figure in figure_paths(str(path.parent)):
            Path(figure).parent.mkdir(parents=True, exist_ok=True)
            Path(figure).write_text(str(told))
    else:
        beside = {"tables": path.with_suffix(".csv"), "report": path.with_name("digests.json")}
        for output in filter(None, (path, beside.get(path.parent.name))):
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(str(told))
