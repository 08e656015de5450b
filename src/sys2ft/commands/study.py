"""`sys2ft plan`, `sys2ft bill`, `sys2ft verify`: whether a study is up to date, what it costs, whether it is whole."""

import argparse
import json
import sys
from collections.abc import Sequence


def plan(args: argparse.Namespace) -> None:
    """Print the stale cells, why they are, and what it costs to bring them up to date."""
    from sys2ft.cost.bill import Bill
    from sys2ft.plan import dry_run, estimate, stale_cells
    from sys2ft.preflight import open_configured

    study = open_configured(args.configfile)
    told = [*args.targets, *(["--configfile", *args.configfile] if args.configfile else [])]
    jobs = dry_run(told)
    found = estimate(jobs, stale_cells(jobs, study.cells()), Bill(study), args.gpus, args.cores)
    if args.format == "json":
        print(json.dumps(found, indent=1))
        return
    for row in found["cells"]:
        cost = f"{row['gpu_hours']:.2f} GPU-hours, " if found["gpu_hours"] else ""
        print(f"{row['cell']}\n    {row['jobs']} jobs, {cost}{_duration(row['seconds'])}: {_told(row['reasons'])}")
    print(f"{len(found['cells'])} of {len(study.cells())} cells are stale" if found["jobs"] else "all is up to date")
    if found["jobs"]:
        print(f"{sum(found['jobs'].values())} jobs: {', '.join(f'{rule} {n}' for rule, n in found['jobs'].items())}")
        where = f"{found['gpus']} GPUs and {found['cores']} cores"
        print(
            f"{found['gpu_hours']:.1f} GPU-hours, {found['core_hours']:.1f} core-hours, "
            f"{found['written_bytes'] / 1e9:.1f} GB on disk; about {_duration(found['wall_seconds'])} on {where}"
        )


def bill(args: argparse.Namespace) -> None:
    """Print what the jobs of a study were expected to take, and what they took."""
    from sys2ft.commands.results import format_rows
    from sys2ft.cost.bill import Bill
    from sys2ft.plan import compare_with_actuals
    from sys2ft.preflight import open_configured

    rows = compare_with_actuals(Bill(open_configured(args.configfile)))
    if args.format == "json":
        print(json.dumps(rows, indent=1))
    else:
        print(format_rows(rows, list(rows[0])) if rows else "no job has run yet")


def verify(args: argparse.Namespace) -> None:
    """Check all outputs of a study, and remove those that are damaged where asked."""
    from sys2ft.preflight import open_configured
    from sys2ft.verify import remove, verify_outputs

    count, found = verify_outputs(open_configured(args.configfile))
    for damage in found:
        print(damage.problem)
        if args.delete:
            remove(damage)
    print(f"{count} outputs, {len(found)} damaged" + (", removed" if found and args.delete else ""))
    if found and not args.delete:
        sys.exit("run with --delete to remove them, and the workflow makes them again")


def _told(reasons: Sequence[str]) -> str:
    """Each reason once, with the rules that have it."""
    rules: dict[str, list[str]] = {}
    for rule, _, reason in (told.partition(": ") for told in reasons):
        rules.setdefault(reason, []).append(rule)
    return "; ".join(f"{reason} ({', '.join(several)})" for reason, several in rules.items())


def _duration(seconds: float) -> str:
    """In the unit that people would use."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
