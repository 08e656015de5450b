"""A job by hand: it asks, runs and comes back as the workflow's would."""

import os
import signal
import subprocess
import sys

from tests.cluster.runs import CELLS, CONFIGS, Run, copy_without
from tests.cluster.slurm import call

CELL = CELLS["naive"]


def test_it_shows_what_it_does_and_goes_on_after_it_was_requeued(reference, tmp_path):
    """SLURM warns submitit with SIGUSR2 of the end of its time: it has a checkpoint written, and requeues the job."""
    project = copy_without(reference, tmp_path / "project", f"fine_tune/{CELL}")
    told = ["submit", f"results/smoke/fine_tune/{CELL}", "--configfile", *CONFIGS, "--partition", "spot"]
    log = project / "submit.log"
    with log.open("w") as stream:
        command = [sys.executable, "-m", "sys2ft", *told]
        process = subprocess.Popen(command, cwd=project, stdout=stream, stderr=subprocess.STDOUT)
    run = Run(project, process, log)
    (held,) = run.hold_training(CELL)
    job = call("squeue", "--noheader", "--name=sys2ft_fine_tune", "--format=%i").strip()
    call("scancel", "--signal=USR2", job)
    run.wait_until(lambda: "Caught signal SIGUSR2" in log.read_text(), "submitit has been told")
    os.kill(held, signal.SIGCONT)
    assert process.wait(200) == 0, log.read_text()
    said = log.read_text()
    assert f"job {job}, logs in" in said
    assert "the checkpoint is written" in said
    assert "going on after step" in said
    assert " Restarts=1 " in call("scontrol", "show", "job", job)
    digests = [folder / f"results/smoke/fine_tune/{CELL}/adapters/digests.json" for folder in (project, reference)]
    assert digests[0].read_text() == digests[1].read_text()
