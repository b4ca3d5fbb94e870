# The two commands of a newcomer are `make demo` and `make test`; `make help` lists the rest.
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint typecheck results docs rtl area cycles activity toper learning study fuzz mutate clean check-tools

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_FLAGS ?= -n 2
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := golden rtl sim host boards study bench tests tangente

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A tool that is missing is named, with the Debian package that brings it, before anything else.
check-tools:
	@missing=""; \
	for pair in "$(PYTHON):python3" "g++:g++" "make:make" "perl:perl"; do \
	    command -v "$${pair%%:*}" >/dev/null 2>&1 || { \
	        echo "make: $${pair%%:*} is missing; Debian's package $${pair##*:} brings it" >&2; \
	        missing="$$missing $${pair##*:}"; }; \
	done; \
	if [ -n "$$missing" ]; then echo "make: try: sudo apt-get install$$missing" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "make: Python 3.10 or later is needed, and $(PYTHON) is" \
	        "$$($(PYTHON) -V 2>&1); try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: $(PYTHON) cannot make virtual environments; Debian's package python3-venv" \
	        "brings it; try: sudo apt-get install python3-venv" >&2; exit 1; }

# The stamps keep a second `make` from asking the network anything.
$(VENV)/stamp-run: pyproject.toml constraints.txt | check-tools
	@echo "make: setting up $(VENV) (once; about a minute)"
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/stamp-dev: $(VENV)/stamp-run
	@echo "make: adding the tools of the tests to $(VENV) (once)"
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

setup: check-tools $(VENV)/stamp-run ## make .venv with the command `tangente`
	@echo "make: $(BIN)/tangente is ready; try: $(BIN)/tangente --help"

demo: check-tools $(VENV)/stamp-run ## train on the simulated RTL and compare every bit
	@mkdir -p build
	$(BIN)/tangente demo --json build/demo.json

test: lint typecheck ## the whole suite, after lint and typecheck
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: check-tools $(VENV)/stamp-dev ## ruff over every folder
	$(BIN)/ruff check $(SOURCES)

# The folders lie at the top level; as one installed namespace they are what mypy can check.
typecheck: check-tools $(VENV)/stamp-dev ## mypy over the packages as they are installed
	@rm -rf build/typecheck && mkdir -p build/typecheck/tangente
	@ln -s ../../../tangente/__init__.py ../../../tangente/py.typed build/typecheck/tangente/
	@for folder in golden rtl sim host boards study bench; do \
	    ln -s ../../../$$folder build/typecheck/tangente/$$folder; done
	$(BIN)/mypy

results: check-tools $(VENV)/stamp-run ## train every recipe anew: docs/results.md and README's table
	$(BIN)/tangente results

docs: check-tools $(VENV)/stamp-run ## docs/isa.md and docs/registers.md from golden/
	$(BIN)/tangente isa --write docs

rtl: check-tools $(VENV)/stamp-run ## train on the simulated RTL against golden: docs/rtl.md (an hour)
	$(BIN)/python -m tangente.bench.rtl

area: check-tools $(VENV)/stamp-dev ## area and paths of every block by Yosys: docs/area.json (a quarter hour)
	$(BIN)/tangente synth --preset pynq_z2 --write docs

cycles: check-tools $(VENV)/stamp-run ## cycles a sample of each program after an epoch: docs/cycles.md (minutes)
	$(BIN)/python -m tangente.bench.cycles

activity: check-tools $(VENV)/stamp-run ## who works when, by the RTL's counters: docs/activity.md (minutes)
	$(BIN)/python -m tangente.bench.activity

toper: check-tools $(VENV)/stamp-dev ## the toper and its relatives measured: docs/toper.md (minutes)
	$(BIN)/python -m tangente.bench.toper

learning: check-tools $(VENV)/stamp-dev ## banks, rules, lazy offers, skipping: docs/learning.md (half an hour)
	$(BIN)/python -m tangente.bench.learning

study: check-tools $(VENV)/stamp-dev ## the workshop's experiments: docs/workshop.md, docs/cost.md (a quarter hour)
	$(BIN)/tangente study workshop --seeds 30 --write docs
	$(BIN)/tangente study cost --write docs
	$(BIN)/tangente study figures --out docs
	$(BIN)/python -m tangente.bench.ladder --write docs
	$(BIN)/python -m tangente.bench.bound --write docs

fuzz: check-tools $(VENV)/stamp-run ## 100,000 random programs on the RTL against golden (half an hour)
	$(BIN)/python -m tangente.bench.fuzz

mutate: check-tools $(VENV)/stamp-dev ## mutants of toper, array and lane unit: docs/mutation.md (minutes)
	$(BIN)/python -m tangente.bench.mutate

clean: ## remove .venv, build/ and caches
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
