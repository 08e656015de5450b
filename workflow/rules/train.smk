"""
From study data to weights.

In:  items, study data, the learner
Out: compose_training/.../sequences.parquet; fine_tune/<cell>/adapters/, train_log.parquet
"""


localrules:
    compose_training,


def material_of(wildcards):
    """What a protocol trains beside the news, as named inputs: study data and their cost, general text, filler."""
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
        "filler": STUDY.filler_of(wildcards.protocol),
    }


rule compose_training:
    """Make a protocol's training sequences, as the learner reads them, with their loss masks."""
    input:
        unpack(material_of),
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
    threads: need("threads", learner)
    resources:
        gpu=need("all_gpus", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
        nodes=need("nodes", learner),
        processes=need("node_processes", learner),
        tokens_per_pass=need("tokens_per_pass", learner),
        deepspeed=need("deepspeed", learner),
        activation_checkpointing=need("saves_memory", learner),
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
            --nodes {resources.nodes} \
            --processes {resources.processes} \
            --deepspeed {resources.deepspeed:q} \
            --tokens-per-pass {resources.tokens_per_pass} \
            --activation-checkpointing {resources.activation_checkpointing} \
            --checkpoint-minutes {STUDY.training.checkpoint_minutes} \
            --tensorboard {STUDY.training.tensorboard:d} \
            >{log:q} 2>&1
        """
