# The same names locally and in CI. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools

# make image: docker where its engine runs, else buildah. This machine's pip settings and certificates are mounted while
# the image is built, and no copy of them stays in it.
IMAGE ?= pytorchjob-trainer:latest
BUILDER ?= $(if $(shell docker info >/dev/null 2>&1 && echo runs),DOCKER_BUILDKIT=1 docker build,$(BUILDAH))
BUILDAH := buildah build --layers --isolation chroot
PIP_CONF ?= $(firstword $(wildcard $(PIP_CONFIG_FILE) $(HOME)/.config/pip/pip.conf $(HOME)/.pip/pip.conf /etc/pip.conf))
CA_BUNDLE ?= $(firstword $(wildcard $(PIP_CERT) $(REQUESTS_CA_BUNDLE) $(SSL_CERT_FILE)))
COMMA := ,
IMAGE_OPTIONS = --tag '$(IMAGE)' $(if $(BASE),--build-arg 'BASE=$(BASE)') \
	$(if $(EXTRAS),--build-arg 'EXTRAS=$(EXTRAS)') $(if $(TARGET),--target '$(TARGET)') \
	$(if $(PIP_CONF),--secret 'id=pip_conf$(COMMA)src=$(PIP_CONF)') \
	$(if $(CA_BUNDLE),--secret 'id=ca_bundle$(COMMA)src=$(CA_BUNDLE)') \
	--label "org.opencontainers.image.version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' launcher/__init__.py)" \
	--label "org.opencontainers.image.revision=$$(git describe --always --dirty --abbrev=40 2>/dev/null)"

# Tests that need one core run beside each other: those on an API server (first, they take longest) and all the rest
# of them. Those that train on several ranks have the machine to themselves.
ALONGSIDE := tests/api tests/unit tests/contract tests/chart
BY_ITSELF := tests/local tests/distributed tests/image

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full test-cluster cluster-up lint generate image bench clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY) $(TOOLS)  ## Create .venv with all dependencies; build the tests' Kubernetes programs where Go is present

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[trainer,mlflow,dev]'
	@touch $@

# Minutes the first time, then from the user's cache. Without Go the tests that need these programs are skipped.
$(TOOLS): $(READY) tests/tools/build.py $(wildcard tests/tools/*/go.sum)
	@$(BIN)/python tests/tools/build.py >/dev/null && touch $@ || true

demo: $(READY)  ## Train the digit classifier on two local ranks and show its results
	$(BIN)/launcher submit --gpus 2 --follow --backend local examples/digits.yaml
	$(BIN)/launcher list
	$(BIN)/launcher results digits

test: lint $(TOOLS)  ## Lint, types and the fast tests (unit, contract, distributed, local, API server)
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow" $(ALONGSIDE)
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow" $(BY_ITSELF)

test-full: lint $(TOOLS)  ## Everything, with the long training and fault tests
	@$(BIN)/python -m tests.browser
	$(BIN)/python -m pytest -n 2 --dist loadscope $(ALONGSIDE)
	$(BIN)/python -m pytest -n 2 --dist loadscope $(BY_ITSELF)

test-cluster: $(READY)  ## Tests on a real cluster: PROVIDER=one-node (root, Debian) or kind (Docker), or KUBECONFIG's
	$(BIN)/python -m pytest tests/cluster

cluster-up: $(READY)  ## Bring that cluster up and keep it, or its image up to date; down: .venv/bin/python -m tests.cluster down
	$(BIN)/python -m tests.cluster up

lint: $(READY)  ## Check format, style, types, import rules, and the chart with helm lint
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache
	@helm="$$($(BIN)/python tests/tools/build.py helm)"; test -z "$$helm" || \
	for values in charts/pytorchjob/ci/*.yaml; do \
		"$$helm" lint --strict --quiet charts/pytorchjob --values "$$values" || exit 1; \
	done

generate: $(READY)  ## Format the code, apply safe fixes, and rewrite the generated schemas, reference page and chart files
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m launcher.job.schema

image:  ## Build the trainer's image with docker or buildah (IMAGE=name:tag, BASE=its base image)
	$(BUILDER) $(IMAGE_OPTIONS) .

bench: $(READY)  ## Run the benchmarks (hours: it trains every example to its bar)
	$(BIN)/python bench/cli_startup.py
	$(BIN)/python bench/render.py
	$(BIN)/python bench/quality.py

clean:  ## Remove the virtual environment and caches (results stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
