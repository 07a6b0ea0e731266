# make demo: the whole path on made-up images.  make test: every test.  make quick: those of seconds.
# make test-oldest: every test with the oldest versions that pyproject.toml allows, in a .venv-oldest of Python 3.11.
# make gpu: the tests that need an NVIDIA GPU, and three minutes of measuring; outputs/gpu/bench.json has both.
#   DATA=data.root=PATH measures on those images instead of made-up ones.
# make rented DATA=data.root=PATH: report B at its own size for MINUTES (30), most telling rows first; typed again, it goes on.
# make lint: style, and the order of the package's rooms.  Each makes .venv first.
# make test-faults: kills runs 200 times and compares what they come to; minutes.
# make test-statistics: simulates experiments and prints how often the page's intervals and verdicts err; minutes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# a file to a worker, in the order of tests/conftest.py
PYTEST := python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test quick test-oldest gpu rented test-faults test-statistics lint

demo: $(VENV)/installed
	$(BIN)/deepfake-lit demo

test: $(VENV)/installed
	$(BIN)/$(PYTEST) --durations=15

quick: $(VENV)/installed
	$(BIN)/$(PYTEST) -m "not slow"

test-oldest: .venv-oldest/installed
	.venv-oldest/bin/$(PYTEST)

gpu: $(VENV)/installed
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "make gpu needs an NVIDIA GPU, and torch finds none on this machine")'
	$(BIN)/$(PYTEST) -m cuda --junitxml=outputs/gpu/tests.xml; tests=$$?; $(BIN)/deepfake-lit bench gpu $(DATA) && exit $$tests

MINUTES ?= 30
OUTPUT ?= outputs
rented: $(VENV)/installed
	timeout --signal=TERM $(MINUTES)m $(BIN)/deepfake-lit reproduce report_b output_dir=$(OUTPUT) trainer.checkpoint_minutes=1 $(DATA); status=$$?; [ $$status = 0 -o $$status = 124 ]
	$(BIN)/deepfake-lit report output_dir=$(OUTPUT)

test-faults: $(VENV)/installed
	FAULTS=200 $(BIN)/python -m pytest -s tests/training/test_faults.py

test-statistics: $(VENV)/installed
	SIMULATIONS=1000 $(BIN)/python -m pytest -s tests/results

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	python3.11 -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --constraint constraints-oldest.txt --editable '.[dev]'
	touch $@
