# make demo: the whole path on made-up images.  make test: the tests.  Both make .venv first.
# make test-faults: kills runs 200 times and compares what they come to; minutes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-faults lint

demo: $(VENV)/installed
	$(BIN)/deepfake-lit demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-faults: $(VENV)/installed
	FAULTS=200 $(BIN)/python -m pytest -s tests/training/test_faults.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@
