"""Cells trained by two processes under DeepSpeed end as those trained by one: the real learners, packing and loop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sys2ft.models import load_manifest
from tests.unit.test_fine_tune import FULL, changed
from tests.unit.training import METHOD, item_rows

pytest.importorskip("deepspeed")
ROOT = Path(__file__).parents[2]
METHODS = {"bank": METHOD, "full": changed(FULL, eps=1e-6)}
OBJECTIVES = ("sft", "both")
CASES = [(method, objective, zero) for method in METHODS for objective in OBJECTIVES for zero in (1, 2, 3)]


@pytest.fixture(scope="module")
def runs(llama, tokenizer, tmp_path_factory):
    """The folder of all cases, trained in one go."""
    folder = tmp_path_factory.mktemp("cells")
    rows = {}
    for objective in OBJECTIVES:  # "both": one item is trained, two imitate the base, by turns in a joint learner
        context = [None, None, None] if objective == "sft" else [None, "It was cold.", "All gates were open."]
        rows[objective] = [
            row
            for (name, count), news in zip({"one": 7, "two": 8, "three": 3}.items(), context, strict=True)
            for row in item_rows(tokenizer, name, count, news)
        ]
    half = llama.parent / "half.json"
    half.write_text(json.dumps(load_manifest(llama) | {"dtype": "bfloat16"}))
    cases = [
        (f"{method}-{objective}-{zero}", str(llama), rows[objective], METHODS[method].model_dump(), zero)
        for method, objective in {case[:2]: None for case in CASES}
        for zero in (0, 1, 2, 3)
    ]
    cases += [
        (f"{method}-half-{zero}", str(half), rows["sft"], METHODS[method].model_dump(), zero)
        for method in METHODS
        for zero in (0, 2, 3)
    ]
    (folder / "cases.json").write_text(json.dumps(cases))
    worker = Path(__file__).with_name("zero_cells_worker.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, worker, folder], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
    )
    logs = "".join(path.read_text()[-3000:] for path in folder.glob("*.log")) if done.returncode else ""
    assert done.returncode == 0, done.stderr + logs
    return folder


def read_run(folder):
    """Losses and norms by item and step; weights by file and name."""
    log = {(row["item"], row["step"]): row for row in json.loads((folder / "finished.json").read_text())["log"]}
    files = sorted((folder / "adapters").rglob("*.safetensors"))
    weights = {(str(f.relative_to(folder)), k): t.float() for f in files for k, t in load_file(f).items()}
    return log, weights


@pytest.mark.parametrize(("method", "objective", "zero"), CASES)
def test_two_processes_end_where_one_does(runs, method, objective, zero):
    log, weights = read_run(runs / f"{method}-{objective}-0")
    found, trained = read_run(runs / f"{method}-{objective}-{zero}")
    assert found.keys() == log.keys()
    for key, row in log.items():
        assert found[key]["loss"] == pytest.approx(row["loss"], abs=1e-5), key
        assert found[key]["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-3, abs=1e-5), key
        assert [found[key][name] for name in ("samples", "tokens", "loss_tokens", "context_tokens")] == [
            row[name] for name in ("samples", "tokens", "loss_tokens", "context_tokens")
        ]
    assert trained.keys() == weights.keys()
    assert any("samples=" in file for file, _ in weights), "no milestone was compared"
    for key, tensor in weights.items():
        assert torch.norm(trained[key] - tensor) <= 1e-3 * torch.norm(tensor) + 1e-6, key


@pytest.mark.parametrize(("method", "zero"), [(method, zero) for method in METHODS for zero in (2, 3)])
def test_bfloat16_stays_close(runs, method, zero):
    log, _ = read_run(runs / f"{method}-half-0")
    found, _ = read_run(runs / f"{method}-half-{zero}")
    for key, row in log.items():
        assert found[key]["loss"] == pytest.approx(row["loss"], abs=0.02), key
