"""
Questions put to base and tuned models.

In:  items, questions, the model, a cell's adapters, tasks of lm_eval
Out: score_base/model=.../split=.../answers.parquet, score_answers/<cell>/answers.parquet (options are scored);
     write_base/model=.../split=.../answers.parquet, write_answers/<cell>/answers.parquet (the model writes), each
     beside requests/ (what is written already);
     score_base_retention/model=.../retention.parquet, score_retention/<cell>/retention.parquet
"""


def writing_environment(wildcards):
    """The environment that writes answers: vLLM pins its own torch."""
    return "generate" if STUDY.writing.engine == "vllm" else "train"


rule score_base:
    """Put all questions of a split to a base model, in every condition, control and mode."""
    input:
        model=pattern(RESULTS, "model"),
        news_items=pattern(RESULTS, "items"),
        questions=pattern(RESULTS, "questions"),
    output:
        pattern(RESULTS, "base_answers"),
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
            --tokens-per-pass {STUDY.scoring.tokens_per_pass} \
            --output {output:q} \
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
    output:
        pattern(RESULTS, "answers"),
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
            --tokens-per-pass {STUDY.scoring.tokens_per_pass} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule write_base:
    """Have a base model answer all questions of a split in writing."""
    input:
        model=pattern(RESULTS, "model"),
        news_items=pattern(RESULTS, "items"),
        questions=pattern(RESULTS, "questions"),
    output:
        pattern(RESULTS, "base_written"),
    log:
        logs("base_written", "write_base"),
    benchmark:
        times("base_written", "write_base")
    conda:
        lambda wildcards: f"../../envs/{writing_environment(wildcards)}.yaml"
    threads: need("threads", learner)
    resources:
        gpu=need("gpu", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
    params:
        environment=writing_environment,
        settings=told(STUDY.write_stage, "split"),
        axes=axes("model", "split"),
        requests=lambda wildcards: artefact_path(
            RESULTS, "base_written_requests", **wildcards
        ),
        version=VERSIONS["write_base"],
    shell:
        USE_ENVIRONMENT + """
        python workflow/scripts/write_base.py \
            --settings {params.settings:q} \
            --axes {params.axes:q} \
            --batch-size {STUDY.writing.batch_size} \
            --gpus {resources.gpu} \
            --model {input.model:q} \
            --items {input.news_items:q} \
            --questions {input.questions:q} \
            --requests {params.requests:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule write_answers:
    """Have a tuned model answer all questions of a split in writing, at the end of its training and at its milestones."""
    input:
        model=pattern(RESULTS, "model"),
        adapters=pattern(RESULTS, "adapters"),
        train_log=pattern(RESULTS, "train_log"),
        news_items=pattern(RESULTS, "items"),
        questions=pattern(RESULTS, "questions"),
    output:
        pattern(RESULTS, "written"),
    log:
        logs("written", "write_answers"),
    benchmark:
        times("written", "write_answers")
    conda:
        lambda wildcards: f"../../envs/{writing_environment(wildcards)}.yaml"
    threads: need("threads", learner)
    resources:
        gpu=need("gpu", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
    params:
        environment=writing_environment,
        settings=told(STUDY.write_stage, "split"),
        method=told(STUDY.fine_tune_stage, "method"),
        cell=cell_name,
        requests=lambda wildcards: artefact_path(
            RESULTS, "written_requests", **wildcards
        ),
        version=VERSIONS["write_answers"],
    shell:
        USE_ENVIRONMENT + """
        python workflow/scripts/write_answers.py \
            --settings {params.settings:q} \
            --method {params.method:q} \
            --cell {params.cell:q} \
            --batch-size {STUDY.writing.batch_size} \
            --gpus {resources.gpu} \
            --model {input.model:q} \
            --adapters {input.adapters:q} \
            --train-log {input.train_log:q} \
            --items {input.news_items:q} \
            --questions {input.questions:q} \
            --requests {params.requests:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule score_base_retention:
    """Put the tasks of retention to a base model."""
    input:
        model=pattern(RESULTS, "model"),
        tasks=task_files(STUDY.retention),
    output:
        pattern(RESULTS, "base_retention"),
    log:
        logs("base_retention", "score_base_retention"),
    benchmark:
        times("base_retention", "score_base_retention")
    conda:
        "../../envs/train.yaml"
    threads: need("threads", learner)
    resources:
        gpu=need("gpu", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
    params:
        settings=told(STUDY.score_retention_stage),
        version=VERSIONS["score_base_retention"],
    shell:
        """
        python workflow/scripts/score_base_retention.py \
            --settings {params.settings:q} \
            --name {wildcards.model:q} \
            --model {input.model:q} \
            --include {STUDY.retention.include:q} \
            --tokens-per-pass {STUDY.scoring.tokens_per_pass} \
            --batch-size {STUDY.retention.batch_size} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule score_retention:
    """Put the tasks of retention to a tuned model, at the end of its training."""
    input:
        model=pattern(RESULTS, "model"),
        adapters=pattern(RESULTS, "adapters"),
        train_log=pattern(RESULTS, "train_log"),
        tasks=task_files(STUDY.retention),
    output:
        pattern(RESULTS, "retention"),
    log:
        logs("retention", "score_retention"),
    benchmark:
        times("retention", "score_retention")
    conda:
        "../../envs/train.yaml"
    threads: need("threads", learner)
    resources:
        gpu=need("gpu", learner),
        mem_mb=need("mem_mb", learner),
        runtime=need("runtime", learner),
    params:
        settings=told(STUDY.score_retention_stage),
        method=told(STUDY.fine_tune_stage, "method"),
        cell=cell_name,
        unfinished=lambda wildcards: artefact_path(
            RESULTS, "retention_unfinished", **wildcards
        ),
        version=VERSIONS["score_retention"],
    shell:
        """
        python workflow/scripts/score_retention.py \
            --settings {params.settings:q} \
            --method {params.method:q} \
            --cell {params.cell:q} \
            --model {input.model:q} \
            --adapters {input.adapters:q} \
            --train-log {input.train_log:q} \
            --include {STUDY.retention.include:q} \
            --tokens-per-pass {STUDY.scoring.tokens_per_pass} \
            --batch-size {STUDY.retention.batch_size} \
            --unfinished {params.unfinished:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """
