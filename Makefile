# Everything a person or CI does with this checkout. `make` alone prints this list.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_DIR ?= .lab/demo
LAB_DIR ?= .lab/lab
SIZE ?= 64Mi
USES := .lab/uses
RIGHTS := tests/kubernetes/test_rights_granted_are_rights_used.py
KUBE := $(BIN)/python -m pytest --backend kube --timeout 300 -m 'not kubectl' --uses $(USES)

.PHONY: help demo test test-all test-kube test-e2e kube-assets check lab bench lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV): Python environment and pinned packages, once (a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing; on Debian: apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## start the lab, move the twelve-disk VM from east to west, show the proof
	@PATH="$(abspath $(BIN)):$$PATH" bash hack/demo.sh "$(DEMO_DIR)"

test: $(READY) ## the tests that need nothing but Python (under 5 minutes)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY) ## every test: matrices, long flows, kubectl, the real API server
	@command -v kubectl >/dev/null || { echo "kubectl is missing and these tests use it; install it (for example Debian's kubernetes-client) and run again"; exit 2; }
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout 300 -m 'slow or kubectl'
	@$(MAKE) --no-print-directory test-kube

kube-assets: ## build the real API server with etcd, once, into ~/.cache (needs Go)
	@bash hack/kube-assets/build.sh

test-kube: $(READY) ## the same flows and the API's contract on the real API server (make kube-assets)
	@rm -rf $(USES)
	@$(KUBE) -n 3 --dist loadfile --no-loadscope-reorder tests/kubernetes tests/flows tests/lab/test_api_*.py --ignore $(RIGHTS)
	@$(KUBE) $(RIGHTS)

test-e2e: $(READY) ## flows on two clusters of yours: make test-e2e SOURCE=ctx TARGET=ctx [IMAGE=url SIZE=64Mi]
	@test -n "$(SOURCE)" -a -n "$(TARGET)" || { echo "say which clusters: make test-e2e SOURCE=context TARGET=context (kubectl config get-contexts)"; exit 2; }
	@$(BIN)/python -m pytest --backend named --source "$(SOURCE)" --target "$(TARGET)" --image "$(IMAGE)" --size "$(SIZE)" -m anywhere --timeout 3600 -v tests/flows

check: $(READY) ## format, lint, types, import contracts, file sizes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python hack/sizes.py

lab: $(READY) ## two clusters on loopback, in the foreground until Ctrl-C
	@$(BIN)/migrate lab up --dir $(LAB_DIR)

bench: $(READY) ## measure, as ratios in one run; fails where an aim is missed
	@missed=; for b in benchmarks/[a-z]*.py; do echo "== $$b"; $(BIN)/python $$b || missed="$$missed $$b"; done; test -z "$$missed" || { echo "failed:$$missed"; exit 1; }

lock: ## pin the dependencies anew (needs uv)
	@uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --extra dev --python-version 3.11 pyproject.toml -o requirements.lock
	@sed -i '1i # Pinned with hashes; made by: make lock. Holds the development tools too.' requirements.lock

clean: ## remove what these targets made
	@rm -rf $(VENV) .lab dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
