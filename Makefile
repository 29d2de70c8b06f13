# AutoVoice. `make demo` and `make test` set up all they need: system packages, a virtual environment, pinned packages.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
export PYTHON
MAKEFLAGS += --no-print-directory --no-builtin-rules

VENV := .venv
PYTHON_IN := $(VENV)/bin/python
PIP := $(PYTHON_IN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
FLOORS := dsp models rt tools
ARGS ?=

.PHONY: help demo test bench lint format clean system-demo system-test FORCE

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: system-demo $(VENV)/.demo ## set up, then play a real voice live through the demo chain; leaves demo/
	@$(VENV)/bin/autovoice demo $(ARGS)

# Tests without a clock, an engine or a server in them: they may run side by side. The first is a load test, and they are its load.
# The others play in real time and mostly wait for it: two files at a time, the longest first.
OFFLINE := tests/tools/test_lab_hogged.py tests/dsp tests/models tests/test_docs.py tests/test_deploy.py \
	$(addprefix tests/rt/test_,block_cuts.py memory_and_spread.py presets.py ring_model.py static_gate.py take_logs.py) \
	$(addprefix tests/tools/test_,cli_analyse.py cli_render.py cli_voices.py lab_compare.py lab_latency_delay.py lab_page.py quality.py quality_report.py quality_trials.py train_denoise.py)
ONLINE := tests/tools $(filter-out tests/tools $(OFFLINE),$(sort $(patsubst %/,%,$(dir $(wildcard tests/*/test_*.py))) $(wildcard tests/test_*.py)))

test: system-test $(VENV)/.test ## set up, then run all tests with coverage; ARGS="-k ring --no-cov" for some
ifeq ($(strip $(ARGS)),)
	@.ci/tests --cov --cov-report= --cov-fail-under=0 --numprocesses 3 --dist worksteal $(OFFLINE)
	@.ci/tests --cov --cov-append --numprocesses 2 --dist loadfile --no-loadscope-reorder \
		$(addprefix --ignore=,$(OFFLINE)) $(ONLINE)
else
	@$(PYTHON_IN) -m pytest --cov $(ARGS)
endif

bench: system-demo $(VENV)/.bench ## set up with the peers to compare with, then measure, in minutes; ARGS="-m long" for hours
	@$(PYTHON_IN) -m pytest benchmarks -q -m "not long" -o faulthandler_timeout=0 $(ARGS)

lint: $(VENV)/.test ## style, types, and imports that only go down
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(VENV)/.test ## rewrite the sources in the house's style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

clean: ## remove what the commands above made here
	@rm -rf $(VENV) build demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks .coverage .coverage.*
	@find $(FLOORS) tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

system-demo system-test: system-%:
	@.ci/system-packages $*

$(PYTHON_IN): | system-demo
	@python=$$(.ci/find-python) || { echo "autovoice: no Python 3.11 to 3.13 found; name one with make PYTHON=..."; exit 1; }; \
	echo "autovoice: virtual environment in $(VENV), $$($$python --version)"; \
	$$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The list of modules: an editable install in strict mode links files one by one, so a new file needs a new install.
$(VENV)/.files: FORCE | $(PYTHON_IN)
	@find $(FLOORS) -regextype posix-extended -regex '.*\.(py|toml|safetensors|html|css|js|svg|json|j2|typed)' | sort >$@.now
	@cmp -s $@.now $@ && rm $@.now || mv $@.now $@

$(VENV)/.demo: EXTRAS := demo
$(VENV)/.test: EXTRAS := demo,dev
$(VENV)/.bench: EXTRAS := demo,bench,web
$(VENV)/.demo $(VENV)/.test $(VENV)/.bench: pyproject.toml constraints.txt $(VENV)/.files
	@echo "autovoice: Python packages ($(EXTRAS))"
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --config-settings editable_mode=strict --editable '.[$(EXTRAS)]'
	@touch $@
