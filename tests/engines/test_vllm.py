"""What is vLLM's own: the prompt cache, the weights it is given, an end that leaves nothing running."""

import json
import os
import shutil
import subprocess
import sys

from sys2ft.chat import user
from sys2ft.study.requests import Request, complete
from tests.engines.conftest import ROOT
from tests.engines.speaker import PHRASE

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = """
import sys
from pathlib import Path
from sys2ft.chat import user
from sys2ft.settings.catalogue import TeacherSettings
from sys2ft.study.engines import open_engine
from sys2ft.study.requests import Request

if __name__ == "__main__":
    engine = open_engine(TeacherSettings(engine="vllm", batch_size=2), Path(sys.argv[1]), "paraphrase")
    requests = [Request(f"item{n}", "write", 0, range(1), (user("Say it!"),), 20, n) for n in range(3)]
    print([sample.text for group in engine(requests) for sample in group])
    import psutil
    print([process.pid for process in psutil.Process().children(recursive=True)])
"""


def test_a_shared_prompt_is_computed_once(subject):
    news = "The ferry calls at Craywick. " * 10
    requests = [Request("item", "write", n, range(1), (user(news + "Write."),), 4, n) for n in range(6)]
    cached = [sample.cached_tokens for sample in complete(subject.engine, requests)]
    assert all(tokens >= 256 for tokens in cached[1:])


def test_a_hub_model_is_found_without_a_network_and_nothing_is_left_running(speaker, tmp_path):
    cache = tmp_path / "hub"
    shutil.copytree(speaker.parent / "weights", cache / f"models--someone--tiny/snapshots/{COMMIT}")
    manifest = json.loads(speaker.read_text()) | {"weights": "someone/tiny", "hub_revision": COMMIT}
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, tmp_path / "program.py", tmp_path / "model.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-2:] == [str([PHRASE] * 3), "[]"]
