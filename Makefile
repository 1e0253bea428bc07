# `make demo` and `make test` set up what they need, once. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
SYSTEM := deployment/deployment_scripts/setup.sh
INSTALL := $(SYSTEM) pip $(VENV)
OTHERS := tensorflow mlflow classifiers serving notebooks kerberos
EXTRAS := torch $(OTHERS)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
	--custom-compile-command "make lock" pyproject.toml

# What does not wait for one another is done side by side: downloads, compilers.
TOGETHER := --no-print-directory -j3

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

.PHONY: demo
demo: ## real 1000 Genomes data from VCF to a first answer (under 3 minutes)
	@$(MAKE) $(TOGETHER) setup
	$(BIN)/geneai demo

.PHONY: setup
setup: $(VENV)/.warm .jars/.complete ## virtual environment, Java, Spark's jars; nothing to do the second time
	@:

$(BIN)/python:
	$(SYSTEM) venv $(VENV)

$(VENV)/.core: requirements/core.txt pyproject.toml setup.py | $(BIN)/python
	@echo "setup: installing Python packages"
	@$(INSTALL) $$(grep '^uv==' requirements/dev.txt) || echo "setup: pip does without uv"
	@$(INSTALL) --no-deps -r requirements/core.txt
	@$(INSTALL) --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.core
	@echo "setup: installing test tools"
	@$(INSTALL) --no-deps -r requirements/dev.txt
	@touch $@

TESTED := $(foreach extra,torch tensorflow mlflow classifiers,requirements/$(extra).txt)
$(VENV)/.extras: $(TESTED) $(VENV)/.dev
	@echo "setup: installing PyTorch, TensorFlow, MLflow, xgboost"
	@$(INSTALL) $(TESTED:%=-r %)
	@touch $@

$(VENV)/.java: | $(BIN)/python
	$(SYSTEM) java
	@touch $@

.jars/.complete: conf/jars.xml conf/jars.sha256 | $(VENV)/.core $(VENV)/.java
	@echo "setup: resolving Spark's jars (Delta, S3A)"
	$(BIN)/python -m geneai_spark.runtime .jars
	@touch $@

$(VENV)/.warm: $(VENV)/.core $(shell find geneai_spark -name '*kernels.py')
	@echo "setup: compiling kernels"
	$(BIN)/python -m geneai_spark.doctor --warm
	@touch $@

$(VENV)/.classes: $(VENV)/.core .jars/.complete | $(VENV)/.warm
	@echo "setup: keeping the JVM's classes ready"
	$(BIN)/python -m geneai_spark.class_data || echo "setup: commands start without them"
	@touch $@

.PHONY: classes
classes: setup $(VENV)/.classes ## commands start some seconds earlier (190 MB, half a minute to make)
	@:

.PHONY: extra-torch $(OTHERS:%=extra-%)
extra-torch: setup ## add PyTorch, for networks (some 6 GB)
	@$(INSTALL) -r requirements/torch.txt

$(OTHERS:%=extra-%): extra-%: setup ## (extra-mlflow, extra-serving, …) add an optional part
	@$(INSTALL) -r requirements/$*.txt

.PHONY: jars
jars: $(VENV)/.core $(VENV)/.java ## resolve Spark's jars again
	rm -f .jars/.complete
	$(MAKE) .jars/.complete

.PHONY: oracles
oracles: | $(VENV)/.java # one at a time at the system's packages
	$(SYSTEM) oracles

.PHONY: linted
linted: $(VENV)/.extras | $(VENV)/.warm # where all is installed; beside the making of .classes
	@$(MAKE) --no-print-directory lint

.PHONY: test
test: ## lint, types, and every test
	@$(MAKE) $(TOGETHER) setup classes oracles linted
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

.PHONY: faults
faults: setup $(VENV)/.dev $(VENV)/.extras ## what happens under kills, full disks, failing storage; slow tests
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/faults
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/integration -m slow

.PHONY: lint
lint: $(VENV)/.dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: doctor
doctor: setup ## check this machine, and say how to mend it
	$(BIN)/geneai doctor

.PHONY: wheel
wheel: $(VENV)/.core ## dist/*.whl, and dist/geneai_spark.zip for spark-submit --py-files
	rm -rf build dist
	$(BIN)/pip --disable-pip-version-check -q wheel --no-deps -w dist .
	cp dist/geneai_spark-*.whl dist/geneai_spark.zip

