"""
News as tables.

In:  the YAML file of a split
Out: validate_news/split=.../items.parquet, questions.parquet
"""


localrules:
    validate_news,


rule validate_news:
    """Check a split's items and questions and write them as tables."""
    input:
        news=lambda wildcards: STUDY.splits[wildcards.split].path,
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
        version=VERSIONS["validate_news"],
    shell:
        """
        python workflow/scripts/validate_news.py \
            --news {input.news:q} \
            --output-items {output.news_items:q} \
            --output-questions {output.questions:q} \
            >{log:q} 2>&1
        """
