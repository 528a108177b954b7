# Everything runs in .venv, made on first use from a bare Python >= 3.11. PYTHON chooses another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test check matrix bench docs format clean prerequisites

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-8s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@echo "Making $(VENV) and installing; this may take a minute"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[demo,test,bench]'
	@touch $@

$(VENV)/.check: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[demo,test,check,bench]'
	@touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -qq --editable '.[demo,bench]'
	@touch $@

install: $(VENV)/.demo ## Make the virtual environment

demo: $(VENV)/.demo ## Serve routes.yaml with brokers and small backends, and walk through every protocol
	$(BIN)/gateway demo

test: $(VENV)/.test prerequisites ## Run all tests; brokers and foreign peers are started where they can be
	$(BIN)/python -m pytest

prerequisites:
	@sh tests/prerequisites.sh

check: $(VENV)/.check ## Lint, types, import contracts, generated files up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

matrix: $(VENV)/.test prerequisites ## Run every pair of protocols and write docs/matrix.md from the results
	$(BIN)/python -m pytest tests/pairs --matrix docs/matrix.md

bench: $(VENV)/.bench ## Measure beside Envoy and hand-written glue, and write docs/benchmarks.md
	$(BIN)/python -m benchmarks.run

docs: $(VENV)/.check ## Write the generated docs and the JSON Schema
	$(BIN)/python -m docs.generate

format: $(VENV)/.check ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was generated, the virtual environment included
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
