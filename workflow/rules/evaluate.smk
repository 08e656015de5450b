"""
Questions put to base and tuned models.

In:  items, questions, the model, a cell's adapters, tasks of lm_eval
Out: score_base/model=.../split=.../answers.parquet, score_answers/<cell>/answers.parquet (options are scored);
     write_base/model=.../split=.../answers.parquet, write_answers/<cell>/answers.parquet (the model writes), each
     beside requests/ (what is written already);
     score_base_retention/model=.../retention.parquet, score_retention/<cell>/retention.parquet
"""

from sys2ft.evaluation.tasks import task_files

# Adapters are `ancient`: of a folder Snakemake knows the time alone. The log of their training tells when they change.
TASKS = task_files(STUDY.retention)
SAID = said(lambda wildcards: TASKS)(None)

# The environment that writes answers: vLLM pins its own torch.
WRITING = "generate" if STUDY.writing.engine == "vllm" else "train"


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
    threads: need("score_base", "threads")
    resources:
        gpu=need("score_base", "gpu"),
        nodes=1,
        mem_mb=need("score_base", "mem_mb"),
        runtime=need("score_base", "runtime"),
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
        adapters=ancient(pattern(RESULTS, "adapters")),
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
    threads: need("score_answers", "threads")
    resources:
        gpu=need("score_answers", "gpu"),
        nodes=1,
        mem_mb=need("score_answers", "mem_mb"),
        runtime=need("score_answers", "runtime"),
    params:
        settings=told(STUDY.score_stage, "split"),
        method=told(STUDY.fine_tune_stage, "method"),
        cell=CELL,
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
        f"../../envs/{WRITING}.yaml"
    threads: need("write_base", "threads")
    resources:
        gpu=need("write_base", "gpu"),
        nodes=1,
        mem_mb=need("write_base", "mem_mb"),
        runtime=need("write_base", "runtime"),
    params:
        environment=WRITING,
        settings=told(STUDY.write_stage, "split"),
        axes=axes("model", "split"),
        requests=pattern(RESULTS, "base_written_requests"),
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
        adapters=ancient(pattern(RESULTS, "adapters")),
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
        f"../../envs/{WRITING}.yaml"
    threads: need("write_answers", "threads")
    resources:
        gpu=need("write_answers", "gpu"),
        nodes=1,
        mem_mb=need("write_answers", "mem_mb"),
        runtime=need("write_answers", "runtime"),
    params:
        environment=WRITING,
        settings=told(STUDY.write_stage, "split"),
        method=told(STUDY.fine_tune_stage, "method"),
        cell=CELL,
        requests=pattern(RESULTS, "written_requests"),
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
        tasks=ancient(TASKS),
    output:
        pattern(RESULTS, "base_retention"),
    log:
        logs("base_retention", "score_base_retention"),
    benchmark:
        times("base_retention", "score_base_retention")
    conda:
        "../../envs/train.yaml"
    threads: need("score_base_retention", "threads")
    resources:
        gpu=need("score_base_retention", "gpu"),
        nodes=1,
        mem_mb=need("score_base_retention", "mem_mb"),
        runtime=need("score_base_retention", "runtime"),
        batch_size=need("score_base_retention", "batch_size"),
    params:
        settings=told(STUDY.score_base_retention_stage),
        said=SAID,
        version=VERSIONS["score_base_retention"],
    shell:
        """
        python workflow/scripts/score_base_retention.py \
            --settings {params.settings:q} \
            --name {wildcards.model:q} \
            --model {input.model:q} \
            --include {STUDY.retention.include:q} \
            --tokens-per-pass {STUDY.scoring.tokens_per_pass} \
            --batch-size {resources.batch_size} \
            --output {output:q} \
            >{log:q} 2>&1
        """


rule score_retention:
    """Put the tasks of retention to a tuned model, at the end of its training."""
    input:
        model=pattern(RESULTS, "model"),
        adapters=ancient(pattern(RESULTS, "adapters")),
        train_log=pattern(RESULTS, "train_log"),
        tasks=ancient(TASKS),
    output:
        pattern(RESULTS, "retention"),
    log:
        logs("retention", "score_retention"),
    benchmark:
        times("retention", "score_retention")
    conda:
        "../../envs/train.yaml"
    threads: need("score_retention", "threads")
    resources:
        gpu=need("score_retention", "gpu"),
        nodes=1,
        mem_mb=need("score_retention", "mem_mb"),
        runtime=need("score_retention", "runtime"),
        batch_size=need("score_retention", "batch_size"),
    params:
        settings=told(STUDY.score_retention_stage),
        said=SAID,
        method=told(STUDY.fine_tune_stage, "method"),
        cell=CELL,
        unfinished=pattern(RESULTS, "retention_unfinished"),
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
            --batch-size {resources.batch_size} \
            --version {params.version} \
            --unfinished {params.unfinished:q} \
            --output {output:q} \
            >{log:q} 2>&1
        """
