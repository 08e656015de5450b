"""sys2ft: news -> study data -> training sequences -> adapters -> answers -> effects -> report."""

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
include: "workflow/rules/report.smk"


from sys2ft.cluster.runs import begin_run
from sys2ft.outputs import list_outputs
from sys2ft.preflight import check_environment


onstart:
    methods = map(str, workflow.deployment_settings.deployment_method)
    try:
        check_environment(STUDY, CONFIG_FILES, environments="conda" in methods)
        # What the run's jobs are called in SLURM's queue; Snakemake tells it nowhere else.
        begin_run(RESULTS, getattr(workflow.scheduler._executor, "run_uuid", None))
    except InputError as error:
        raise WorkflowError(str(error)) from None


OUTPUTS = list(list_outputs(STUDY))


rule all:
    """All that the study writes: what was deleted is made again."""
    default_target: True
    input:
        OUTPUTS,


rule tables:
    """The tables of the whole grid; what they were made from may have been deleted, to have room."""
    input:
        [path for path in OUTPUTS if path.startswith(f"{RESULTS}/tables/")],
