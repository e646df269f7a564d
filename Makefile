# flipbench: `make` lists the targets. Everything runs in .venv, which is made on first use.

PYTHON  ?= python3
VENV    ?= .venv
# Where pip finds a PyTorch wheel of your choice, for example
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cu126     (empty: pip's own index)
TORCH_INDEX ?=
GRID    ?= label_flip
# 0: one worker a core
WORKERS ?= 0
DEVICE  ?=
RESULTS ?= results
# Real data for the tests (folders mnist/, fashion-mnist/, ham10000/); without it they are skipped with a reason.
FLIPBENCH_DATA ?= $(wildcard $(CURDIR)/../shared/data)
export FLIPBENCH_DATA

BIN   := $(VENV)/bin
PIP   := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
RUN   := $(BIN)/flipbench run $(GRID) --workers $(WORKERS) --results $(RESULTS) $(if $(DEVICE),--device $(DEVICE))
CORES := $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)')

# As `flipbench paper` lists them: up to an hour on one core, and more.
PAPERS      := foolsgold fang_2a vyas ham10000 peng vyas_mnist fang_2b_early
LONG_PAPERS := lolli_seeds yin_4 yin_2 lolli fang_2b tolpegin lfighter

# The import package as mypy and editors see it: they do not follow the import hook of an editable install.
LINKS := build/links/flipbench

.DEFAULT_GOAL := help
.PHONY: help install bench reference report paper paper-all test test-rest test-all package-test floors adapters check versions architecture dictionary speed numerics coverage torture clean

help: ## list the targets
	@echo "flipbench: which robust aggregator saves a federated model from label flips?"
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "variables: GRID=$(GRID) WORKERS=$(WORKERS) DEVICE=$(DEVICE) RESULTS=$(RESULTS) PYTHON=$(PYTHON) TORCH_INDEX=$(TORCH_INDEX)"

# Torch first and alone: from here pip can be pointed at a CPU or CUDA wheel without touching the rest.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

# ByzFL without torchvision, which it requires and its rules do not use.
$(VENV)/.installed-adapters: $(VENV)/.installed-test
	$(PIP) -e '.[flower]'
	$(PIP) --no-deps byzfl
	@touch $@

install: $(VENV)/.installed ## make .venv and install flipbench with the pinned dependencies

bench: $(VENV)/.installed ## run a grid and draw its tables and heatmaps (GRID= WORKERS= DEVICE= RESULTS=)
	$(RUN)

paper: $(VENV)/.installed ## reproduce the published tables that take minutes (WORKERS= RESULTS=)
	$(BIN)/flipbench paper $(PAPERS) --workers $(WORKERS) --results $(RESULTS)

paper-all: $(VENV)/.installed ## reproduce the others, which take hours
	$(BIN)/flipbench paper $(LONG_PAPERS) --workers $(WORKERS) --results $(RESULTS)

# The grids behind the committed tables, in results/reference; label_flip has more seeds and fractions. Their data: results/README.md.
REFERENCE := attacks worst_case tuned declared crossover fashion_mnist ham10000 ham10000_choice ham10000_study privacy tabular_clients text

reference: $(VENV)/.installed ## run the reference grids into results/reference (hours; for maintainers)
	$(BIN)/flipbench run label_flip --set 'seed=[0,1,2,3,4,5,6,7,8,9]' --set 'malicious_fraction=[0.1,0.2,0.3,0.4]' --workers $(WORKERS) --results results/reference
	@for grid in $(REFERENCE); do $(BIN)/flipbench run $$grid --workers $(WORKERS) --results results/reference || exit 1; done

report: $(VENV)/.installed ## draw the tables and heatmaps of GRID again
	$(BIN)/flipbench report $(RESULTS)/$(GRID)

# One process a core; idle ones take tests from busy ones.
TESTS := $(BIN)/python -m pytest -n $(CORES) --dist worksteal --ignore=tests/speed
# What a checkout needs is the rest (see the markers in pyproject.toml).
LONG  := process or browser or torture or notebook or slow or timing or package

