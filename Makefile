# The two commands: `make demo` shows it, `make test` proves it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test types tests test-all bench docs clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e '.[test]'
	touch $@

$(VENV)/installed-benchmark: $(VENV)/installed
	$(PIP) -e '.[benchmark]'
	touch $@

demo: $(VENV)/installed  ## train the 8×8 digits with Adam and with SGD, side by side
	$(BIN)/adamantine demo

test: $(VENV)/installed-test  ## everything CI runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs 2 types tests

types:
	$(BIN)/mypy

tests:
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-all: $(VENV)/installed-test  ## the slow tests as well: more kills, whole searches, benchmarks
	$(BIN)/python -m pytest -n 3 --dist worksteal --slow

bench: $(VENV)/installed-benchmark  ## measure again what the README's tables say
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/installed  ## write docs/optimizers.md from the docstrings
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV)
