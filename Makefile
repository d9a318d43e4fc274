# Each target sets up what it needs in a fresh clone; see .ci/setup. The two to start with:
# make demo, make test.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-full test check lint messages clean setup setup-test setup-check

export PYTHON
# Nothing is fetched from a model hub and nothing is reported to anyone.
export HF_HUB_OFFLINE := 1
export WANDB_MODE := disabled
export TOKENIZERS_PARALLELISM := false

BIN := .venv/bin
# More arguments for pytest: make test ARGS="tests/packs -k flipped"
ARGS ?=
# Processes that share the tests, file by file; each takes one core and about 3 GB.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: # system libraries, .venv and packages; instant when all is there
	@.ci/setup

setup-test:
	@.ci/setup test

setup-check:
	@.ci/setup check

demo: setup ## audit a small real model and write a signed evidence pack into demo/
	$(BIN)/python examples/demo/subject.py
	$(BIN)/python examples/vision/subject.py
	$(BIN)/compliance demo

demo-full: setup ## the same with everything measured; takes much longer
	$(BIN)/python examples/demo/subject.py
	$(BIN)/python examples/vision/subject.py
	$(BIN)/compliance demo --full

test: setup-test ## run the tests (all but the slow ones)
	$(PYTEST) $(ARGS)

check: setup-check ## run all tests, the slow ones too (whole reports, the demo's model, a second model)
	$(BIN)/python examples/demo/subject.py
	$(BIN)/python examples/vision/subject.py
	$(BIN)/python examples/second/subject.py
	test -f examples/second/sae/sae_weights.safetensors || $(BIN)/python examples/second/train.py
	$(PYTEST) -m "not network" $(ARGS)

lint: setup ## look for mistakes and style with ruff
	$(BIN)/ruff check .

messages: setup ## bring the translations of report words in step with the English
	$(BIN)/python -m compliance.reports.catalogs

clean: ## remove .venv, demo/, fetched models, builds and caches
	rm -rf .venv demo dist examples/*/subject examples/*/cache examples/second/sae examples/xstest/suite .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
