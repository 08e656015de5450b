"""sys2ft: news -> study data -> training sequences -> adapters -> answers -> effects."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/news.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/analyse.smk"


rule all:
    """The tables of the whole grid."""
    default_target: True
    input:
        answers=pattern(RESULTS, "answers_table"),
        retention=pattern(RESULTS, "retention_table"),
        study_counts=pattern(RESULTS, "study_counts_table"),
        cells=pattern(RESULTS, "cells_table"),
        effects=pattern(RESULTS, "effects_table"),
