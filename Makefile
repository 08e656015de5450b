# The two commands a fresh machine needs: `make run` and `make test`. Both are safe to repeat.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
GENERATE := .venv-generate
# vLLM for CUDA where there is an NVIDIA GPU. On a cluster's login node without one: make generate BUILD=generate
BUILD := $(if $(shell command -v nvidia-smi),generate,generate-cpu)
LOCKS := envs/workflow.lock envs/train.lock envs/dev.lock
COMPILE := pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-options \
	--no-annotate --no-header --allow-unsafe
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup generate run test checks audit dataset code-version schemas lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

setup: $(VENV)/ready  ## set up the virtual environment from pinned versions

# torch first and alone: it is exactly pinned, and what is installed satisfies the packages after it.
$(VENV)/ready: $(LOCKS) envs/models.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	pip install --quiet "$$(grep '^torch==' envs/train.lock)"
	pip install --quiet $(addprefix --requirement ,$(LOCKS))
	pip install --quiet --no-deps --requirement envs/models.lock
	pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

generate: $(GENERATE)/ready-$(BUILD)  ## set up vLLM, which pins its own torch, in an environment of its own

# Nothing is resolved anew (--no-deps): the lock leaves out what vLLM names and does not use.
$(GENERATE)/ready-$(BUILD): PIP = $(GENERATE)/bin/pip install --quiet
$(GENERATE)/ready-$(BUILD): envs/$(BUILD).lock envs/generate-cpu.lock pyproject.toml
	rm -f $(GENERATE)/ready-*
	test -x $(GENERATE)/bin/python || $(PYTHON) -m venv $(GENERATE)
	$(PIP) "$$(grep '^torch==' $<)" 2>&1 | tee $(GENERATE)/errors
	$(PIP) --no-deps --requirement $< 2>&1 | tee $(GENERATE)/errors
	$(PIP) --constraint envs/generate-cpu.lock pytest pytest-timeout 2>&1 | tee $(GENERATE)/errors
	$(PIP) --no-deps --no-build-isolation --editable . 2>&1 | tee $(GENERATE)/errors
	touch $@

run: setup  ## run the embedded study and print its effects
	snakemake --profile profiles/local
	sys2ft table effects

test: checks  ## set up, check and test
	$(MAKE) --no-print-directory generate || echo "vLLM is not tested: $$(grep ERROR $(GENERATE)/errors | tail -n 1)"
	pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

checks: setup  ## lint, format and types
	ruff check .
	ruff format --check .
	snakefmt --check --compact-diff Snakefile workflow/rules
	mypy
	python envs/write_conda.py --check
	sys2ft code-version

audit: setup  ## ask what the questions give away to a reader, and to the embedded model, without the news
	snakemake --profile profiles/local audit_dataset --configfile config/audit.yaml
	cat results/audit/logs/audit_dataset.log

dataset: setup  ## write the news as a Hugging Face data set
	sys2ft export data/new_news --output results/dataset

code-version: setup  ## say whether a stage's results change with its code: STAGE=fine_tune RESULTS=changed|same
	sys2ft code-version $(if $(STAGE),--stage $(STAGE)) $(if $(RESULTS),--results $(RESULTS))

schemas: setup  ## write the JSON schemas from the settings models
	python workflow/schemas/write_schemas.py

lock: setup  ## resolve the environments anew
	$(COMPILE) --output-file=envs/workflow.lock envs/workflow.in
	$(COMPILE) --constraint=envs/workflow.lock --output-file=envs/train.lock envs/train.in
	$(COMPILE) --constraint=envs/workflow.lock --constraint=envs/train.lock --output-file=envs/dev.lock envs/dev.in
	PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= $(COMPILE) --output-file=envs/generate.lock envs/generate.in  # not from wheels for CPUs
	$(COMPILE) --output-file=envs/generate-cpu.lock envs/generate-cpu.in
	sed -i 's/+cpu$$//' envs/*.lock
	# Not used, and their CPU builds do not load beside this torch.
	sed -i -E '/^torch(vision|audio|codec)==/d' envs/generate-cpu.lock
	python envs/write_conda.py

clean:  ## remove the virtual environments; results stay
	rm -rf $(VENV) $(GENERATE)
