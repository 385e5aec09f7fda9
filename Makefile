# Each target does all the set-up it needs: Python 3.11 to 3.13 and make are enough.
#   make PYTHON=/path/to/python3.12 demo      another interpreter
#   make PIP_FLAGS="--no-cache-dir" demo      extra arguments for pip
.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_FLAGS ?=
PYTEST_FLAGS ?=

# The first interpreter that is really there, of a version that fits, and able to make an environment.
SUITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c '$(SUITS)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

.PHONY: help setup demo test test-quick lint format bench locks clean

help:  ## list the targets
	@echo "CTGI: person search in words, without human captions. Targets:"
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name what; do printf '%-16s %s\n' "$$name" "$$what"; done

# A changed pyproject.toml or constraints.txt brings the environment up to date; an interrupted
# installation has left no stamp and is simply done again.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 with the venv module was found;" \
		"install one, or name it: make PYTHON=/path/to/python3" >&2; exit 2; }
	@echo "setting up $(VENV) with $(PYTHON) (the first time this takes some minutes)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable ".[demo,dev]"
	@touch $@

setup: $(READY)  ## make .venv with everything in it

demo: $(READY)  ## the whole loop on rendered pedestrians; results in out/demo/
	$(BIN)/python -m demo.run

test: $(READY)  ## all tests, the slow ones last
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-quick: $(READY)  ## the quick tests alone
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_FLAGS)

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## measured ratios against plain implementations
	$(BIN)/python -m benchmarks.run

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-header --constraint constraints.txt --output-file

locks: $(READY)  ## the packages of the container images, by hash (docker/*.txt)
	$(LOCK) docker/orchestrator.txt pyproject.toml --extra search --extra store
	$(LOCK) docker/pipeline.txt pyproject.toml --extra pipelines
	$(LOCK) docker/demo.txt pyproject.toml --extra demo --extra pipelines
	$(LOCK) docker/tools.txt docker/tools.in

clean:  ## remove the environment and caches; out/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
