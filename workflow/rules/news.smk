"""
News as tables.

In:  the YAML file of a split
Out: validate_news/split=.../items.parquet, questions.parquet
"""


localrules:
    validate_news,


def news_file(wildcards):
    """The file of a split, as a named input; none for one that is drawn from a seed."""
    path = STUDY.splits[wildcards.split].path
    return {"news": path} if path else {}


rule validate_news:
    """Check a split's items and questions and write them as tables."""
    input:
        unpack(news_file),
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
        news=lambda wildcards, input: (
            f"--news {input.news}" if "news" in input.keys() else ""
        ),
        version=VERSIONS["validate_news"],
    shell:
        """
        python workflow/scripts/validate_news.py \
            --settings {params.settings:q} \
            --split {wildcards.split:q} \
            {params.news} \
            --output-items {output.news_items:q} \
            --output-questions {output.questions:q} \
            >{log:q} 2>&1
        """
