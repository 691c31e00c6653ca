# `make run` and `make test` are all that a fresh clone needs: each makes .venv first if it must.
# Windows has no make: README.md, "Install", gives the same as plain pip commands.
#
#   PYTHON=python3.12 make run              another Python (3.11 or newer)
#   LLAMA_CPP_WHEEL=path-or-url make run    a ready wheel of llama-cpp-python instead of compiling it

PYTHON ?= python3
comma := ,
ALL := llama-cpp,onnxruntime,torch,dashboard
VENV := .venv
BIN := $(VENV)/bin
UNFINISHED := $(VENV).unfinished

.PHONY: help setup run dashboard test lint proof proof-gpu gpu-proof-deps types build clean
.DEFAULT_GOAL := help

help:
	@echo "make run        measure Phi-4-mini on this machine, and say which Phi fits"
	@echo "make dashboard  look at the results in the browser"
	@echo "make test       all tests, with coverage"
	@echo "make lint       ruff, mypy, import-linter"
	@echo "make proof      what is too long for CI, hours in all; make proof-NAME one of docs/proofs.md"
	@echo "make types      ask llama.cpp again which tensor gets which type"
	@echo "make build      source archive and wheel into dist/"
	@echo "make setup      only make .venv"
	@echo "make clean      remove .venv and what the tools left"

# A marker beside .venv says that pip is at work. Found at the start, it says that pip was cut off, and .venv is
# made anew (from pip's cache). At the end it becomes the stamp, as old as the start: an edit meanwhile counts.
define install
	@command -v $(PYTHON) >/dev/null || { echo "phibench: no $(PYTHON) here; install Python 3.11 or newer" >&2; exit 2; }
	@$(PYTHON) scripts/preflight.py $(@F)
	@if [ -e $(UNFINISHED) ] || [ ! -x $(BIN)/python ]; then \
		touch $(UNFINISHED) && $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(UNFINISHED)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(LLAMA_CPP_WHEEL) -e '.[$(1)]'
	@mv $(UNFINISHED) $@
endef

$(VENV)/run: pyproject.toml constraints.txt
	$(call install,llama-cpp$(comma)dashboard)

$(VENV)/test: $(VENV)/run
	$(call install,$(ALL)$(comma)test)

$(VENV)/lint: $(VENV)/test
	$(call install,$(ALL)$(comma)dev)

setup: $(VENV)/run

run: $(VENV)/run
	@$(BIN)/phibench quickstart || [ $$? = 3 ]  # 3: no Phi is fast enough here, which is an answer too

dashboard: $(VENV)/run
	@$(BIN)/phibench dashboard

test: $(VENV)/test
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

proof: $(VENV)/test
	@$(BIN)/python benchmarks/proof.py

proof-%: $(VENV)/test
	@$(BIN)/python benchmarks/proof.py $*

proof-gpu:  # needs no .venv: it runs on a bare machine
	@bash benchmarks/gpu_proof.sh

gpu-proof-deps: $(VENV)/run
	@$(BIN)/python benchmarks/gpu_deps.py

types: $(VENV)/run
	$(BIN)/python -m phibench.synth.types

build: $(VENV)/test
	$(BIN)/python -m hatchling build

clean:
	rm -rf $(VENV) $(UNFINISHED) dist build .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