.PHONY: hdfs s3 cluster
hdfs: setup ## an HDFS of two datanodes on this machine, in the foreground
	$(BIN)/python -m tests.servers.hdfs

s3: setup ## an S3 server on this machine, in the foreground
	$(BIN)/python -m tests.servers.s3

cluster: setup ## a Spark cluster of two workers on this machine, in the foreground
	$(BIN)/python -m tests.servers.cluster

.PHONY: airflow
airflow: .cache/airflow/.complete ## Airflow in an environment of its own, whose parser a test asks

.cache/airflow/.complete: tests/requirements-airflow.txt
	$(SYSTEM) venv .cache/airflow
	.cache/airflow/bin/pip --disable-pip-version-check -q install -r $<
	@touch $@

PEERS := .cache/peers/hail

$(PEERS)/.complete: benchmarks/requirements-peers.txt
	$(SYSTEM) venv $(PEERS)
	$(PEERS)/bin/pip --disable-pip-version-check -q install -r $<
	@touch $@

.PHONY: bench-peers
bench-peers: $(PEERS)/.complete ## Hail and msprime, in an environment of their own
	$(SYSTEM) oracles

.PHONY: bench-data
bench-data: bench-peers ## simulate the benchmarks' files (1.8 GB of text, 114 MB stored)
	$(PEERS)/bin/python benchmarks/simulate.py

.PHONY: bench-ingest
bench-ingest: setup bench-data ## VCF to Delta beside Hail and bcftools, ratios printed
	$(BIN)/python benchmarks/ingest.py

.PHONY: bench-reads
bench-reads: setup $(VENV)/.dev ## FASTQ to Delta beside pysam's reader, on simulated pairs
	$(BIN)/python benchmarks/reads.py

.PHONY: bench-export
bench-export: setup bench-data ## Delta to VCF beside bcftools, plain and BGZF
	$(BIN)/python benchmarks/export.py

.PHONY: bench-analysis
bench-analysis: setup bench-data ## quality, association, principal components beside Hail, plink2
	$(BIN)/python benchmarks/analysis.py

.PHONY: bench-scaling
bench-scaling: setup ## cost and memory by samples and variants, up to 25,000 x 50,000
	$(BIN)/python benchmarks/scaling.py

.PHONY: bench-forest
bench-forest: setup $(VENV)/.dev ## the random forest by samples and variants, beside scikit-learn
	$(BIN)/python benchmarks/forest.py

.PHONY: bench-prediction
bench-prediction: setup $(VENV)/.extras ## networks beside GBLUP and ridge, on simulated traits
	$(BIN)/python benchmarks/prediction.py

.PHONY: bench-network
bench-network: setup $(VENV)/.extras ## a network on a GPU, beside the CPU and plain PyTorch
	$(BIN)/python benchmarks/network.py

VARIANTSPARK := .cache/peers/variantspark

$(VARIANTSPARK)/.complete: benchmarks/requirements-variantspark.txt benchmarks/mend_jar.py
	$(SYSTEM) venv $(VARIANTSPARK)
	$(VARIANTSPARK)/bin/pip --disable-pip-version-check -q install -r $<
	$(BIN)/python benchmarks/mend_jar.py $(VARIANTSPARK)/lib/python*/site-packages/varspark/jars/*.jar
	@touch $@

.PHONY: bench-hipster
bench-hipster: setup $(VENV)/.dev bench-peers $(VARIANTSPARK)/.complete ## forests of ours, scikit-learn, VariantSpark; Hail
	$(BIN)/python benchmarks/hipster.py

.PHONY: bench-memory
bench-memory: setup bench-data ## peak memory of each worker while 1.1 GB of text is ingested
	$(BIN)/python benchmarks/memory.py

.PHONY: lock
lock: $(VENV)/.dev ## pin requirements/*.txt anew from pyproject.toml (UPGRADE=1: newest)
	$(LOCK) $(if $(UPGRADE),--upgrade) -o requirements/core.txt
	agreed="-c requirements/core.txt"; for extra in dev $(EXTRAS); do \
		$(LOCK) --extra $$extra $$agreed -o requirements/$$extra.txt; \
		agreed="$$agreed -c requirements/$$extra.txt"; \
	done

.PHONY: clean
clean: ## remove what builds, tests and the demo made
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf spark-warehouse metastore_db derby.log demo warehouse
	find geneai_spark jobs conf tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## also the virtual environment and the jars
	rm -rf $(VENV) .jars .cache
