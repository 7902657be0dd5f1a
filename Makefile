# Every target sets up .venv by itself, from a bare clone. Another Python: make PYTHON=python3.13 test
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Distil the embedded Spanish data, start to end, in minutes
	$(BIN)/destilo demo

test: $(INSTALLED) ## Run all tests, the slow ones too
	$(BIN)/python -m pytest

check: $(INSTALLED) ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED) ## Measure the training loop and the length buckets (quality.py wants data)
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/length_buckets.py

clean: ## Remove caches and build products (.venv and runs stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and alone: resolved together with the rest, pip may pick a build with gigabytes
# of GPU libraries where the index offers a smaller one.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("destilo needs Python 3.11 or later, this is %d.%d. Name another: make PYTHON=python3.11 ..." % v[:2])'
	@echo "Setting up .venv (minutes, once)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -e ".[train,data,tracking,sweep,ray,dev]" -c constraints.txt
	@touch $@
