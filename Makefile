# One command each, from a fresh checkout with Python 3.11 or newer and nothing else:
#   make demo      separate a demonstration mixture with the starter model; writes demo/
#   make studio    the web page on this machine, until Ctrl-C
#   make test      the quick tests (CPU, offline)
#   make check     format, lint, types
#   make test-all  the slow tests as well; what CI runs
#   make bench     speed and memory on this machine; writes benchmarks/results/speed.json
# The virtual environment is made on first use and brought up to date when pyproject.toml or constraints.txt change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
MODEL  ?= starter

# Two threads: what the numbers in the README were measured with, and kind to a shared machine.
export OMP_NUM_THREADS ?= 2

.PHONY: demo studio test test-all check format bench clean

demo: $(VENV)/.installed-demo
	$(BIN)/soundsieve demo --model $(MODEL) --output demo

studio: $(VENV)/.installed-studio
	$(BIN)/soundsieve studio --model $(MODEL)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow and not gpu and not network"

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not gpu and not network"

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/speed.py --model $(MODEL) --output benchmarks/results/speed.json
	$(BIN)/python benchmarks/loader.py --output benchmarks/results/loader.json
	$(BIN)/python benchmarks/studio.py --model $(MODEL) --output benchmarks/results/studio.json

clean:
	rm -rf $(VENV) demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[demo]"
	touch $@

$(VENV)/.installed-studio: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[studio]"
	touch $@

# What the tests need includes what the demonstration and the studio need.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@$(BIN)/python -m pip install --quiet -c constraints.txt pesq 2>/dev/null \
		|| echo "no pesq: it is built by a C compiler; its tests are skipped"
	touch $(VENV)/.installed-demo $(VENV)/.installed-studio $@
