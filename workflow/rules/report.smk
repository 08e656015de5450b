"""
What people look at.

In:  the tables of the whole grid, questions, models, the results of the cells that are shown
Out: figures/<name>.svg, .pdf, .png, .json (Vega-Lite), figures/vega.js; report/index.html, one page that needs no network;
     beside each a digests.json
"""

from sys2ft.outputs import shown_paths
from sys2ft.paths import FIGURES, FORMATS, figure_path


localrules:
    draw_figures,
    build_report,


PAGE_FILES = [f"src/sys2ft/report/page.{kind}" for kind in ("html", "css", "js")]

# In the shell only: the bill that is compared with what jobs took makes nothing stale.
STUDY_FILES = [os.path.relpath(file) for file in workflow.configfiles]


rule draw_figures:
    """Draw the figures, and export each as SVG, PDF, PNG and Vega-Lite."""
    input:
        effects=pattern(RESULTS, "effects_table"),
        dynamics=pattern(RESULTS, "dynamics_table"),
        scaling=pattern(RESULTS, "scaling_table"),
        questions=sorted({cell_path(RESULTS, "questions", cell) for cell in CELLS}),
        models=sorted({cell_path(RESULTS, "model", cell) for cell in CELLS}),
    output:
        figures=[
            report(
                figure_path(RESULTS, figure, "svg"),
                caption="../report/figure.rst",
                category="Figures",
                labels={"figure": figure},
            )
            for figure in FIGURES
        ],
        others=[
            figure_path(RESULTS, figure, kind)
            for figure in FIGURES
            for kind in FORMATS
            if kind != "svg"
        ],
        vega=pattern(RESULTS, "vega"),
        digests=pattern(RESULTS, "figures_digests"),
    log:
        f"{RESULTS}/logs/draw_figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_figures.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=told(STUDY.draw_figures_stage),
        folder=pattern(RESULTS, "figures"),
        version=VERSIONS["draw_figures"],
    shell:
        """
        python workflow/scripts/draw_figures.py \
            --settings {params.settings:q} \
            --effects {input.effects:q} \
            --dynamics {input.dynamics:q} \
            --scaling {input.scaling:q} \
            --questions {input.questions:q} \
            --models {input.models:q} \
            --configfile {STUDY_FILES:q} \
            --output {params.folder:q} \
            >{log:q} 2>&1
        """


rule build_report:
    """Build the page with verdicts, figures, tables, worked examples and provenance."""
    input:
        tables=[
            pattern(RESULTS, f"{name}_table")
            for name in ("effects", "cells", "study_counts", "dynamics", "scaling")
        ],
        figures=[figure_path(RESULTS, figure, "json") for figure in FIGURES],
        vega=pattern(RESULTS, "vega"),
        questions=sorted({cell_path(RESULTS, "questions", cell) for cell in CELLS}),
        models=sorted({cell_path(RESULTS, "model", cell) for cell in CELLS}),
        shown=shown_paths(STUDY),
    output:
        page=report(
            pattern(RESULTS, "report"), caption="../report/page.rst", category="Report"
        ),
        digests=pattern(RESULTS, "report_digests"),
    log:
        f"{RESULTS}/logs/build_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_report.tsv"
    conda:
        "../../envs/train.yaml"
    params:
        settings=told(STUDY.build_report_stage),
        results=RESULTS,
        page=said(lambda wildcards: PAGE_FILES),
        version=VERSIONS["build_report"],
    shell:
        """
        python workflow/scripts/build_report.py \
            --settings {params.settings:q} \
            --results {params.results:q} \
            --questions {input.questions:q} \
            --models {input.models:q} \
            --configfile {STUDY_FILES:q} \
            --output {output.page:q} \
            >{log:q} 2>&1
        """
