"""
Configuration, checked before anything runs, and the words that the rules share.

What a rule must know of a study it asks of STUDY (settings), BILL (needs) and `sys2ft.paths` (places).
"""

import json
import os
import sys
from functools import cache
from inspect import signature
from pathlib import Path

from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from sys2ft.code_versions import check, read_versions
from sys2ft.contents import digests
from sys2ft.cost.bill import Bill
from sys2ft.errors import InputError
from sys2ft.grid import AXES, wildcard_path
from sys2ft.paths import artefact_path, cell_path, pattern
from sys2ft.preflight import open_study

CONFIG_FILES = " + ".join(map(os.path.relpath, reversed(workflow.configfiles)))

try:
    STUDY = open_study(config, CONFIG_FILES)
    VERSIONS = read_versions("workflow/code-versions.yaml")
    for message in check(Path()) if workflow.is_main_process else ():
        logger.warning(message)
except InputError as error:
    raise WorkflowError(str(error)) from None
RESULTS = STUDY.results
CELLS = STUDY.cells()
CELL = wildcard_path(*AXES)  # a parameter: the cell, in the words of its path
BILL = Bill(STUDY, CONFIG_FILES)

# On a cluster a signal reaches all processes of a job: its shell must not die of one, and take along the script that
# writes its checkpoint. A job that another one drives out goes back into the queue.
shell.prefix("""set -euo pipefail
    export PYTHONPATH="src${{PYTHONPATH:+:$PYTHONPATH}}"
    if [ -n "${{SLURM_JOB_ID-}}" ]; then
        trap : TERM
        trap '[ $? = 0 ] || python -m sys2ft.cluster.preemption' EXIT
    fi
    """)


wildcard_constraints:
    **{axis: "[^/=]+" for axis in (*AXES, "kind", "shard", "replay")},


def logs(artefact, name):
    """The log of a rule, under its own name, with the wildcards of its artefact."""
    return f"{RESULTS}/logs/{name}/{Path(pattern('', artefact)).parent.relative_to(f'/{name}')}.log"


def times(artefact, name):
    """The benchmark file of a rule, likewise."""
    return f"{logs(artefact, name)[:-4]}.tsv".replace("/logs/", "/benchmarks/")


def known(function):
    """The same function, whose parameters Snakemake need not find out several times a job."""
    overwrite_function_params(function, signature(function).parameters)
    return function


def told(stage, *names):
    """A parameter: a stage's settings as JSON, given some wildcards; they decide whether a job is stale."""

    @cache
    def as_json(*values):
        settings = stage(*values).model_dump(mode="json")
        return json.dumps(settings, sort_keys=True, ensure_ascii=False)

    return known(lambda wildcards: as_json(*(wildcards[name] for name in names)))


def axes(*names):
    """A parameter: the values of some wildcards as JSON, integers for seeds."""
    return known(
        lambda told: json.dumps(
            {n: int(told[n]) if n == "seed" else told[n] for n in names}
        )
    )


def said(paths):
    """A parameter: what files that people write say; the files themselves are `ancient` inputs."""
    return known(lambda told: json.dumps(digests(paths(told)), sort_keys=True))


def need(rule, name):
    """A resource: what a job that holds a model needs; memory and minutes grow with each attempt."""
    return known(lambda told, attempt: BILL.resource(rule, name, told, attempt))
