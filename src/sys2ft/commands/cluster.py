"""`sys2ft orphans`, `sys2ft submit`: jobs on a cluster, apart from the workflow."""

import argparse
import shlex
import sys
from pathlib import Path

from sys2ft.commands import parse_cell
from sys2ft.errors import InputError, suggest_name

STAGES = {
    "fine_tune": "train_log", "score_answers": "answers", "write_answers": "written", "score_retention": "retention",
}  # fmt: skip


def orphans(args: argparse.Namespace) -> None:
    """List the runs that left jobs behind, or may have; cancel the jobs of those that were killed."""
    from sys2ft.cluster.runs import cancel_run, list_jobs, list_runs
    from sys2ft.lease import describe_holder

    folder = Path(args.results) / "runs"
    runs = list_runs(folder)
    if args.cancel not in (None, "killed", *(run.name for run in runs)):
        mend = suggest_name(args.cancel, [run.name for run in runs])
        raise InputError(folder, args.cancel, "there is no such run", mend)
    for run in runs:
        state = "was killed" if run.ended else "is at work, or was killed on its machine"
        print(f"{run.name}: {describe_holder(run.holder)} {state}")
        if args.cancel == run.name or (args.cancel and run.ended):
            jobs = cancel_run(folder, run)
            print(f"  cancelled: {len(jobs)} jobs")
        else:
            for job in list_jobs(run.name):
                print(f"  {job.id} {job.state} {job.comment}")
    if not runs:
        print(f"{folder}: every run came to its end")


def submit(args: argparse.Namespace) -> None:
    """Start one job of a cell on the cluster, and show what it writes."""
    from sys2ft.cluster.submit import find_job, follow, open_executor, submit_job
    from sys2ft.paths import cell_path
    from sys2ft.preflight import open_configured

    study = open_configured(args.configfile)
    cell = parse_cell(args.cell)
    if cell not in study.cells():
        raise InputError("sys2ft submit", "cell", f"{cell.path} is not in the grid", "correct it, or name --configfile")
    told = ["--configfile", *args.configfile] if args.configfile else []
    job = find_job(cell_path(study.results, STAGES[args.stage], cell), told)
    slurm = {name: getattr(args, name) for name in ("partition", "account", "qos")}
    executor = open_executor(job, Path(study.results) / "logs/submit", args.cluster, slurm)
    submitted = submit_job(job, executor)
    print(f"{job.name}\njob {submitted.job_id}, logs in {shlex.quote(str(executor.folder))}", flush=True)
    if args.detach:
        return
    for text in follow(submitted):
        print(text, end="", flush=True)
    if error := submitted.exception():
        sys.exit(str(error))
