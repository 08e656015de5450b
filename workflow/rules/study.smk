"""
Study data: a teacher, with the news in context, writes.

In:  items, the teacher's model or its recorded study data
Out: generate_study/teacher=.../kind=.../split=.../seed=.../completions.parquet, study.parquet
"""


def teacher_source(wildcards):
    """What the teacher is read from: a prepared model, or recorded study data."""
    model = writer(wildcards)
    return STUDY.teacher(wildcards.teacher).path or artefact_path(
        RESULTS, "model", model=model
    )


rule generate_study:
    """Have every item of a split studied by a teacher: one kind of study data."""
    input:
        source=teacher_source,
        news_items=pattern(RESULTS, "items"),
    output:
        completions=pattern(RESULTS, "completions"),
        study=pattern(RESULTS, "study"),
    log:
        logs("study", "generate_study"),
    benchmark:
        times("study", "generate_study")
    conda:
        "../../envs/train.yaml"
    threads: need("threads", writer)
    resources:
        gpu=need("gpu", writer),
        mem_mb=need("mem_mb", writer),
        runtime=need("runtime", writer),
    params:
        settings=told(STUDY.generate_study_stage, "teacher", "kind"),
        axes=axes("teacher", "kind", "split", "seed"),
        version=VERSIONS["generate_study"],
    shell:
        """
        python workflow/scripts/generate_study.py \
            --settings {params.settings:q} \
            --axes {params.axes:q} \
            --source {input.source:q} \
            --items {input.news_items:q} \
            --output-completions {output.completions:q} \
            --output-study {output.study:q} \
            >{log:q} 2>&1
        """
