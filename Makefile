# `make help` lists what there is. Everything runs in .venv; nothing is installed outside of it.

.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# pytest-xdist takes one process for each core.
PYTEST_OPTIONS ?= -n auto --dist worksteal

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Build .venv from the lock (uv where it can be had, else pip).

$(INSTALLED): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh deploy/install.sh "$(VENV)"
	@touch $@

.PHONY: demo
demo: install ## Show the main job: four photographs, redrawn, checked, ranked, on one sheet.
	@$(BIN)/kroma demo

.PHONY: up
up: install ## Start everything; Ctrl-C stops it.
	@exec $(BIN)/kroma up

.PHONY: test
test: install ## Run all tests.
	@$(BIN)/pytest $(PYTEST_OPTIONS)

.PHONY: check
check: install fmt-check lint types imports drift siege-short bench-smoke test ## Run everything that must pass; CI runs this.

.PHONY: fmt
fmt: install ## Format the code.
	@$(BIN)/ruff format .

.PHONY: fmt-check
fmt-check: install
	@$(BIN)/ruff format --check .

.PHONY: lint
lint: install ## Lint the code and spell its comments.
	@$(BIN)/ruff check .
	@$(BIN)/codespell

.PHONY: types
types: install ## Check the types.
	@$(BIN)/pyright

.PHONY: imports
imports: install ## Check which package imports which.
	@$(BIN)/lint-imports --no-cache

.PHONY: drift
drift: install ## Check that the migrations make what the models say.
	@$(BIN)/python -m kroma.migrations.drift

.PHONY: migrate
migrate: install ## Bring the database of KROMA_DATABASE_URL to the current schema.
	@$(BIN)/python -m kroma.migrations.run upgrade

.PHONY: openapi
openapi: install ## Write docs/openapi.json anew.
	@$(BIN)/python -m kroma_api.export_openapi > docs/openapi.json

.PHONY: dist
dist: install ## Build wheel and source archive into dist/, without a network.
	@$(BIN)/python -m hatchling build

LOCK = $(or $(shell command -v uv),$(BIN)/uv) pip compile --quiet --generate-hashes --no-header --no-annotate

.PHONY: lock
lock: install ## Pin what pyproject.toml asks for, in all locks; needs uv (UPGRADE=--upgrade: newer versions).
	@$(LOCK) $(UPGRADE) --universal --python-version 3.11 --all-extras --group dev pyproject.toml \
		--output-file requirements.lock
	@$(LOCK) --python-version 3.12 --constraints requirements.lock pyproject.toml \
		--output-file deploy/requirements.lock
	@echo hatchling | $(LOCK) --python-version 3.12 --constraints requirements.lock - \
		--output-file deploy/build.lock

.PHONY: fuzz
fuzz: install ## Try every route of a running stack with 200 generated requests.
	@KROMA_FUZZ_EXAMPLES=200 $(BIN)/pytest $(PYTEST_OPTIONS) tests/e2e/fuzz.py

.PHONY: chaos
chaos: install ## Kill what can be killed under load and check what is left (CHAOS_RUNS, CHAOS_SEED).
	@PYTHONPATH=tests $(BIN)/python -m chaos

.PHONY: siege
siege: install ## Attack the running stack and name the rules that break (SIEGE=short, SIEGE_SEED).
	@PYTHONPATH=tests $(BIN)/python -m siege

.PHONY: siege-short
siege-short: install
	@SIEGE=short PYTHONPATH=tests $(BIN)/python -m siege

.PHONY: compose-test
compose-test: install ## Prove docker-compose.yml on the Docker engine that DOCKER_HOST or the default names.
	@PYTHONPATH=tests $(BIN)/python deploy/compose_test.py

.PHONY: bench
bench: install ## Measure, each figure beside a raw primitive; rewrites docs/benchmarks.md (BENCHES: these alone).
	@$(BIN)/python bench/report.py $(BENCHES)

.PHONY: bench-smoke
bench-smoke: install ## Show that every bench still works; measures and writes nothing.
	@$(BIN)/python bench/report.py --smoke
