"""Projects that a test may change, and Snakemake run in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--profile", "profiles/local")
SMALL = {"grid": {"protocol": ["naive", "self_qa", "self_qa_shadowed"], "seed": [0]}}


def make_project(folder: Path) -> Path:
    """A copy of the project that a test may change; what it never changes is linked."""
    for name in ("Snakefile", "workflow", "src", "envs", "profiles", "tests"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("config", "data"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "config/small.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def snakemake(
    project: Path, *arguments: str, configs=("config/smoke.yaml", "config/small.yaml"), **environment: str
) -> subprocess.CompletedProcess:
    """Run Snakemake in a project; `environment` holds variables that it is given beside its own."""
    command = [*SNAKEMAKE, *arguments, *(["--configfile", *configs] if configs else [])]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = os.environ | {"PATH": path} | environment
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=900, check=False, env=variables)


def failures(run) -> str:
    """What a run says of its failed jobs, with their logs."""
    blocks = re.split(r"\n(?=\[|Error in rule)", run.stderr)
    return "\n".join(block for block in blocks if "rror" in block)[-5000:]
