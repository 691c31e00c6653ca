# `make run` and `make test` are all that a fresh clone needs: each makes .venv first if it must.
# Windows has no make: README.md, "Install", gives the same as plain pip commands.
#
#   PYTHON=python3.12 make run              another Python (3.11 or newer)
#   LLAMA_CPP_WHEEL=path-or-url make run    a ready wheel of llama-cpp-python instead of compiling it

PYTHON ?= python3
ALL := llama-cpp,onnxruntime,torch,dashboard
VENV := .venv
BIN := $(VENV)/bin
UNFINISHED := $(VENV).unfinished
GRID ?= results/accuracy

.PHONY: help repair setup run dashboard test lint docs accuracy proof proof-gpu gpu-proof-deps types answers build clean
.DEFAULT_GOAL := help

help:
	@echo "make run        measure Phi-4-mini on this machine, and say which Phi fits"
	@echo "make dashboard  look at the results in the browser"
	@echo "make test       all tests, with coverage"
	@echo "make lint       ruff, mypy, import-linter"
	@echo "make docs       the documentation's site into site/"
	@echo "make accuracy   predictions against whole models measured here, an hour or two: docs/accuracy.md"
	@echo "make proof      what is too long for CI, hours in all; make proof-NAME one of docs/proofs.md"
	@echo "make types      ask llama.cpp again which tensor gets which type"
	@echo "make answers    compute again what the self-test's tiny models should answer"
	@echo "make build      source archive and wheel into dist/"
	@echo "make setup      only make .venv"
	@echo "make clean      remove .venv and what the tools left"

# A marker beside .venv says that pip is at work. Found at the start, it says that pip was cut off, and .venv is
# made anew, from pip's cache and, on a processor with AMX, from the wheel that scripts/build_engine.py keeps: only what
# was being compiled, or was compiled with CMAKE_ARGS of yours, is compiled again. At the end it becomes the stamp, as
# old as the start: an edit meanwhile counts.
define begin
	@command -v $(PYTHON) >/dev/null || { echo "phibench: no $(PYTHON) here; install Python 3.11 or newer" >&2; exit 2; }
	@$(PYTHON) scripts/preflight.py $(@F)
	@if [ -e $(UNFINISHED) ] || [ ! -x $(BIN)/python ]; then \
		touch $(UNFINISHED) && $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(UNFINISHED)
endef
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# phibench without an engine: all that the first advice needs, and no compiler. A marker that is newer than the stamp
# is of a pip that was cut off later.
$(VENV)/core: pyproject.toml constraints.txt $(wildcard $(UNFINISHED))
	$(begin)
	@echo "Setting up $(VENV) ..."
	@$(PIP) -q -e .
	@mv $(UNFINISHED) $@

# llama.cpp is compiled again where .venv came to a machine, or from a time, without what repairs the compiler here.
REPAIR := $(if $(filter-out help clean proof-gpu,$(MAKECMDGOALS)),$(if $(wildcard $(VENV)/run),\
	$(shell $(BIN)/python scripts/preflight.py repair)))

$(VENV)/run: $(VENV)/core $(REPAIR)
	@$(if $(filter run,$(MAKECMDGOALS)),$(eval REST := --after)$(BIN)/phibench quickstart --before)
	$(begin)
	@$(BIN)/python scripts/build_engine.py
	@echo "Installing the dashboard ..."
	@$(PIP) -q -e '.[llama-cpp,dashboard]'
	@mv $(UNFINISHED) $@

$(VENV)/test: $(VENV)/run
	$(begin)
	$(PIP) -e '.[$(ALL),test]'
	@mv $(UNFINISHED) $@

$(VENV)/lint: $(VENV)/test
	$(begin)
	$(PIP) -e '.[$(ALL),dev]'
	@mv $(UNFINISHED) $@

# Its .venv needs no engine. mkdocs-material tells of its successor at every start: asked to be silent.
$(VENV)/docs: $(VENV)/core
	$(begin)
	@$(PIP) -q -e '.[docs]'
	@mv $(UNFINISHED) $@

setup: $(VENV)/run

run: $(VENV)/run
	@$(BIN)/phibench quickstart $(REST) || case $$? in 3|5) ;; *) exit 1; esac  # 3: no Phi fits; 5: too busy to say

dashboard: $(VENV)/run
	@$(BIN)/phibench dashboard

test: $(VENV)/test
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

accuracy: $(VENV)/test
	$(BIN)/phibench calibrate --results $(GRID)/calibrations
	$(BIN)/python benchmarks/accuracy/grid.py $(GRID)/cells
	$(BIN)/python benchmarks/accuracy/score.py $(GRID)/cells --calibration $(GRID)/calibrations/*/*.json --json $(GRID)/score.json
	$(BIN)/python benchmarks/accuracy/datasheet.py --json > $(GRID)/datasheet.json
	$(BIN)/python benchmarks/accuracy/datasheet.py
	$(BIN)/python benchmarks/accuracy/plot.py $(GRID)/score.json $(GRID)/datasheet.json > docs/accuracy.svg

proof: $(VENV)/test
	@$(BIN)/python benchmarks/proof.py

proof-%: $(VENV)/test
	@$(BIN)/python benchmarks/proof.py $*

proof-gpu:  # needs no .venv: it runs on a bare machine
	@bash benchmarks/gpu_proof.sh

gpu-proof-deps: $(VENV)/run
	@$(BIN)/python benchmarks/gpu_deps.py

types: $(VENV)/run
	$(BIN)/python -m phibench.synth.gguf_types

answers: $(VENV)/test
	$(BIN)/python -m phibench.verify.selftest.answers

build: $(VENV)/test
	$(BIN)/python -m hatchling build

clean:
	rm -rf $(VENV) $(UNFINISHED) dist build site .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
