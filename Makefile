# Every target makes its own virtual environment on first use; nothing else is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo check test bench docs clean

help:            ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

# The constraints pin what is tested; the stamps make a second call free.
$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.run   ## train on real handwritten digits; ends with the path of the report
	$(BIN)/lehr train digits

check: $(VENV)/.dev  ## format, lint, types, architecture, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pytest -m "not slow"

test: $(VENV)/.dev   ## everything
	$(BIN)/pytest

bench: $(VENV)/.dev  ## speed, import time, accuracy, find_lr, the lesson; writes bench/results/ (two hours)
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/import_time.py
	$(BIN)/python bench/accuracy.py
	$(BIN)/python bench/find_lr.py
	$(BIN)/python bench/lesson.py
	$(BIN)/python bench/initialisation.py

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

docs: $(VENV)/.docs  ## run every Python block of README and docs; build the site into build/site
	$(BIN)/pytest tests/test_docs.py
	$(BIN)/sphinx-build -q -W --keep-going docs build/site

clean:           ## remove the virtual environment and build leftovers
	rm -rf $(VENV) build dist src/*.egg-info
