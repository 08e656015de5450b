"""
From study data to weights.

In:  items, study data, the learner
Out: compose_training/.../sequences.parquet; fine_tune/<cell>/adapters/, train_log.parquet
"""


localrules:
    compose_training,


def study_of(wildcards):
    """The study data a protocol trains on, as a named input; none for the news itself."""
    kind = STUDY.protocols[wildcards.protocol].study
    if kind is None:
        return {}
    teacher = resolve_teacher(wildcards.teacher, wildcards.model)
    values = {"kind": kind, "teacher": teacher, "split": wildcards.split}
    return {"study": artefact_path(RESULTS, "study", seed=wildcards.seed, **values)}


rule compose_training:
    """Make a protocol's training sequences, as the learner reads them, with their loss masks."""
    input:
        unpack(study_of),
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
        study=lambda wildcards, input: (
            f"--study {input.study}" if "study" in input.keys() else ""
        ),
        version=VERSIONS["compose_training"],
    shell:
        """
        python workflow/scripts/compose_training.py \
            --settings {params.settings:q} \
            --axes {params.axes:q} \
            --model {input.model:q} \
            --items {input.news_items:q} \
            {params.study} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule fine_tune:
    """Train the adapters of a cell, one an item, all at once."""
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
    threads: need("threads", learner)
    resources:
        gpu=need("gpu", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
    params:
        settings=told(STUDY.fine_tune_stage, "method"),
        cell=cell_name,
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
            >{log:q} 2>&1
        """
