"""Write the conda specification of each environment from its lock file, so that both say the same.

Run by `make lock`; a test runs it with `--check`.
"""

import argparse
import sys
from pathlib import Path

ENVIRONMENTS = ("workflow", "train", "generate")
HEAD = """\
# Made by envs/write_conda.py from envs/{name}.lock: change envs/{name}.in and run `make lock`.
name: sys2ft-{name}
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def conda_specification(name: str, folder: Path) -> str:
    """The text of `<name>.yaml`."""
    lines = (folder / f"{name}.lock").read_text().splitlines()
    pins = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return HEAD.format(name=name) + "".join(f"      - {pin}\n" for pin in pins)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is out of date")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    args = parser.parse_args(argv)
    for name in ENVIRONMENTS:
        path, text = args.folder / f"{name}.yaml", conda_specification(name, args.folder)
        if not args.check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path} does not agree with {name}.lock: run `make lock`")


if __name__ == "__main__":
    main()
