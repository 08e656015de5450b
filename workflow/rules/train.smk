"""
From study data to weights.

In:  items, study data, the learner
Out: compose_training/.../sequences.parquet; fine_tune/<cell>/adapters/, train_log.parquet
"""

from sys2ft.grid import resolve_teacher


def material_of(wildcards):
    """What a protocol trains beside the news, as named inputs: study data and their cost, general text."""
    keys = dict(wildcards) | {
        "teacher": resolve_teacher(wildcards.teacher, wildcards.model)
    }
    kinds, sets = (
        STUDY.kinds_of(wildcards.protocol),
        STUDY.replay_of(wildcards.protocol),
    )
    return {
        "study": [artefact_path(RESULTS, "study", **keys, kind=k) for k in kinds],
        "counts": [
            artefact_path(RESULTS, "study_counts", **keys, kind=k) for k in kinds
        ],
        "replay": [artefact_path(RESULTS, "replay", replay=name) for name in sets],
    }


def filler_file(wildcards):
    """Prose that stands in place of news, where the protocol has it."""
    return STUDY.filler_of(wildcards.protocol)


rule compose_training:
    """Make a protocol's training sequences, as the learner reads them, with their loss masks."""
    input:
        unpack(material_of),
        filler=ancient(filler_file),
        model=pattern(RESULTS, "model"),
        news_items=pattern(RESULTS, "items"),
    output:
        pattern(RESULTS, "sequences"),
    log:
        logs("sequences", "compose_training"),
    benchmark:
        times("sequences", "compose_training")
    conda:
        "../../envs/train.yaml"
    params:
        settings=told(STUDY.compose_training_stage, "protocol"),
        axes=axes("model", "protocol", "teacher", "split", "seed"),
        said=said(filler_file),
        version=VERSIONS["compose_training"],
    shell:
        """
        python workflow/scripts/compose_training.py \
            --settings {params.settings:q} \
            --axes {params.axes:q} \
            --model {input.model:q} \
            --items {input.news_items:q} \
            --study {input.study:q} \
            --counts {input.counts:q} \
            --replay {input.replay:q} \
            --filler {input.filler:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule fine_tune:
    """Train what a cell learns: adapters or models, one an item or one for the split."""
    input:
        model=pattern(RESULTS, "model"),
        sequences=pattern(RESULTS, "sequences"),
    output:
        adapters=directory(pattern(RESULTS, "adapters")),
        train_log=pattern(RESULTS, "train_log"),
    log:
        logs("adapters", "fine_tune"),
    benchmark:
        times("adapters", "fine_tune")
    conda:
        "../../envs/train.yaml"
    threads: need("fine_tune", "threads")
    resources:
        gpu=need("fine_tune", "gpu"),
        mem_mb=need("fine_tune", "mem_mb"),
        runtime=need("fine_tune", "runtime"),
        nodes=need("fine_tune", "nodes"),
        gres=need("fine_tune", "gres"),
        mpi=need("fine_tune", "mpi"),
        tasks_per_node=need("fine_tune", "tasks_per_node"),
        cpus_per_task=need("fine_tune", "cpus_per_task"),
        launch=need("fine_tune", "launch"),
    params:
        settings=told(STUDY.fine_tune_stage, "method"),
        cell=CELL,
        version=VERSIONS["fine_tune"],
    shell:
        """
        python workflow/scripts/fine_tune.py \
            --settings {params.settings:q} \
            --cell {params.cell:q} \
            --model {input.model:q} \
            --sequences {input.sequences:q} \
            --output-adapters {output.adapters:q} \
            --output-log {output.train_log:q} \
            --version {params.version} \
            --launch-settings {resources.launch:q} \
            --checkpoint-minutes {STUDY.training.checkpoint_minutes} \
            --tensorboard {STUDY.training.tensorboard:d} \
            >{log:q} 2>&1
        """
