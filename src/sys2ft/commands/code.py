"""`sys2ft code-version`: whether a change of code changes results."""

import argparse
import sys
from pathlib import Path


def code_version(args: argparse.Namespace) -> None:
    """Say of stages whether their results change; or name those that nobody spoke of; or list what one reaches."""
    from sys2ft import code_versions

    root = Path()
    if args.reached:
        print("\n".join(code_versions.reached(root, args.reached)))
    elif args.results:
        for stage, version in code_versions.declare(root, args.stage, args.results).items():
            print(f"{stage}: version {version}")
    elif messages := code_versions.check(root):
        sys.exit("\n".join(messages))
