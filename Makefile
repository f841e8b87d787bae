# Every target makes its own virtual environment on first use; nothing else is needed.
PYTHON  ?= python3
INSTALL := pip install --quiet --disable-pip-version-check $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)
VENV    := .venv
BIN     := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo lint check test test-fast test-hostile test-reliability test-gpu test-clients test-pythons test-python test-lowest golden-against bench bench-gpu docs clean

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

# The constraints pin the tested versions. Python compiles a module when it is first imported, if it may keep that; else pip compiles all now. The stamp files .run and .dev say what is installed, so a second call does nothing.
$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv --upgrade-deps $(VENV)
	$(BIN)/$(INSTALL) -c constraints.txt -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv --upgrade-deps $(VENV)
	$(BIN)/$(INSTALL) -c constraints.txt -e '.[dev,docs]'
	touch $(VENV)/.run $@

# Environments of other Pythons: one that is there already is taken, whichever interpreter made it.
PYTHON_VERSION ?= 3.12
.venv-%/.dev: pyproject.toml constraints.txt
	test -x .venv-$*/bin/python || python$* -m venv .venv-$*
	.venv-$*/bin/$(INSTALL) -c constraints.txt -e '.[dev,docs]'
	touch $@

.venv-lowest/.dev: pyproject.toml constraints-lowest.txt
	test -x .venv-lowest/bin/python || python3.11 -m venv .venv-lowest
	.venv-lowest/bin/$(INSTALL) -c constraints-lowest.txt -e '.[dev]'
	touch $@

.venv-clients/.dev: pyproject.toml constraints.txt
	test -x .venv-clients/bin/python || $(PYTHON) -m venv .venv-clients
	.venv-clients/bin/$(INSTALL) -c constraints.txt -e '.[dev,clients]'
	.venv-clients/bin/$(INSTALL) --no-deps timm==1.0.31  # its torchvision is built for CUDA's torch
	touch $@

demo: $(VENV)/.run   ## train on real handwritten digits; ends with the path of the report
	$(BIN)/lehr train digits

lint: $(VENV)/.dev   ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# Beside `test`, which runs them all, `check` has no need to run the fast ones.
check: lint $(if $(filter test,$(MAKECMDGOALS)),test,test-fast)  ## format, lint, types, and the fast tests (architecture is among them)

test: $(VENV)/.dev              ## every test, spread over the cores; who is done takes work from who is not
	$(BIN)/pytest -n auto --dist worksteal

test-fast: $(VENV)/.dev         ## the tests that take less than a second
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

test-hostile: $(VENV)/.dev      ## some tests in unusual surroundings: no home folder, no terminal, Ctrl-C ignored …
	$(BIN)/python tests/hostile.py

# The files whose tests do more where LEHR_NIGHTLY=1.
LARGE = $$(grep -rlE 'tier import|mark\.large|import figures|figures import Tally' tests --include='test_*.py')

test-reliability: $(VENV)/.dev  ## what the other tests hold with a few cases, with many more: faults, killed, damaged and resumed runs, several processes, papers; writes bench/results/
	LEHR_NIGHTLY=1 $(BIN)/pytest -n auto --dist loadfile --timeout 0 $(LARGE)
	$(BIN)/python docs/promises.py

test-gpu: $(VENV)/.dev         ## the tests of runs on an accelerator; without one, of the same runs on the CPU
	$(BIN)/pytest -m gpu

test-clients: .venv-clients/.dev  ## logs of services; scikit-learn; Optuna; ONNX; models, losses, data, optimizers and metrics of other packages; writes docs/works-with.md
	.venv-clients/bin/pytest tests/callbacks/log tests/contract -k "tensorboard or TensorBoard or wandb or mlflow"
	.venv-clients/bin/pytest tests/test_sklearn.py tests/callbacks/decide/test_optuna_pruning.py tests/test_export.py tests/cli/test_export.py tests/models/test_from_timm.py tests/models/test_from_transformers.py "tests/test_docs.py::test_blocks_run[docs/with-others.md]" "tests/test_docs.py::test_blocks_run[docs/tasks/logging.md]" "tests/test_docs.py::test_blocks_run[docs/coming-from/skorch.md]"
	.venv-clients/bin/python -m tests.clients.table

test-pythons:    ## the fast tests on Python 3.12 and 3.13, whichever is there (downloads torch for each)
	@for version in 3.12 3.13; do \
	  if [ -x .venv-$$version/bin/python ] || python$$version -c '' 2>/dev/null; \
	  then $(MAKE) test-python PYTHON_VERSION=$$version || exit 1; \
	  else echo "there is no python$$version"; fi; \
	done

test-python: .venv-$(PYTHON_VERSION)/.dev   ## the fast tests on the Python of PYTHON_VERSION
	.venv-$(PYTHON_VERSION)/bin/pytest -n auto -m "not slow"

test-lowest: .venv-lowest/.dev   ## the fast tests with the lowest versions that pyproject.toml allows
	.venv-lowest/bin/pytest -n auto -m "not slow"

golden-against: $(VENV)/.dev    ## check that the code trains bit for bit as at commit REV (HEAD by default)
	$(BIN)/python bench/golden.py $(REV)

bench: $(VENV)/.dev  ## speed, alone and beside other libraries, of larger models, many steps and data, import time, cost of checkpoints, accuracy, find_lr, the lesson; writes bench/results/ and docs/speed.md (three hours)
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/fused.py
	$(BIN)/python bench/larger_models.py
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/data_path.py
	$(BIN)/python bench/peers.py --share
	$(BIN)/python bench/import_time.py
	$(BIN)/python bench/checkpoint_cost.py
	$(BIN)/python bench/accuracy.py
	$(BIN)/python bench/find_lr.py
	$(BIN)/python bench/lesson.py
	$(BIN)/python bench/initialisation.py
	$(BIN)/python docs/speed.py

bench-gpu: $(VENV)/.dev  ## speed on a GPU, and CIFAR-10 to 94 %; writes bench/results/ and docs/speed.md (a quarter of an hour)
	$(BIN)/python bench/gpu.py
	$(BIN)/python bench/cifar_speedrun.py
	$(BIN)/python docs/speed.py

docs: $(VENV)/.dev   ## run every Python block of README and docs; build the site into build/site
	$(BIN)/pytest tests/test_docs.py
	$(BIN)/sphinx-build -q -W --keep-going docs build/site

clean:           ## remove the virtual environments and build leftovers
	rm -rf $(VENV) .venv-* build dist src/*.egg-info
