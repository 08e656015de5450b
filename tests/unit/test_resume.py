"""A run that is killed at any moment and started again ends bit for bit where an undisturbed one does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sys2ft.settings.catalogue import MethodSettings
from sys2ft.settings.methods import LiftSettings
from sys2ft.training.checkpoint import Checkpoints, watch_signals
from tests.unit.training import METHOD, item_rows

FULL = {"kind": "full", "per": "split", "lr": 1e-3, "batch_size": 2}
ROOT = Path(__file__).parents[2]


def run_cases(manifest, tokenizer, folder, method, world):
    rows = [
        row for name, count in {"one": 24, "two": 22, "three": 9}.items() for row in item_rows(tokenizer, name, count)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    worker = Path(__file__).with_name("resume_worker.py")
    told = [manifest, folder / "rows.json", folder / "runs", method.model_dump_json(), world]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, worker, *map(str, told)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    logs = "".join(path.read_text()[-2000:] for path in (folder / "runs").glob("*.log")) if done.returncode else ""
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout


def weights(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


@pytest.mark.parametrize(
    ("method", "world"),
    [(METHOD, 1), (METHOD, 2), (MethodSettings(**FULL, lift=LiftSettings(rank=4, refresh_steps=7)), 1)],
    ids=["bank", "bank under ZeRO 2", "full with LIFT"],
)
def test_ten_random_interruptions_leave_no_trace(llama, tokenizer, tmp_path, method, world):
    if world > 1:
        pytest.importorskip("deepspeed")
    print(run_cases(llama, tokenizer, tmp_path, method, world))
    whole = weights(tmp_path / "runs/whole/adapters")
    assert len(whole) == (14 if method.kind == "lora" else 6), "3 adapters and their milestones, or a model and its"
    for case in (tmp_path / "runs").glob("case*/"):
        assert weights(case / "adapters") == whole, case


# ---------------------------------------------------------------------------------------------------------- checkpoints
def write_steps(folder, *steps, identity="run"):
    checkpoints = Checkpoints(folder, identity, every=0)
    for step in steps:
        checkpoints.save(step, lambda place, step=step: (place / "state").write_text(f"state {step}"))
    return checkpoints


def test_the_newest_checkpoint_is_found_and_the_one_before_kept(tmp_path):
    checkpoints = write_steps(tmp_path, 1, 2, 3)
    assert checkpoints.newest() == (3, tmp_path / "step=00000003")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step=00000002", "step=00000003"]


@pytest.mark.parametrize(
    "tear",
    [
        lambda folder: (folder / "state").write_text("sta"),
        lambda folder: (folder / "state").unlink(),
        lambda folder: (folder / "manifest.json").write_text('{"step": 3, "fi'),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
    ids=["short file", "missing file", "short manifest", "missing manifest"],
)
def test_a_torn_checkpoint_is_ignored_in_favour_of_the_one_before(tmp_path, tear):
    checkpoints = write_steps(tmp_path, 2, 3)
    tear(tmp_path / "step=00000003")
    assert checkpoints.newest() == (2, tmp_path / "step=00000002")


def test_a_checkpoint_that_was_being_written_is_no_checkpoint(tmp_path):
    checkpoints = write_steps(tmp_path, 2)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(3, lambda _: (_ for _ in ()).throw(OSError("disk full")))
    assert checkpoints.newest() == (2, tmp_path / "step=00000002")
    write_steps(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step=00000002", "step=00000003"]


def test_a_checkpoint_of_another_run_is_ignored(tmp_path):
    write_steps(tmp_path, 2, identity="other settings")
    assert Checkpoints(tmp_path, "run", 0).newest() is None


def test_checkpoints_are_due_by_time(tmp_path):
    assert Checkpoints(tmp_path, "run", every=0).due()
    assert not Checkpoints(tmp_path, "run", every=1000).due()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_is_noted_once_and_the_old_handler_comes_back(signum):
    before = signal.getsignal(signum)
    with watch_signals() as interruption:
        assert interruption.signum == 0
        os.kill(os.getpid(), signum)
        os.kill(os.getpid(), signum)  # a launcher hands on what the scheduler has sent already
        assert interruption.signum == signum
    assert signal.getsignal(signum) == before


def test_a_signal_some_time_after_the_first_kills_as_usual(monkeypatch):
    monkeypatch.setattr("sys2ft.training.checkpoint.PATIENCE", 0.0)
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append("as usual"))
    try:
        with watch_signals():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["as usual"]


def test_what_was_torn_while_being_written_is_removed_by_the_next(tmp_path):
    (tmp_path / ".step=00000001").mkdir(parents=True)
    write_steps(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step=00000002"]


def test_torn_later_checkpoints_do_not_outlive_a_new_one(tmp_path):
    write_steps(tmp_path, 8, 9)
    for step in (8, 9):
        (tmp_path / f"step=0000000{step}/state").write_text("torn")
    checkpoints = write_steps(tmp_path, 1)
    assert checkpoints.newest() == (1, tmp_path / "step=00000001")
