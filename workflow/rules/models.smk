"""
Models made ready.

In:  a source from the catalogue: a hub repository, a directory, a GGUF file, or a shape for random weights
Out: prepare_model/model=.../model.json, and weights/ where they were converted
"""


localrules:
    prepare_model,


rule prepare_model:
    """Fetch or convert a model's weights once and describe them; local, because compute nodes often lack a network."""
    output:
        manifest=pattern(RESULTS, "model"),
        weights=directory(pattern(RESULTS, "weights")),
    log:
        logs("model", "prepare_model"),
    benchmark:
        times("model", "prepare_model")
    conda:
        "../../envs/train.yaml"
    params:
        settings=told(STUDY.prepare_model_stage, "model"),
        version=VERSIONS["prepare_model"],
    shell:
        """
        python workflow/scripts/prepare_model.py \
            --settings {params.settings:q} \
            --output-weights {output.weights:q} \
            --output-manifest {output.manifest:q} \
            >{log:q} 2>&1
        """
