# Every target makes its own virtual environment on first use; nothing else is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo lint check test test-hostile test-reliability golden-against bench docs clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

# The constraints pin what is tested; the stamps make a second call free.
$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $(VENV)/.run $@

demo: $(VENV)/.run   ## train on real handwritten digits; ends with the path of the report
	$(BIN)/lehr train digits

lint: $(VENV)/.dev   ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

check: lint          ## format, lint, types, and the fast tests
	$(BIN)/pytest -n auto -m "not slow"

test: $(VENV)/.dev   ## every test, spread over the cores; one of them builds the site
	$(BIN)/pytest -n auto

test-hostile: $(VENV)/.dev      ## some tests in a world that is against them: no home, no terminal, deaf to Ctrl-C …
	$(BIN)/python tests/hostile.py

test-reliability: $(VENV)/.dev  ## kills, damages, resumes and chains of them, ten times as many
	LEHR_NIGHTLY=1 $(BIN)/pytest -n auto tests/reliability

golden-against: $(VENV)/.dev    ## whether the code trains as at commit REV (HEAD by default), to the last bit
	$(BIN)/python bench/golden.py $(REV)

bench: $(VENV)/.dev  ## speed, import time, accuracy, find_lr, the lesson; writes bench/results/ (two hours)
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/import_time.py
	$(BIN)/python bench/accuracy.py
	$(BIN)/python bench/find_lr.py
	$(BIN)/python bench/lesson.py
	$(BIN)/python bench/initialisation.py

docs: $(VENV)/.dev   ## run every Python block of README and docs; build the site into build/site
	$(BIN)/pytest tests/test_docs.py
	$(BIN)/sphinx-build -q -W --keep-going docs build/site

clean:           ## remove the virtual environment and build leftovers
	rm -rf $(VENV) build dist src/*.egg-info
