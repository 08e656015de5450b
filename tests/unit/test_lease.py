"""A cell's lease: one holder at a time, whatever happens to the others."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from sys2ft import lease
from sys2ft.lease import LOST, hold_lease, read_lease

HOLD = "import sys, time; from pathlib import Path; from sys2ft.lease import hold_lease\n"
HOLD += "with hold_lease(Path(sys.argv[1]), beat=0.05):\n    print('held', flush=True)\n    time.sleep(60)"
ELSEWHERE = {"host": "another-node pid:[1]", "pid": 17, "started": "5", "job": "4711", "token": "x"}


def hold(path):
    """A process of its own that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_it_names_its_holder_and_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with hold_lease(tmp_path / "cell/lease"):
        holder = read_lease(tmp_path / "cell/lease")
        assert (holder["pid"], holder["job"]) == (os.getpid(), "12")
    assert os.listdir(tmp_path / "cell") == []
    assert read_lease(tmp_path / "cell/lease") is None


def test_it_is_given_back_when_work_fails(tmp_path):
    with pytest.raises(FloatingPointError), hold_lease(tmp_path / "lease"):
        raise FloatingPointError
    assert os.listdir(tmp_path) == []


def _count(path, counter):
    for _ in range(20):
        with hold_lease(path, beat=0.001):
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


def test_of_many_processes_one_holds_it_at_a_time(tmp_path):
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count, args=(tmp_path / "lease", tmp_path / "counter")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert (tmp_path / "counter").read_text() == "80"
    assert [process.exitcode for process in processes] == [0] * 4


def test_a_killed_process_of_this_machine_loses_it_at_once(tmp_path, capfd):
    holder = hold(tmp_path / "lease")
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with hold_lease(tmp_path / "lease"):
        pass
    assert time.monotonic() - began < 10 < lease.PATIENCE
    assert f"process {holder.pid} on" in capfd.readouterr().out


def test_another_process_with_the_same_number_does_not_hold_it(tmp_path):
    """Numbers come again, after a restart of the machine above all."""
    told = {**lease._process(os.getpid()), "started": "1", "job": None, "token": "x"}
    (tmp_path / "lease").write_text(json.dumps(told))
    with hold_lease(tmp_path / "lease"):
        assert read_lease(tmp_path / "lease")["started"] != "1"


def test_a_holder_elsewhere_keeps_it_as_long_as_it_gives_signs_of_life(tmp_path, capfd):
    path = tmp_path / "lease"
    path.write_text(json.dumps(ELSEWHERE))
    silent = threading.Event()
    ended = []

    def live():
        for _ in range(20):
            time.sleep(0.1)
            os.utime(path)
        ended.append(time.monotonic())
        silent.set()

    thread = threading.Thread(target=live)
    thread.start()
    with hold_lease(path, beat=0.05, patience=1.0):
        assert silent.is_set(), "it was taken from a holder that was alive"
        assert time.monotonic() - ended[0] >= 0.9
    thread.join()
    out = capfd.readouterr().out
    assert out.count("job 4711, process 17 on another-node is at work here; waiting") == 1
    assert "is no more; going on" in out


@pytest.mark.parametrize("content", ["", "{"])
def test_a_torn_lease_is_void_after_a_while(tmp_path, content):
    (tmp_path / "lease").write_text(content)
    with hold_lease(tmp_path / "lease", beat=0.05, patience=0.3):
        assert read_lease(tmp_path / "lease")["pid"] == os.getpid()


def test_a_holder_that_was_taken_for_dead_ends_without_writing_more(tmp_path):
    """A machine that was away for long comes back: another one trains the cell by now."""
    holder = hold(tmp_path / "lease")
    (tmp_path / "lease").write_text(json.dumps(ELSEWHERE))
    assert holder.wait(10) == LOST
    assert "job 4711, process 17 on another-node is at work here now; this one gives way" in holder.stdout.read()
    assert read_lease(tmp_path / "lease") == ELSEWHERE, "it took away what is not its own"


def test_a_holder_whose_lease_another_one_has_had_starts_again(tmp_path):
    """It was taken for dead, and the other one has trained the cell and ended: what is there is to be taken over."""
    script = tmp_path / "hold.py"
    script.write_text(
        HOLD.replace("hold_lease\n", "hold_lease, start_again\n").replace("0.05)", "0.05, lost=start_again)")
    )
    command = [sys.executable, script, tmp_path / "lease"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        first = read_lease(tmp_path / "lease")
        (tmp_path / "lease").unlink()
        assert "another one has been at work here" in holder.stdout.readline()
        assert holder.stdout.readline() == "held\n"
        second = read_lease(tmp_path / "lease")
        holder.kill()
    assert (second["pid"], second["token"] == first["token"]) == (first["pid"], False)


def test_who_takes_away_the_lease_of_a_run_means_it(tmp_path):
    holder = hold(tmp_path / "lease")
    (tmp_path / "lease").unlink()
    time.sleep(0.5)
    assert holder.poll() is None
    holder.kill()
    assert os.listdir(tmp_path) == []


def test_it_works_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    with hold_lease(tmp_path / "lease"):
        assert read_lease(tmp_path / "lease")["pid"] == os.getpid()
        assert os.listdir(tmp_path) == ["lease"]
