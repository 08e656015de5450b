"""
The tables that people read.

In:  answers of all cells and bases, what the cells studied and trained
Out: tables/audit.parquet (a target of its own: `snakemake audit_dataset`);
     tables/answers.parquet, retention.parquet, cells.parquet, effects.parquet, dynamics.parquet, scaling.parquet, each
     with a CSV twin
"""

from sys2ft.paths import answer_paths, study_paths


localrules:
    audit_dataset,
    build_tables,
    estimate_effects,
    trace_learning,


RECORDED = sorted({t.path for t in STUDY.teachers.values() if t.path})


rule build_tables:
    """Gather the answers and the costs of all cells."""
    input:
        answers=answer_paths(RESULTS, CELLS, STUDY.build_tables_stage().answers),
        base_retention=sorted(
            {cell_path(RESULTS, "base_retention", cell) for cell in CELLS}
        ),
        retention=[cell_path(RESULTS, "retention", cell) for cell in CELLS],
        train_logs=[cell_path(RESULTS, "train_log", cell) for cell in CELLS],
        questions=sorted({cell_path(RESULTS, "questions", cell) for cell in CELLS}),
        study_counts=study_paths(
            RESULTS, "study_counts", CELLS, STUDY.build_tables_stage().kinds
        ),
    output:
        answers=pattern(RESULTS, "answers_table"),
        answers_csv=pattern(RESULTS, "answers_table").replace(".parquet", ".csv"),
        retention=pattern(RESULTS, "retention_table"),
        retention_csv=pattern(RESULTS, "retention_table").replace(".parquet", ".csv"),
        study_counts=pattern(RESULTS, "study_counts_table"),
        study_counts_csv=pattern(RESULTS, "study_counts_table").replace(
            ".parquet", ".csv"
        ),
        cells=pattern(RESULTS, "cells_table"),
        cells_csv=report(
            pattern(RESULTS, "cells_table").replace(".parquet", ".csv"),
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        f"{RESULTS}/logs/build_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_tables.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=told(STUDY.build_tables_stage),
        results=RESULTS,
        version=VERSIONS["build_tables"],
    shell:
        """
        python workflow/scripts/build_tables.py \
            --settings {params.settings:q} \
            --results {params.results:q} \
            --output-answers {output.answers:q} \
            --output-retention {output.retention:q} \
            --output-study-counts {output.study_counts:q} \
            --output-cells {output.cells:q} \
            >{log:q} 2>&1
        """


rule estimate_effects:
    """Turn answers into measures beside their controls, with intervals."""
    input:
        answers=pattern(RESULTS, "answers_table"),
        retention=pattern(RESULTS, "retention_table"),
    output:
        effects=pattern(RESULTS, "effects_table"),
        effects_csv=report(
            pattern(RESULTS, "effects_table").replace(".parquet", ".csv"),
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        f"{RESULTS}/logs/estimate_effects.log",
    benchmark:
        f"{RESULTS}/benchmarks/estimate_effects.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=told(STUDY.estimate_effects_stage),
        version=VERSIONS["estimate_effects"],
    shell:
        """
        python workflow/scripts/estimate_effects.py \
            --settings {params.settings:q} \
            --answers {input.answers:q} \
            --retention {input.retention:q} \
            --output {output.effects:q} \
            >{log:q} 2>&1
        """


rule trace_learning:
    """Follow measures and loss along training, with intervals."""
    input:
        answers=pattern(RESULTS, "answers_table"),
        train_logs=[cell_path(RESULTS, "train_log", cell) for cell in CELLS],
        models=sorted({cell_path(RESULTS, "model", cell) for cell in CELLS}),
    output:
        dynamics=pattern(RESULTS, "dynamics_table"),
        dynamics_csv=pattern(RESULTS, "dynamics_table").replace(".parquet", ".csv"),
    log:
        f"{RESULTS}/logs/trace_learning.log",
    benchmark:
        f"{RESULTS}/benchmarks/trace_learning.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=told(STUDY.trace_learning_stage),
        results=RESULTS,
        version=VERSIONS["trace_learning"],
    shell:
        """
        python workflow/scripts/trace_learning.py \
            --settings {params.settings:q} \
            --results {params.results:q} \
            --answers {input.answers:q} \
            --output {output.dynamics:q} \
            >{log:q} 2>&1
        """


rule fit_scaling_law:
    """Fit forms of a scaling law, and say which can be told apart."""
    input:
        answers=pattern(RESULTS, "answers_table"),
        cells=pattern(RESULTS, "cells_table"),
        questions=sorted({cell_path(RESULTS, "questions", cell) for cell in CELLS}),
        train_logs=[cell_path(RESULTS, "train_log", cell) for cell in CELLS],
        models=sorted({cell_path(RESULTS, "model", cell) for cell in CELLS}),
    output:
        scaling=pattern(RESULTS, "scaling_table"),
        scaling_csv=report(
            pattern(RESULTS, "scaling_table").replace(".parquet", ".csv"),
            caption="../report/table.rst",
            category="Tables",
        ),
    log:
        f"{RESULTS}/logs/fit_scaling_law.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit_scaling_law.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=told(STUDY.fit_scaling_law_stage),
        results=RESULTS,
        version=VERSIONS["fit_scaling_law"],
    shell:
        """
        python workflow/scripts/fit_scaling_law.py \
            --settings {params.settings:q} \
            --results {params.results:q} \
            --answers {input.answers:q} \
            --cells {input.cells:q} \
            --questions {input.questions:q} \
            --output {output.scaling:q} \
            >{log:q} 2>&1
        """


rule audit_dataset:
    """Measure what the questions of the grid's splits give away to a reader who does not know the news."""
    input:
        news_items=[
            artefact_path(RESULTS, "items", split=split) for split in STUDY.grid.split
        ],
        questions=[
            artefact_path(RESULTS, "questions", split=split)
            for split in STUDY.grid.split
        ],
        study=ancient(RECORDED),
        answers=sorted(
            {
                cell_path(RESULTS, "base_answers", cell)
                for cell in CELLS
                if "answers" in STUDY.answers(cell.split)
            }
        ),
    output:
        audit=pattern(RESULTS, "audit_table"),
        audit_csv=pattern(RESULTS, "audit_table").replace(".parquet", ".csv"),
    log:
        f"{RESULTS}/logs/audit_dataset.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_dataset.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        said=said(lambda wildcards: RECORDED),
        version=VERSIONS["audit_dataset"],
    shell:
        """
        python workflow/scripts/audit_dataset.py \
            --items {input.news_items:q} \
            --questions {input.questions:q} \
            --study {input.study:q} \
            --answers {input.answers:q} \
            --output {output.audit:q} \
            >{log:q} 2>&1
        """
