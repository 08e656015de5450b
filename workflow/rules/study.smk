"""
Study data: a teacher, with the news in context, writes; what should not be trained is left out.

In:  items, the teacher's model or its recorded study data, evaluation questions (which no row may give away)
Out: generate_study/teacher=.../kind=.../split=.../seed=.../shard=.../completions.parquet, requests/ (what is finished);
     filter_study/teacher=.../kind=.../split=.../seed=.../study.parquet, study_counts.parquet;
     prepare_replay/replay=.../replay.parquet
"""


localrules:
    prepare_replay,
    filter_study,


onstart:
    methods = map(str, workflow.deployment_settings.deployment_method)
    try:
        check_environment(STUDY, CONFIG_FILES, environments="conda" in methods)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def teacher_source(wildcards):
    """What the teacher is read from: a prepared model, or recorded study data; nothing where it is served."""
    teacher = STUDY.teacher(wildcards.teacher)
    if teacher.engine == "openai":
        return {}
    return {
        "source": teacher.path
        or artefact_path(RESULTS, "model", model=writer(wildcards))
    }


def environment(wildcards):
    """The environment that runs the teacher: vLLM pins its own torch."""
    engine = STUDY.teacher(wildcards.teacher).engine
    return "generate" if engine == "vllm" else "train"


def teaching(resource):
    """A resource: what a teacher's job needs."""
    return lambda wildcards: getattr(
        STUDY.teacher_resources(wildcards.teacher), resource
    )


def all_completions(wildcards):
    """The tables of all jobs that share the items."""
    return [
        artefact_path(RESULTS, "completions", **wildcards, shard=shard)
        for shard in STUDY.shards(wildcards.teacher)
    ]


rule prepare_replay:
    """Fetch a set of general text; local, because compute nodes often lack a network."""
    input:
        general=STUDY.retention.path,
        replay=lambda wildcards: STUDY.replay[wildcards.replay].path or [],
    output:
        pattern(RESULTS, "replay"),
    log:
        logs("replay", "prepare_replay"),
    benchmark:
        times("replay", "prepare_replay")
    conda:
        "../../envs/train.yaml"
    params:
        settings=told(STUDY.prepare_replay_stage, "replay"),
        version=VERSIONS["prepare_replay"],
    shell:
        """
        python workflow/scripts/prepare_replay.py \
            --settings {params.settings:q} \
            --name {wildcards.replay:q} \
            --general {input.general:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule generate_study:
    """Have the items of a split, or a shard of them, studied by a teacher: one kind of study data."""
    input:
        unpack(teacher_source),
        news_items=pattern(RESULTS, "items"),
    output:
        pattern(RESULTS, "completions"),
    log:
        logs("completions", "generate_study"),
    benchmark:
        times("completions", "generate_study")
    conda:
        lambda wildcards: f"../../envs/{environment(wildcards)}.yaml"
    threads: teaching("threads")
    resources:
        gpu=teaching("gpu"),
        mem_mb=teaching("mem_mb"),
        runtime=teaching("runtime"),
    params:
        environment=environment,
        settings=told(STUDY.generate_study_stage, "teacher", "kind"),
        axes=axes("teacher", "kind", "split", "seed"),
        source=lambda wildcards, input: (
            ["--source", input.source] if "source" in input.keys() else []
        ),
        requests=lambda wildcards: artefact_path(RESULTS, "requests", **wildcards),
        version=VERSIONS["generate_study"],
    shell:
        USE_ENVIRONMENT + """
        python workflow/scripts/generate_study.py \
            --settings {params.settings:q} \
            --axes {params.axes:q} \
            --shard {wildcards.shard} \
            --gpus {resources.gpu} \
            {params.source:q} \
            --items {input.news_items:q} \
            --requests {params.requests:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule filter_study:
    """Read the study rows, and leave out what is empty, declined, unsupported, doubled, or gives a question away."""
    input:
        completions=all_completions,
        news_items=pattern(RESULTS, "items"),
        questions=pattern(RESULTS, "questions"),
    output:
        study=pattern(RESULTS, "study"),
        counts=pattern(RESULTS, "study_counts"),
    log:
        logs("study", "filter_study"),
    benchmark:
        times("study", "filter_study")
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=told(STUDY.filter_study_stage, "teacher", "kind", "split"),
        axes=axes("teacher", "kind", "split", "seed"),
        version=VERSIONS["filter_study"],
    shell:
        """
        python workflow/scripts/filter_study.py \
            --settings {params.settings:q} \
            --axes {params.axes:q} \
            --items {input.news_items:q} \
            --questions {input.questions:q} \
            --completions {input.completions:q} \
            --output-study {output.study:q} \
            --output-counts {output.counts:q} \
            >{log:q} 2>&1
        """
