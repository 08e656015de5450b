"""The suite in the other environment, so that one `pytest` examines every engine."""

import subprocess

import pytest

from tests.engines.conftest import IN_VLLM_ENVIRONMENT, ROOT


@pytest.mark.skipif(IN_VLLM_ENVIRONMENT, reason="this is the other environment")
def test_the_suite_passes_in_the_other_environment(vllm_python):
    command = [vllm_python, "-m", "pytest", "tests/engines", "-k", "vllm", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
