"""The engines, each opened once: those of this environment on one tiny model, and a real server for `openai`.

vLLM has an environment of its own, where the same suite runs (`test_environments.py` starts it).
"""

import importlib.util
import os
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.engines import open_engine
from sys2ft.study.requests import Engine
from tests.engines.speaker import make_speaker

ROOT = Path(__file__).parents[2]
GENERATE = ROOT / ".venv-generate"
IN_VLLM_ENVIRONMENT = importlib.util.find_spec("vllm") is not None
ENGINES = ("vllm",) if IN_VLLM_ENVIRONMENT else ("transformers", "recorded", "openai")
BATCH = 4
RECORDED = [f"Row {number} of the ferry — é雪🙂." for number in range(12)]
collect_ignore = [] if IN_VLLM_ENVIRONMENT else ["test_vllm.py"]


@dataclass
class Subject:
    """An engine to be examined."""

    name: str
    engine: Engine


@pytest.fixture(scope="session")
def speaker(tmp_path_factory) -> Path:
    return make_speaker(tmp_path_factory.mktemp("speaker"))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "study.yaml"
    study = {f"item{number}": {"paraphrase": RECORDED} for number in range(12)}
    path.write_text(yaml.safe_dump({"study": study}))
    return path


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter that has vLLM."""
    if not any(GENERATE.glob("ready-*")):
        errors = GENERATE / "errors"
        said = [line for line in errors.read_text().splitlines() if "ERROR" in line] if errors.exists() else []
        pytest.skip(f"no vLLM: {said[-1] if said else 'run `make generate`'}")
    return GENERATE / "bin/python"


@pytest.fixture(scope="session")
def server(vllm_python, speaker, tmp_path_factory):
    """The base URL of vLLM's own server with the tiny model, which it calls `speaker`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "server.log"
    command = [vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", speaker.parent / "weights"]
    command += ["--served-model-name", "speaker", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--enforce-eager", "--max-num-seqs", str(BATCH), "--enable-prompt-tokens-details"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: int = 240) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(seconds):
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(1)
    pytest.fail(f"the server did not start: {log.read_text()[-3000:]}")


@pytest.fixture(scope="session", params=ENGINES)
def subject(request, opened) -> Subject:
    return open_once(request, opened)


@pytest.fixture(scope="session", params=[name for name in ENGINES if name != "recorded"])
def sampler(request, opened) -> Subject:
    """A subject that runs a model, and so draws from seeds, counts tokens and stops at a limit."""
    return open_once(request, opened)


@pytest.fixture(scope="session")
def opened() -> dict[str, Subject]:
    return {}


def open_once(request: pytest.FixtureRequest, opened: dict[str, Subject]) -> Subject:
    name = request.param
    if name not in opened:
        source = {"openai": "server", "recorded": "recorded"}.get(name, "speaker")
        found = request.getfixturevalue(source)
        fields = {"path": "recorded.yaml"} if name == "recorded" else {}
        if name == "openai":
            fields, found = {"endpoint": found, "served_model": "speaker", "revision": "seed 3"}, None
        settings = TeacherSettings(engine=name, batch_size=BATCH, **fields)
        opened[name] = Subject(name, open_engine(settings, found, "paraphrase"))
    return opened[name]
