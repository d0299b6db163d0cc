# make check   grades the worked solution of chapter 305, from nothing but Python 3.11+
# make test    runs every test; ruff and types are in .ci/run
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: check test lint clean

check: $(VENV)/.learner
	$(BIN)/dlgrade check ch305 --file solutions/ch305_loss_functions.py

test: $(VENV)/.tests
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dlgrade needs Python 3.11 or newer; run make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.learner: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.tests: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.learner

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[lint]'
	touch $@
