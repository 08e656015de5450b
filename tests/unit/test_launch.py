"""How processes find each other, from the words of the launchers."""

import os
import subprocess
import sys

import pytest
import torch

from sys2ft.training.launch import join, world_size

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_JOB_ID": "77", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[3-4]", "CUDA_VISIBLE_DEVICES": "6",
}  # fmt: skip


@pytest.fixture
def joined(monkeypatch):
    """The backends with which a process group was made; none is."""
    backends = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **_: backends.append(backend))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: bool(backends))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return backends


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        (TORCHRUN, 2),
        ({**TORCHRUN, "WORLD_SIZE": "1"}, 1),
        (SLURM, 8),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, 1),  # a batch script
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, 1),
        ({**SLURM, **TORCHRUN}, 2),  # torchrun, itself started by srun
    ],
)
def test_world_size(monkeypatch, environment, expected):
    monkeypatch.setattr(os, "environ", environment)
    assert world_size() == expected


def test_world_size_imports_nothing_heavy():
    code = "import sys, sys2ft.training.launch as m; m.world_size(); print({'torch', 'submitit'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"


def test_a_process_alone_joins_nobody(monkeypatch, joined):
    monkeypatch.setattr(os, "environ", {})
    join()
    assert joined == []


def test_join_takes_what_a_launcher_says_once(monkeypatch, joined):
    monkeypatch.setattr(os, "environ", dict(TORCHRUN))
    join()
    join()
    assert joined == ["gloo"]
    assert os.environ == TORCHRUN


def test_join_translates_slurm(monkeypatch, joined):
    monkeypatch.setattr(os, "environ", dict(SLURM))
    join()
    found = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")}
    expected = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "node3"}
    assert found == expected
    assert int(os.environ["MASTER_PORT"]) > 1023
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6", "SLURM has chosen the GPU"
    assert joined == ["gloo"]


def test_an_address_that_was_given_stays(monkeypatch, joined):
    monkeypatch.setattr(os, "environ", SLURM | {"MASTER_ADDR": "10.0.0.3"})
    join()
    assert (os.environ["MASTER_ADDR"], joined) == ("10.0.0.3", ["gloo"])


@pytest.mark.parametrize(("visible", "expected"), [(2, 1), (1, 0)])
def test_join_takes_a_gpu_that_it_sees(monkeypatch, joined, visible, expected):
    taken = []
    monkeypatch.setattr(os, "environ", dict(SLURM))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    join()
    assert (taken, joined) == ([expected], ["nccl"])
    assert os.environ["LOCAL_RANK"] == str(expected)
