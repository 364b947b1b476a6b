# `make help` lists the targets. Everything runs in .venv; nothing is installed outside of it.

.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One test process per core.
PYTEST_OPTIONS ?= -n auto --dist worksteal

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# With it, every test process and every program that a test starts would compile its modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Build .venv from the lock, with uv if available, else pip.

$(INSTALLED): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh deploy/install.sh "$(VENV)"
	@touch $@

.PHONY: demo
demo: install ## Redraw, check and rank four photographs, and write one contact sheet.
	@$(BIN)/kroma demo

.PHONY: up
up: install ## Start the whole stack; Ctrl-C stops it.
	@exec $(BIN)/kroma up

.PHONY: test
test: install ## Run all tests.
	@$(BIN)/pytest $(PYTEST_OPTIONS)

.PHONY: check
check: install fmt-check lint types imports drift siege-short bench-smoke test ## Run all checks, as CI does.

.PHONY: fmt
fmt: install ## Format the code.
	@$(BIN)/ruff format .

.PHONY: fmt-check
fmt-check: install
	@$(BIN)/ruff format --check .

.PHONY: lint
lint: install ## Lint the code and check its spelling.
	@$(BIN)/ruff check .
	@$(BIN)/codespell

.PHONY: types
types: install ## Check types with pyright.
	@$(BIN)/pyright

.PHONY: imports
imports: install ## Check that packages import downward only.
	@$(BIN)/lint-imports --no-cache

.PHONY: drift
drift: install ## Check that migrations match the models, and docs/architecture.md the import contracts.
	@$(BIN)/python -m kroma.migrations.drift
	@$(BIN)/python docs/draw_layers.py --check

.PHONY: migrate
migrate: install ## Migrate the database of KROMA_DATABASE_URL to the current schema.
	@$(BIN)/python -m kroma.migrations.run upgrade

.PHONY: docs
docs: install ## Redraw the layers in docs/architecture.md from the import contracts.
	@$(BIN)/python docs/draw_layers.py

.PHONY: openapi
openapi: install ## Regenerate docs/openapi.json.
	@$(BIN)/python -m kroma_api.export_openapi > docs/openapi.json

.PHONY: dist
dist: install ## Build wheel and source archive into dist/, offline.
	@$(BIN)/python -m hatchling build

LOCK = $(or $(shell command -v uv),$(BIN)/uv) pip compile --quiet --generate-hashes --no-header --no-annotate

.PHONY: lock
lock: install ## Update the three lock files from pyproject.toml, with uv (UPGRADE=--upgrade for newer versions).
	@$(LOCK) $(UPGRADE) --universal --python-version 3.11 --all-extras --group dev pyproject.toml \
		--output-file requirements.lock
	@$(LOCK) --python-version 3.12 --constraints requirements.lock pyproject.toml \
		--output-file deploy/requirements.lock
	@echo hatchling | $(LOCK) --python-version 3.12 --constraints requirements.lock - \
		--output-file deploy/build.lock

.PHONY: fuzz
fuzz: install ## Send 200 generated requests to every route of a running stack.
	@KROMA_FUZZ_EXAMPLES=200 $(BIN)/pytest $(PYTEST_OPTIONS) tests/e2e/fuzz.py

.PHONY: chaos
chaos: install ## Kill every part of a stack under load and verify the result (CHAOS_RUNS, CHAOS_SEED).
	@PYTHONPATH=tests $(BIN)/python -m chaos

.PHONY: siege
siege: install ## Attack a running stack and list the violated rules (SIEGE=short, SIEGE_SEED).
	@PYTHONPATH=tests $(BIN)/python -m siege

.PHONY: siege-short
siege-short: install
	@SIEGE=short PYTHONPATH=tests $(BIN)/python -m siege

.PHONY: compose-test
compose-test: install ## Test docker-compose.yml on the Docker engine of DOCKER_HOST, or the default one.
	@PYTHONPATH=tests $(BIN)/python deploy/compose_test.py

.PHONY: bench
bench: install ## Run the benchmarks and rewrite docs/benchmarks.md (BENCHES selects some).
	@PYTHONPATH=tests $(BIN)/python bench/report.py $(BENCHES)

.PHONY: bench-smoke
bench-smoke: install ## Run every benchmark briefly, without measuring or writing.
	@PYTHONPATH=tests $(BIN)/python bench/report.py --smoke
