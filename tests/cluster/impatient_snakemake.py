"""Snakemake, but it asks every second whether a job on the cluster has ended.

Its executor asks 10 seconds later each time nothing has ended. That suits jobs of hours; jobs of tests take seconds.
"""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda _: 1, lambda *_: None)
main()
