"""The programs in `benchmarks` run from end to end, on tiny random models."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ["--tiny", "--steps", "1", "--warmup", "1", "--dtype", "float32", "--tokens-per-pass", "512", "--repeats", "1"]


def load_benchmark(name, monkeypatch):
    """A program that measures in this process: a start takes longer than a tiny measurement."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    if hasattr(module, "run_apart"):
        monkeypatch.setattr(module, "run_apart", module.measure)
    return module


@pytest.fixture
def training(monkeypatch):
    return load_benchmark("training", monkeypatch)


def run_part(training, capsys, folder, part, *flags):
    """What the program prints: its text, and the object of its last line."""
    training.main([*FLAGS, "--folder", str(folder), "--part", part, *flags])
    text = capsys.readouterr().out
    return text, json.loads(text.splitlines()[-1])


def test_peers_do_the_same_and_are_compared(training, capsys, tmp_path):
    text, found = run_part(training, capsys, tmp_path, "peers", "--items", "2", "--micro-batches", "4", "2")
    assert list(found) == ["bank_vs_peft", "bank_vs_trl", "useful_token_share"]
    assert (found["bank_vs_trl"] is None) == (importlib.util.find_spec("trl") is None)
    assert found["bank_vs_peft"] > 0
    # A prompt shared by an item's sequences is computed once.
    assert found["useful_token_share"] > 1
    losses = text.splitlines()[-2].partition(":")[2].split(",")
    assert len({round(float(loss.split()[1]), 4) for loss in losses}) == 1, losses


@pytest.mark.parametrize(("part", "flags"), [("items", ["--items", "1", "2"]), ("length", ["--lengths", "16", "64"])])
def test_costs_along_an_axis(training, capsys, tmp_path, part, flags):
    _, found = run_part(training, capsys, tmp_path, part, *flags)
    assert len(found[part]) == 2
    assert all(row[system]["seconds_per_token"] > 0 for row in found[part] for system in ("bank", "peft"))


def test_sizes_for_a_gpu(training, capsys, tmp_path):
    _, found = run_part(training, capsys, tmp_path, "gpu", "--items", "2", "--peak-flops", "1e12")
    assert found["tiny"]["bank_vs_peft"] > 0
    assert 0 < found["full"]["flops_utilisation"] < 1


@pytest.mark.parametrize("adapters", ["1", "2"])
def test_scorers_do_the_same_and_are_compared(monkeypatch, capsys, tmp_path, adapters):
    scoring = load_benchmark("scoring", monkeypatch)
    flags = ["--tiny", "--dtype", "float32", "--contexts", "0", "40", "--questions", "2", "--tokens-per-pass", "512"]
    scoring.main([*flags, "--batch-sizes", "3", "--adapters", adapters, "--folder", str(tmp_path)])
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert list(found) == [f"tree_vs_{system}_{n}" for n in (0, 40) for system in ("lm_eval", "plain")]
    assert all(ratio > 0 for ratio in found.values())
    rows = [line.split() for line in table if line.startswith(("tree", "lm_eval", "plain"))]
    assert len(rows) == 6
    assert all(float(row[-2]) < 1e-4 for row in rows), "log-likelihoods differ"


def test_effects_are_compared_with_loops_over_quantities(monkeypatch, capsys):
    load_benchmark("effects", monkeypatch).main(["--tiny", "--draws", "200", "--repeats", "2"])
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["answers"] == 2 * (5 + 6 * 6 * 2) * 20  # models; terms of a base, of protocols and seeds; questions
    assert found["effects_vs_numpy"] > 0
    assert found["effects_vs_scipy"] > 0
    assert [line.split()[0] for line in table[-3:]] == ["estimate_effects", "numpy", "scipy"]
