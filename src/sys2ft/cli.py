"""The command `sys2ft`: check news, plan a study and look at its results."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sys2ft.commands import cluster, code, news, power, results, study
from sys2ft.errors import InputError

COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "show": results.show, "table": results.table, "explain": results.explain, "plan": study.plan, "bill": study.bill,
    "verify": study.verify, "check": news.check, "export": news.export, "import": news.bring,
    "orphans": cluster.orphans, "submit": cluster.submit, "code-version": code.code_version,
    "power": power.power,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run one command."""
    args = build_parser().parse_args(argv)
    try:
        COMMANDS[args.command](args)
    except InputError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="sys2ft", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="one worked example of a cell, from news to option scores")
    show.add_argument("cell", help="model=.../method=.../protocol=.../teacher=.../split=.../seed=...")
    show.add_argument("--item", help="the item's id (default: the first of the split)")
    show.add_argument("--question", help="a question's id, or 'all' (default: the item's first)")
    table = commands.add_parser("table", help="print a table of the results")
    table.add_argument("name", choices=["effects", "cells"])
    table.add_argument("--split", help="of the effects (default: all splits taken together)")
    table.add_argument("--measure", help="of the effects (default: all)")
    explain = commands.add_parser("explain", help="what a row of a table was made from, and whether it is still that")
    explain.add_argument("path", type=Path, help="results/tables/effects.parquet, or another one whose rows name cells")
    explain.add_argument("--row", type=int, help="its number, from 0")
    explain.add_argument("--key", nargs="+", default=[], metavar="COLUMN=VALUE", help="instead: what only it has")
    explain.add_argument("--format", choices=["text", "json"], default="text")
    check = commands.add_parser("check", help="every violation in files of news, with its line")
    check.add_argument("paths", nargs="+", type=Path, help="YAML files of news, or folders of them")
    export = commands.add_parser("export", help="write files of news as a Hugging Face data set")
    export.add_argument("paths", nargs="+", type=Path, help="YAML files of news, or folders of them")
    export.add_argument("--output", required=True, type=Path, help="a folder")
    bring = commands.add_parser("import", help="write a data set of the hub, or a local one, as a table of news")
    bring.add_argument("source", help="owner/name on the Hugging Face hub, or a folder with data files")
    bring.add_argument("--revision", help="the full commit; needed for the hub")
    bring.add_argument("--name", help="the data set's configuration, where it has several")
    bring.add_argument("--part", default="test", help="its split (default: %(default)s)")
    bring.add_argument("--column", action="append", default=[], metavar="OURS=THEIRS", help="options=a,b,c,d for four")
    bring.add_argument("--answer", choices=["text", "index", "letter"], default="text", help="what the answer holds")
    bring.add_argument("--output", required=True, type=Path, help="a .jsonl file; its stem is the split's name")
    plan = commands.add_parser("plan", help="the stale cells, why they are, and what it costs to bring them up to date")
    plan.add_argument("targets", nargs="*", help="files or rules, as Snakemake takes them (default: the whole study)")
    plan.add_argument("--format", choices=["table", "json"], default="table")
    plan.add_argument("--gpus", type=int, default=8, help="that run side by side (default: %(default)s)")
    plan.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="likewise (default: %(default)s)")
    bill = commands.add_parser("bill", help="what the jobs of a study were expected to take, and what they took")
    bill.add_argument("--format", choices=["table", "json"], default="table")
    verify = commands.add_parser("verify", help="check the outputs of a study against their checksums")
    verify.add_argument("--delete", action="store_true", help="remove what is damaged, so that it is made again")
    orphans = commands.add_parser("orphans", help="jobs in the queue that a killed Snakemake left behind")
    orphans.add_argument(
        "--cancel", nargs="?", const="killed", metavar="RUN", help="cancel those of killed runs, or of the one named"
    )
    submit = commands.add_parser("submit", help="start one job of a cell on the cluster, without Snakemake")
    submit.add_argument("cell", help="as in `sys2ft show`")
    submit.add_argument("--stage", choices=cluster.STAGES, default="fine_tune", help="(default: %(default)s)")
    submit.add_argument("--cluster", choices=["slurm", "local"], default="slurm", help="(default: %(default)s)")
    for name in ("partition", "account", "qos"):
        submit.add_argument(f"--{name}", help="of SLURM")
    submit.add_argument("--detach", action="store_true", help="do not wait for its end")
    _add_power(commands.add_parser("power", help="the differences that a study can detect, before it is run"))
    version = commands.add_parser("code-version", help="say whether a change of code changes a stage's results")
    version.add_argument("--stage", default="all", help="one, several with commas, or all that moved (the default)")
    version.add_argument("--results", choices=["changed", "same"], help="without it: name the stages to speak of")
    version.add_argument("--reached", metavar="STAGE", help="list the definitions that a stage reaches")
    for command in (show, table, orphans):
        command.add_argument("--results", default="results", help="the results folder (default: %(default)s)")
    for command in (plan, bill, verify, submit):
        command.add_argument(
            "--configfile", nargs="+", default=[], metavar="FILE", help="the study's, as Snakemake is given them"
        )
    return parser


def _add_power(parser: argparse.ArgumentParser) -> None:
    """The options of `sys2ft power`."""
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--questions", type=int, required=True, help="of each item")
    parser.add_argument("--icc", type=float, help="correlation of two questions of an item (default: 0.15)")
    parser.add_argument("--results", type=Path, help="a results folder to estimate it from")
    parser.add_argument("--seeds", type=int, default=1, help="(default: %(default)s)")
    for name, default, text in (
        ("accuracy", 0.5, "that is expected"),
        ("correlation", 0.5, "of two arms' answers to a question"),
        ("seed-correlation", 0.75, "of two seeds' answers to a question"),
        ("level", 0.95, "of the intervals"),
        ("power", 0.8, "with which a difference is to be found"),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument("--difference", type=float, help="how many items does it need? 0.05 is 5 points")
    parser.add_argument("--format", choices=["table", "json"], default="table")
