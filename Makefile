# make search   train a small supernet on handwritten digits and search it with PCF-ES on Ray
# make test     ruff, mypy, import-linter, the documentation and pytest
# make docs     build the documentation into site/, with warnings as errors
# make test-slow, make test-cluster   the longer tests; see CONTRIBUTING.md

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help search docs test test-slow test-cluster lint clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.installed: setup.cfg pyproject.toml | $(VENV)/.created
	$(BIN)/python -m pip install --progress-bar off --quiet -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --progress-bar off --quiet -e '.[test,docs]'
	@touch $@

search: $(VENV)/.installed
	$(BIN)/python experiments/digits_spos.py

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

test-cluster: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m cluster

clean:
	rm -rf build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
