# The two commands: `make demo` shows it, `make test` proves it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

# Where Python writes no bytecode, every process would compile all of src and tests anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test types tests test-rest test-all bench docs clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e '.[test,postgresql]'
	touch $@

$(VENV)/installed-benchmark: $(VENV)/installed
	$(PIP) -e '.[benchmark]'
	touch $@

demo: $(VENV)/installed  ## train the 8×8 digits with Adam and with SGD, side by side
	$(BIN)/adamantine demo

test: $(VENV)/installed-test  ## ruff, mypy, and pytest without the tests marked slow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs 2 types tests

types:
	$(BIN)/mypy

tests:  # Triton decides as it is imported whether to compile or to interpret: two runs
	$(PYTEST)
	TRITON_INTERPRET=1 $(PYTEST) tests/interpreted

test-rest: $(VENV)/installed-test  ## what is marked slow: more rows, more kills, whole searches
	$(PYTEST) --only-slow
	TRITON_INTERPRET=1 $(PYTEST) --only-slow tests/interpreted

test-all: test test-rest  ## everything; CI runs these two

bench: $(VENV)/installed-benchmark  ## measure again what the README's tables say
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/installed  ## write docs/optimizers.md from the docstrings
	$(BIN)/python docs/generate.py

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) -e '.[docs]'
	touch $@

.PHONY: site
site: $(VENV)/installed-docs  ## the documentation as a website in build/site, offline
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -d build/doctrees docs build/site

clean:
	rm -rf $(VENV)
