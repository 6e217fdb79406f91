# The same names locally and in CI. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full lint format generate bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## Create .venv with the launcher, the trainer and the development tools

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[trainer,dev]'
	@touch $@

demo: $(READY)  ## Train the digit classifier on two local ranks and show its results
	$(BIN)/launcher submit --gpus 2 --follow --backend local examples/digits.yaml
	$(BIN)/launcher list
	$(BIN)/launcher results digits

test: lint  ## Lint, types and the fast tests (unit, contract, distributed, local)
	$(BIN)/python -m pytest -m "not slow"

test-full: lint  ## Everything, with the long training and fault tests
	$(BIN)/python -m pytest

lint: $(READY)  ## Check format, style, types and import rules
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

format: $(READY)  ## Format the code and apply safe fixes
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format .

generate: $(READY)  ## Rewrite the generated schema and reference page
	$(BIN)/python -m launcher.job.schema

bench: $(READY)  ## Run the benchmarks
	$(BIN)/python bench/cli_startup.py
	$(BIN)/python bench/quality.py

clean:  ## Remove the virtual environment and caches (results stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
