"""
News as tables.

In:  the YAML file of a split
Out: validate_news/split=.../items.parquet, questions.parquet
"""


localrules:
    validate_news,


def news_file(wildcards):
    """The file of a split; none for one that is drawn from a seed."""
    path = STUDY.splits[wildcards.split].path
    return [path] if path else []


rule validate_news:
    """Check a split's items and questions and write them as tables."""
    input:
        news=ancient(news_file),
    output:
        news_items=pattern(RESULTS, "items"),
        questions=pattern(RESULTS, "questions"),
    log:
        logs("items", "validate_news"),
    benchmark:
        times("items", "validate_news")
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=told(STUDY.validate_news_stage, "split"),
        news=lambda wildcards: [f"--news={path}" for path in news_file(wildcards)],
        said=said(news_file),
        version=VERSIONS["validate_news"],
    shell:
        """
        python workflow/scripts/validate_news.py \
            --settings {params.settings:q} \
            --split {wildcards.split:q} \
            {params.news:q} \
            --output-items {output.news_items:q} \
            --output-questions {output.questions:q} \
            >{log:q} 2>&1
        """
