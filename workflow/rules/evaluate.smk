"""
Questions put to base and tuned models.

In:  items, questions, general questions, the model, a cell's adapters
Out: score_base/model=.../split=.../answers.parquet, retention.parquet; the same two in score_answers/<cell>/
"""


rule score_base:
    """Put all questions of a split to a base model, in every condition, control and mode."""
    input:
        model=pattern(RESULTS, "model"),
        news_items=pattern(RESULTS, "items"),
        questions=pattern(RESULTS, "questions"),
        general=STUDY.retention.path,
    output:
        answers=pattern(RESULTS, "base_answers"),
        retention=pattern(RESULTS, "base_retention"),
    log:
        logs("base_answers", "score_base"),
    benchmark:
        times("base_answers", "score_base")
    conda:
        "../../envs/train.yaml"
    threads: need("threads", learner)
    resources:
        gpu=need("gpu", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
    params:
        settings=told(STUDY.score_stage, "split"),
        axes=axes("model", "split"),
        version=VERSIONS["score_base"],
    shell:
        """
        python workflow/scripts/score_base.py \
            --settings {params.settings:q} \
            --axes {params.axes:q} \
            --model {input.model:q} \
            --items {input.news_items:q} \
            --questions {input.questions:q} \
            --general {input.general:q} \
            --output {output.answers:q} \
            --output-retention {output.retention:q} \
            >{log:q} 2>&1
        """


rule score_answers:
    """Put all questions of a split to a tuned model, at the end of its training and at its milestones."""
    input:
        model=pattern(RESULTS, "model"),
        adapters=pattern(RESULTS, "adapters"),
        train_log=pattern(RESULTS, "train_log"),
        news_items=pattern(RESULTS, "items"),
        questions=pattern(RESULTS, "questions"),
        general=STUDY.retention.path,
    output:
        answers=pattern(RESULTS, "answers"),
        retention=pattern(RESULTS, "retention"),
    log:
        logs("answers", "score_answers"),
    benchmark:
        times("answers", "score_answers")
    conda:
        "../../envs/train.yaml"
    threads: need("threads", learner)
    resources:
        gpu=need("gpu", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
    params:
        settings=told(STUDY.score_stage, "split"),
        method=told(STUDY.fine_tune_stage, "method"),
        cell=cell_name,
        version=VERSIONS["score_answers"],
    shell:
        """
        python workflow/scripts/score_answers.py \
            --settings {params.settings:q} \
            --method {params.method:q} \
            --cell {params.cell:q} \
            --model {input.model:q} \
            --adapters {input.adapters:q} \
            --train-log {input.train_log:q} \
            --items {input.news_items:q} \
            --questions {input.questions:q} \
            --general {input.general:q} \
            --output {output.answers:q} \
            --output-retention {output.retention:q} \
            >{log:q} 2>&1
        """
