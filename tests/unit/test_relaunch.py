"""One program becomes the processes that train together: the launcher's command line, or nothing at all."""

import os
import subprocess
import sys

import pytest

from sys2ft.training.launch import relaunch

ARGUMENTS = ["workflow/scripts/fine_tune.py", "--settings", '{"method": {}}', "--cell", "model=a b/seed=0"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
SIGNALS = {"SIGTERM", "SIGUSR1", "SIGUSR2"}  # those that ask for a checkpoint
LAUNCHED = {
    "torchrun": {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
    "srun": {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"},
}


class ReplacedError(Exception):
    """What stands in for the end of this program, which another one replaces."""


@pytest.fixture
def replaced(monkeypatch):
    """The programs that took this one's place, each as the file and its command line."""
    found = []

    def execvp(file, command):
        found.append((file, command))
        raise ReplacedError

    monkeypatch.setattr(os, "execvp", execvp)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(sys, "argv", list(ARGUMENTS))
    return found


def start(nodes, processes):
    with pytest.raises(ReplacedError):
        relaunch(nodes, processes)


@pytest.mark.parametrize("processes", [2, 8])
def test_torchrun_starts_the_processes_of_one_node(replaced, processes):
    start(1, processes)
    ((file, command),) = replaced
    assert file == sys.executable
    assert command[: len(TORCHRUN) + 1] == [*TORCHRUN, f"--nproc-per-node={processes}"]
    assert command[-len(ARGUMENTS) :] == ARGUMENTS
    signals, shutdown = command[len(TORCHRUN) + 1 : -len(ARGUMENTS)]
    assert set(signals.removeprefix("--signals-to-handle=").split(",")) >= SIGNALS
    assert int(shutdown.removeprefix("--shutdown-timeout=")) >= 60, "a checkpoint takes its time"


@pytest.mark.parametrize(("nodes", "processes"), [(2, 1), (2, 4), (3, 8)])
def test_srun_starts_the_processes_of_several_nodes(replaced, nodes, processes):
    start(nodes, processes)
    tasks = [f"--nodes={nodes}", f"--ntasks={nodes * processes}", f"--ntasks-per-node={processes}"]
    launcher = ["srun", "--overlap", "--cpu-bind=none", *tasks, "--kill-on-bad-exit=1"]
    assert replaced == [("srun", [*launcher, sys.executable, *ARGUMENTS])]
    assert os.environ["SLURM_JOB_NUM_NODES"] == str(nodes), "submitit counts with it"


def test_one_process_stays_what_it_is(replaced):
    relaunch(1, 1)
    assert replaced == []


@pytest.mark.parametrize(("nodes", "processes"), [(1, 1), (1, 4), (2, 4)])
@pytest.mark.parametrize("launcher", LAUNCHED)
def test_a_launched_process_stays_what_it_is(monkeypatch, replaced, launcher, nodes, processes):
    monkeypatch.setattr(os, "environ", dict(LAUNCHED[launcher]))
    relaunch(nodes, processes)
    assert replaced == []
    assert {name: os.environ[name] for name in LAUNCHED[launcher]} == LAUNCHED[launcher]


@pytest.mark.parametrize("batch", [{"SLURM_NTASKS": "8"}, {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"}])
def test_a_batch_script_is_no_launched_process(monkeypatch, replaced, batch):
    monkeypatch.setattr(os, "environ", dict(batch))
    start(2, 4)
    assert replaced[0][0] == "srun"


def test_what_was_printed_is_not_lost(tmp_path):
    """Output that waits in this program's memory goes with it, unless it is written out before."""
    code = (
        "import os, sys; from sys2ft.training import launch\n"
        "os.execvp = lambda file, command: os._exit(7)\n"
        "sys.argv = ['x.py', '--a']; print('before'); launch.relaunch(1, 2)"
    )
    told = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=told, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (7, "before\n")


def test_torchrun_starts_as_many_as_were_asked_for(tmp_path):
    """The real launcher: each process finds the others' number, and starts none in turn."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, sys\n"
        "from sys2ft.training.launch import relaunch, world_size\n"
        "relaunch(1, 2)\n"
        "pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(f'{world_size()} {sys.argv[2:]}')\n"
    )
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("SLURM", "RANK", "WORLD"))}
    run = subprocess.run(
        [sys.executable, script, tmp_path, "a b"], capture_output=True, text=True, timeout=120, env=clean
    )
    assert run.returncode == 0, run.stderr
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path != script}
    assert found == {"0": "2 ['a b']", "1": "2 ['a b']"}
