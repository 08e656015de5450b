"""
Study data: a teacher, with the news in context, writes; what should not be trained is left out.

In:  items, the teacher's model or its recorded study data, evaluation questions (which no row may give away)
Out: generate_study/teacher=.../kind=.../split=.../seed=.../shard=.../completions.parquet, requests/ (what is finished);
     filter_study/teacher=.../kind=.../split=.../seed=.../study.parquet, study_counts.parquet;
     prepare_replay/replay=.../replay.parquet
"""


localrules:
    prepare_replay,


# In front of a command that may run vLLM: its environment, where conda activated none.
USE_ENVIRONMENT = """
        if [ {params.environment} = generate ] && ! command -v vllm >/dev/null; then
            export PATH="$PWD/.venv-generate/bin:$PATH"
        fi
        """


def teacher_model(wildcards):
    """The prepared model that writes; none writes what is recorded or served."""
    model = STUDY.teacher(wildcards.teacher).model
    return [artefact_path(RESULTS, "model", model=model)] if model else []


def teacher_file(wildcards):
    """Recorded study data, where the teacher has them."""
    path = STUDY.teacher(wildcards.teacher).path
    return [path] if path else []


def replay_files(wildcards):
    """Questions that must not be trained, and the file of a set of general text, where it has one."""
    path = STUDY.replay[wildcards.replay].path
    return [STUDY.retention.path, *([path] if path else [])]


def environment(wildcards):
    """The environment that runs the teacher: vLLM pins its own torch."""
    engine = STUDY.teacher(wildcards.teacher).engine
    return "generate" if engine == "vllm" else "train"


def all_completions(wildcards):
    """The tables of all jobs that share the items."""
    return [
        artefact_path(RESULTS, "completions", **wildcards, shard=shard)
        for shard in STUDY.shards(wildcards.teacher)
    ]


rule prepare_replay:
    """Fetch a set of general text; local, because compute nodes often lack a network."""
    input:
        ancient(replay_files),
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
        said=said(replay_files),
        version=VERSIONS["prepare_replay"],
    shell:
        """
        python workflow/scripts/prepare_replay.py \
            --settings {params.settings:q} \
            --name {wildcards.replay:q} \
            --general {STUDY.retention.path:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule generate_study:
    """Have the items of a split, or a shard of them, studied by a teacher: one kind of study data."""
    input:
        model=teacher_model,
        recorded=ancient(teacher_file),
        news_items=pattern(RESULTS, "items"),
    output:
        pattern(RESULTS, "completions"),
    log:
        logs("completions", "generate_study"),
    benchmark:
        times("completions", "generate_study")
    conda:
        lambda wildcards: f"../../envs/{environment(wildcards)}.yaml"
    threads: need("generate_study", "threads")
    resources:
        gpu=need("generate_study", "gpu"),
        nodes=1,
        mem_mb=need("generate_study", "mem_mb"),
        runtime=need("generate_study", "runtime"),
    params:
        environment=environment,
        settings=told(STUDY.generate_study_stage, "teacher", "kind"),
        axes=axes("teacher", "kind", "split", "seed"),
        source=lambda wildcards: [
            f"--source={path}"
            for path in teacher_model(wildcards) + teacher_file(wildcards)
        ],
        said=said(teacher_file),
        requests=pattern(RESULTS, "requests"),
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
