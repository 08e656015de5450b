"""A hub repository, as it lies in the hub's cache on a machine without a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
PROGRAM = """
import json, sys
from pathlib import Path
from sys2ft.models import load_model, load_tokenizer, prepare_model
from sys2ft.settings.stages import PrepareModelStage
source = {"kind": "hub", "repository": "someone/tiny", "revision": sys.argv[2]}
folder = Path(sys.argv[1])
manifest = prepare_model(PrepareModelStage.model_validate({"source": source, "dtype": "float32"}), folder / "weights")
(folder / "model.json").write_text(json.dumps(manifest))
model, tokenizer = load_model(folder / "model.json"), load_tokenizer(folder / "model.json")
print(json.dumps({**manifest, "norm": model.get_input_embeddings().weight.norm().item(), "size": len(tokenizer)}))
"""


def run(folder: Path, cache: Path, revision: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HOME": str(cache.parent), "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), revision]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_hub_repository_is_loaded_at_its_revision_and_no_other(llama, model, tokenizer, tmp_path):
    cache = tmp_path / "home/hub"
    shutil.copytree(llama.parent / "weights", cache / f"models--someone--tiny/snapshots/{COMMIT}")
    done = run(tmp_path, cache, COMMIT)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["weights"], found["revision"], found["hub_revision"]) == ("someone/tiny", COMMIT, COMMIT)
    assert found["parameters"] == model.num_parameters()
    assert found["size"] == len(tokenizer)
    assert abs(found["norm"] - model.get_input_embeddings().weight.norm().item()) < 1e-4
    assert not list((tmp_path / "weights").iterdir()), "a hub model stays in the hub's cache"
    assert run(tmp_path, cache, OTHER).returncode != 0
