"""Rules and scripts: one name each, instant help, one source of environments."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
RULES = [
    name
    for path in (ROOT / "workflow/rules").glob("*.smk")
    for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
]


def test_every_rule_has_its_script_and_every_script_its_rule():
    assert set(RULES) == {path.stem for path in SCRIPTS}


def test_every_rule_has_a_code_version():
    assert set(yaml.safe_load((ROOT / "workflow/code-versions.yaml").read_text())) == set(RULES)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_needs_no_heavy_import(script):
    code = (
        f"import sys, runpy; sys.argv = ['x', '--help']\ntry: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit: pass\nassert 'torch' not in sys.modules and 'pyarrow' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "usage" in run.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_table_is_given_its_origin(script):
    text = script.read_text()
    assert ("write_table(" not in text and "prepare_model" not in script.stem) or "tell_origin(__file__" in text


def test_conda_environments_agree_with_the_locks():
    run = subprocess.run([sys.executable, ROOT / "envs/write_conda.py", "--check"], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", ["workflow", "train", "generate", "dev"])
def test_locks_pin_what_is_asked_for(name):
    lock = dict(line.split("==") for line in (ROOT / f"envs/{name}.lock").read_text().splitlines() if "==" in line)
    for line in (ROOT / f"envs/{name}.in").read_text().splitlines():
        if line and not line.startswith("#"):
            package, _, version = line.partition("==")
            package = package.partition("[")[0].replace("_", "-")
            assert package.lower() in lock
            assert not version or lock[package.lower()] == version


def test_locks_of_one_virtual_environment_do_not_disagree():
    pins: dict[str, str] = {}
    for name in ("workflow", "train", "dev"):
        for line in (ROOT / f"envs/{name}.lock").read_text().splitlines():
            if "==" in line:
                package, version = line.split("==")
                assert pins.setdefault(package, version) == version, package
