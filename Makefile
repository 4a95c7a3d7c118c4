# What a person runs here. `make help` lists it. Needs make, Python ≥ 3.11 and a package registry.

.DEFAULT_GOAL := help
.PHONY: help install demo test drill check bench image clean sql
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# One more than there are processors: a test waits a third of its time, for a server or a process.
JOBS ?= $(shell expr $$(nproc 2>/dev/null || echo 1) + 1)
# The first of these that is new enough and can make a venv; `make PYTHON=/path/to/python` decides otherwise.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= ipam-ledger:$(VERSION)
BUILDER ?= $(shell command -v podman || command -v docker)

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

install: $(BIN)/.dev ## set up .venv with everything for work on the project

demo: $(BIN)/.runtime ## run the main job on the embedded ledger, and show it
	$(BIN)/python docs/demo.py

test: $(BIN)/.dev ## run the tests (ARGS="-k name" for some)
	$(BIN)/pytest -n $(JOBS) --maxprocesses 8 --dist loadgroup $(ARGS)

drill: $(BIN)/.dev ## lose databases, change bytes, restore; told as a story
	$(BIN)/pytest -n 0 -q -rs -s tests/drills $(ARGS)

check: $(BIN)/.dev ## format, lint, types, import law, spelling, dependencies, migrations' SQL
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/deptry .
	$(MAKE) sql

# Every migration as the SQL that PostgreSQL gets, read for statements that lock or break a live database.
sql: $(BIN)/.dev
	@mkdir -p build
	$(BIN)/python -c 'from ledger.migrate import upgrade_sql; print(upgrade_sql())' > build/migrations.sql
	$(BIN)/squawk build/migrations.sql

bench: $(BIN)/.dev ## measure, beside the floors of this machine (ARGS=--quick: without what takes minutes)
	$(BIN)/python -m bench $(ARGS)

image: ## build the image of deploy/ (IMAGE=registry/name:tag, ARGS="--build-arg BASE=…")
	@test -n "$(BUILDER)" || { echo "An image is built by podman or docker, and neither was found in PATH." \
		"Install one (Debian, Ubuntu: apt-get install podman), or name it: make image BUILDER=/path/to/podman" >&2; exit 1; }
	$(BUILDER) build -f deploy/Containerfile -t $(IMAGE) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null) $(ARGS) .

clean: ## remove what make made
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: written when the step went well, so that a second run is quick.
$(BIN)/.python:
	@test -n "$(PYTHON)" || { echo "ipam-ledger needs Python 3.11 or newer with its venv module, and none was found in PATH." \
		"Install one (Debian, Ubuntu: apt-get install python3-venv), or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' # older ones know no dependency groups
	@touch $@

$(BIN)/.runtime: pyproject.toml constraints.txt | $(BIN)/.python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(BIN)/.dev: pyproject.toml constraints.txt | $(BIN)/.python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e . --group dev
	@touch $(BIN)/.runtime $@
