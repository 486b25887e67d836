# `make` shows the targets. Everything is installed into virtual environments in the checkout and a cache outside it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# most tests wait for processes: four at once keep two cores busy (unit tests compute: check takes two)
JOBS ?= 4
UV_VERSION := 0.13.9
BIN := .venv/bin
# conftest.py groups the tests and puts the long groups first: xdist shall keep its order
PYTEST_ALL = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -q -n $(JOBS) --no-loadscope-reorder
OPERATOR_UNITS := tests/unit/control_plane tests/unit/cluster_commands
OPERATOR_TESTS := $(OPERATOR_UNITS) $(addprefix tests/integration/,cluster control_plane) tests/e2e
DATA_TESTS := $(filter-out $(OPERATOR_UNITS),$(wildcard tests/unit/*)) \
  $(addprefix tests/integration/,data_plane generation local)
# beside the builds of the tests, so that a fresh clone at the same place need not check everything anew (two minutes of
# CPU); mypy compares the contents of files, not their times
CACHE := $(or $(LLM2LLM_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/llm2llm)
# written where the variable of this name forbids it, too: each of some hundred processes would compile our code anew
export PYTHONDONTWRITEBYTECODE :=
export MYPY_CACHE_DIR := $(CACHE)/mypy/$(firstword $(shell cksum <<< "$(CURDIR)"))
CRDS := crds/llm2llm.dev_augmentationruns.yaml charts/llm2llm-operator/files/llm2llm.dev_augmentationruns.yaml
DASHBOARD := charts/llm2llm-operator/files/dashboard.json

.PHONY: help demo try check test test-data test-operator test-realnode bench lint format generate verify docs constraints images image-test clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a run on a real control plane, from kubectl apply to the best adapter (KEEP=1 leaves it up)
	@$(PYTHON) -I tests/support/preflight.py demo
	@$(MAKE) .venv/installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.support.demo $(if $(KEEP),--keep)

try: ## the same run in one process: no cluster, no Go, no vLLM
	@$(PYTHON) -I tests/support/preflight.py try
	@$(MAKE) .venv-try/installed
	@PATH="$(CURDIR)/.venv-try/bin:$$PATH" .venv-try/bin/python examples/keyword/try.py

check: JOBS := 2
check: .venv/installed ## the inner loop: formatter, linter, types, unit tests; half a minute
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@$(BIN)/mypy --no-error-summary
	@$(PYTEST_ALL) tests/unit $(PYTEST)

test: ## all tests, quiet when green; JOBS=3 at once (4 by default); of some slow kinds one a day, LLM2LLM_SWEEP=full for all
	@$(PYTHON) -I tests/support/preflight.py test
	@$(MAKE) .venv/installed
	@$(PYTEST_ALL) $(PYTEST)

test-data: .venv/installed ## tests of the data plane: no control plane
	@$(PYTEST_ALL) $(DATA_TESTS) $(PYTEST)

test-operator: .venv/installed ## tests of the control plane, on a real one, and end to end
	@$(PYTEST_ALL) $(OPERATOR_TESTS) $(PYTEST)

bench: .venv/installed ## the control plane under load: 1,000 runs at work (10 minutes)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks.control_plane active $(BENCH)

test-realnode: REALNODE ?=
test-realnode: .venv/installed ## as root: the images on a real kubelet (LLM2LLM_SWEEP=full for all tests)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.realnode $(REALNODE) -q $(PYTEST)

lint: .venv/installed ## ruff, mypy strict, import contracts
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 3

format: .venv/installed ## format the code
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

generate: .venv/installed ## write the CRD, the reference and the dashboard anew from the code and the chart
	@$(BIN)/python -m llm2llm_crdgen.crd $(CRDS)
	@$(BIN)/python -m llm2llm_crdgen.reference docs/reference charts/llm2llm-operator
	@$(BIN)/python -m llm2llm_crdgen.dashboard $(DASHBOARD)

verify: generate ## the generated files are what is committed
	@git diff --exit-code --stat -- $(CRDS) docs/reference $(DASHBOARD)

docs: .venv-docs/installed ## the site of these pages, into out/site
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build -q --strict
	@echo "out/site/index.html"

constraints: .venv/installed ## resolve the exact versions anew (UPGRADE= keeps those that still fit)
	@$(call resolve,image-evaluator,pyproject.toml --extra evaluator,$(IMAGE_RESOLUTION) -c constraints/versions.txt)
	@for image in trainer generator operator; do \
	  $(call resolve,image-$$image,pyproject.toml --extra $$image,$(IMAGE_RESOLUTION) $(SHIPPED)); done
	@$(call resolve,image-build,constraints/image-build.in,$(IMAGE_RESOLUTION) $(SHIPPED))
	@for name in dev try; do \
	  $(call resolve,$$name,constraints/$$name.in,--override constraints/overrides.txt -c constraints/versions.txt $(SHIPPED)); done
	@$(call resolve,docs,constraints/docs.in)

# $(1): name, $(2): requirements, $(3): further options
UPGRADE ?= --upgrade
resolve = $(BIN)/uv pip compile -q $(2) $(3) --python-version 3.11 --no-header --no-annotate $(UPGRADE) -o constraints/$(1).txt
IMAGE_RESOLUTION := --override constraints/image-overrides.txt --generate-hashes --python-platform x86_64-manylinux_2_28
SHIPPED := -c constraints/image-evaluator.txt

# --- images: what the README's last lines tell

REGISTRY ?= ghcr.io/llm2llm
TAG ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGES ?= operator generator trainer evaluator
BASE ?= docker.io/library/python:3.11-slim
BUILDER ?= $(firstword $(foreach tool,docker podman buildah,$(if $(shell command -v $(tool)),$(tool))))
BUILD_ARGS = --build-arg BASE=$(BASE) --build-arg VERSION=$(TAG) --build-arg REVISION=$$(git rev-parse HEAD)

images: ## build the images: REGISTRY, TAG, IMAGES, BASE (with its digest), BUILDER (docker, podman or buildah)
	@test -n "$(BUILDER)" || { echo "none of docker, podman and buildah was found: set BUILDER" >&2; exit 69; }
	@for image in $(IMAGES); do $(BUILDER) build $(BUILD_FLAGS) $(BUILD_ARGS) -f images/$$image/Dockerfile \
	  -t $(REGISTRY)/$$image:$(TAG) .; done

# any UID, a root that cannot be written, no network: as a pod has it
RUN_FLAGS = --rm --read-only --network none --tmpfs /tmp:exec --tmpfs /scratch:mode=1777 --entrypoint python
image-test: ## check each image from inside (docker or podman)
	@for image in $(IMAGES); do for user in 65532:65532 1000900000:0; do $(BUILDER) run $(RUN_FLAGS) --user $$user \
	  -v $(CURDIR)/images/selftest.py:/selftest.py:ro $(REGISTRY)/$$image:$(TAG) /selftest.py $$image; done; done

clean: ## remove the environments and what the demo left (the cache outside the checkout stays)
	@rm -rf .venv .venv-try .venv-docs out

# $(1): environment, $(2): constraints, $(3): further options. --no-deps: the constraints are the whole resolution
# (constraints/dev.in says why)
define environment
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@VIRTUAL_ENV=$(1) $(1)/bin/uv pip install -q --no-deps $(3) -r $(2)
	@VIRTUAL_ENV=$(1) $(1)/bin/uv pip install -q --no-deps -e .
	@touch $(1)/installed
endef

# Compiled at once: hundreds of processes of the tests import torch, the first ones at the same time (14 s of CPU instead
# of 5).
.venv/installed: constraints/dev.txt pyproject.toml
	$(call environment,.venv,constraints/dev.txt,--compile-bytecode)

.venv-try/installed: constraints/try.txt pyproject.toml
	$(call environment,.venv-try,constraints/try.txt)

.venv-docs/installed: constraints/docs.txt
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@VIRTUAL_ENV=.venv-docs .venv-docs/bin/uv pip install -q --no-deps -r constraints/docs.txt
	@touch .venv-docs/installed
