"""
Configuration, checked before anything runs, and the words that the rules share.

Everything that a rule must know of a study it asks of STUDY (settings) and of `sys2ft.paths` (places); there is no
other logic here.
"""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from sys2ft.code_versions import read_versions
from sys2ft.errors import InputError
from sys2ft.evaluation.tasks import task_files
from sys2ft.grid import AXES, key_path, resolve_teacher
from sys2ft.paths import answer_paths, artefact_path, cell_path, pattern, study_paths
from sys2ft.preflight import check_environment, open_study

CONFIG_FILES = " + ".join(map(os.path.relpath, reversed(workflow.configfiles)))

try:
    STUDY = open_study(config, CONFIG_FILES)
    VERSIONS = read_versions("workflow/code-versions.yaml")
except InputError as error:
    raise WorkflowError(str(error)) from None

RESULTS = STUDY.results
CELLS = STUDY.cells()

# In front of a command that may run vLLM: its environment, where conda activated none.
USE_ENVIRONMENT = """
        if [ {params.environment} = generate ] && ! command -v vllm >/dev/null; then
            export PATH="$PWD/.venv-generate/bin:$PATH"
        fi
        """

shell.prefix('export PYTHONPATH="src${{PYTHONPATH:+:$PYTHONPATH}}"; ')


wildcard_constraints:
    **{axis: "[^/=]+" for axis in (*AXES, "kind", "shard", "replay")},


def logs(artefact, name):
    """The log of a rule, under its own name, with the wildcards of its artefact."""
    return f"{RESULTS}/logs/{name}/{Path(pattern('', artefact)).parent.relative_to(f'/{name}')}.log"


def times(artefact, name):
    """The benchmark file of a rule, likewise."""
    return (
        logs(artefact, name).replace("/logs/", "/benchmarks/").replace(".log", ".tsv")
    )


def told(stage, *names):
    """A parameter: a stage's settings as JSON, given some wildcards; they decide whether a job is stale."""

    def from_wildcards(wildcards):
        settings = stage(*(wildcards[name] for name in names)).model_dump(mode="json")
        return json.dumps(settings, sort_keys=True, ensure_ascii=False)

    return from_wildcards


def axes(*names):
    """A parameter: the values of some wildcards as JSON, integers for seeds."""

    def from_wildcards(wildcards):
        values = {name: wildcards[name] for name in names}
        return json.dumps(
            {name: int(v) if name == "seed" else v for name, v in values.items()}
        )

    return from_wildcards


def cell_name(wildcards):
    """A parameter: the cell, in the words of its path."""
    return key_path(AXES, [wildcards[axis] for axis in AXES])


def need(resource, model):
    """A resource: what a job that holds a model needs; `model` tells it from the wildcards."""
    return lambda wildcards: getattr(STUDY.models[model(wildcards)].resources, resource)


def learner(wildcards):
    """The model that is tuned or scored."""
    return wildcards.model


def writer(wildcards):
    """The model that writes study data; none writes what is recorded."""
    return STUDY.teacher(wildcards.teacher).model
