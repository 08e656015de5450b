"""The guide: it builds without a warning, names files that exist, and no page asks the network for anything."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
LOADED = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]* (?:src|href)="(https?:[^"]+)"')
NAMED = re.compile(r"`((?:config|data|docs|envs|profiles|src|tests|workflow|benchmarks)/[\w./-]+)`")
MADE_UP = {"config/mine.yaml", "data/mine.yaml", "data/harbour.yaml"}


def test_the_guide_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert len(built) > len(PAGES), "each page, and one for what is not found"
    assert [page for page in built if LOADED.search(page.read_text())] == []


def test_what_pages_name_of_the_project_is_there():
    for page in (*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        missing = {path for path in NAMED.findall(page.read_text()) if not (ROOT / path).exists()}
        assert missing <= MADE_UP, page.name
