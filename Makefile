# Everything a person or CI runs. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen --no-sync

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready: pyproject.toml worker/pyproject.toml operator/pyproject.toml uv.lock
	@command -v uv >/dev/null || [ -x .tools/bin/uv ] || { python3 -m venv .tools && .tools/bin/pip install --quiet uv==0.13.9; }
	$(UV) sync --frozen --quiet
	@touch $@

.PHONY: setup
setup: .venv/.ready ## install uv (if missing) and the locked Python environment

.PHONY: lint
lint: setup ## format check, lint, import directions
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) lint-imports

.PHONY: format
format: setup ## format and fix what can be fixed
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

.PHONY: types
types: setup ## mypy --strict
	$(RUN) mypy

.PHONY: unit
unit: setup ## unit and property tests, no server needed
	$(RUN) pytest tests/unit