test: $(VENV)/.installed-test ## run the tests that a checkout needs (about 5 minutes on two cores)
	$(TESTS) -m 'not ($(LONG))'

test-rest: $(VENV)/.installed-test ## run the other tests: processes, browser, notebook, whole reports, small torture, timing
	$(TESTS) -m '($(LONG)) and not (timing or package)'
	$(BIN)/python -m pytest -p no:xdist --ignore=tests/speed -m timing

test-all: test test-rest package-test ## run all tests

package-test: $(VENV)/.installed-test ## build wheel and sdist, install each in a clean environment and run it in a hostile folder
	$(BIN)/python -m pytest -p no:xdist -m package tests/packaging

floors: $(VENV)/.installed-test ## install the least versions that pyproject.toml allows, torch left out, and run the smoke grid
	$(BIN)/python -m tests.packaging.floors

adapters: $(VENV)/.installed-adapters ## install Flower and ByzFL into .venv and test the adapters with them
	$(BIN)/python -m pytest -p no:xdist -rs tests/plugins/test_adapters.py tests/integrations

check: $(VENV)/.installed-test ## lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf $(LINKS) && mkdir -p $(LINKS)
	@ln -s $(CURDIR)/bench/* $(CURDIR)/aggregators $(CURDIR)/attacks $(LINKS)
	$(BIN)/mypy

speed: $(VENV)/.installed-test ## run the benchmarks (one thread, about 15 minutes) and write RESULTS/speed/
	@mkdir -p $(RESULTS)/speed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/speed -p no:xdist --benchmark-only --benchmark-disable-gc --benchmark-json=$(RESULTS)/speed/federation.json -o timeout=900
	$(BIN)/python -m tests.speed.table $(RESULTS)/speed/federation.json | tee $(RESULTS)/speed/federation.md
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.speed.worker_memory $(RESULTS)/speed/worker_memory.md
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.speed.rules $(RESULTS)/speed/rules.json
	$(BIN)/python -m tests.speed.rule_table $(RESULTS)/speed/rules.json | tee $(RESULTS)/speed/rules.md

numerics: $(VENV)/.installed-test ## how often rules choose what float64 brute force chooses, and whom flame admits (about 30 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.numerics.flame_admission $(RESULTS)/numerics/flame_admission.csv
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.numerics.selection $(RESULTS)/numerics/selection.md

coverage: $(VENV)/.installed-test ## check intervals and tests by 10,000 simulations (minutes)
	$(BIN)/python -m tests.statistics.coverage

TORTURE_TESTS := tests/torture tests/execution tests/federation/test_checkpoint.py tests/spec tests/training/test_lockstep.py \
                 tests/store tests/report/test_report.py
TIMED := tests/torture/test_kills.py tests/torture/test_scale.py
TORTURE := FLIPBENCH_TORTURE=full FLIPBENCH_TORTURE_TABLE=$(RESULTS)/torture.md OMP_NUM_THREADS=1 $(BIN)/python -m pytest -o timeout=1500

# First what is timed, alone; then the rest, one test a core. The table has both.
torture: $(VENV)/.installed-test ## kill, tear and fuzz everything at full size (about 10 minutes); writes RESULTS/torture.md
	@rm -f $(RESULTS)/torture.md.json
	$(TORTURE) -p no:xdist $(TIMED); first=$$?; \
	  $(TORTURE) -n $(CORES) --dist worksteal $(TORTURE_TESTS) $(TIMED:%=--deselect=%) && exit $$first

versions: $(VENV)/.installed-test ## record changed source in the table of versions; raise what gives other numbers (RAISE=)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.versions.record $(RAISE)

dictionary: $(VENV)/.installed-test ## write docs/data_dictionary.md
	$(BIN)/python -m tests.report.write_dictionary

architecture: $(VENV)/.installed-test ## draw the imports between packages, in docs/architecture.md
	$(BIN)/python -m tests.docs.draw_architecture

clean: ## remove .venv, caches and build folders (results stay)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
