.DEFAULT_GOAL := help
.PHONY: help setup demo test conformance quick lint style types layers spelling format wheel screenshots docs bench clean

export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
BIN := .venv/bin
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
# A name, and the misspellings that tests use.
MEANT := bellweather,schedul,selekt,tabel

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.setup  ## make .venv, with everything that tests and linters need

demo: .venv/.installed  ## run the whole system on this machine, with contracts that keep changing
	@$(BIN)/cdc-sync demo

test: .venv/.setup  ## run every test, on real databases
	$(BIN)/pytest -n 4 --durations=15

conformance: .venv/.setup  ## try a database: make conformance SOURCE_URL=…, with an empty schema of its own
	@CDC_SYNC_TEST_SOURCE_URL="$$SOURCE_URL" $(BIN)/python -m tests.support.conformance

quick: .venv/.setup  ## run the pure tests only, in seconds
	$(BIN)/pytest -m quick

lint: style types layers spelling  ## run ruff, mypy, the layers' check and the spell checker

style: .venv/.setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.setup
	$(BIN)/mypy

layers: .venv/.setup
	$(BIN)/lint-imports

spelling: .venv/.setup
	$(BIN)/codespell --ignore-words-list=$(MEANT)

format: .venv/.setup  ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheel: .venv/.setup  ## build sdist and wheel in dist/, and try the wheel in an environment of its own
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && wheel=$$(ls "$$PWD"/dist/*.whl) && \
	$(BIN)/python -m venv "$$folder/venv" && "$$folder/venv/bin/pip" install --quiet "$$wheel" && \
	cd "$$folder" && venv/bin/cdc-sync demo --seconds 5 && \
	venv/bin/cdc-sync service install --dry-run 2>/dev/null | grep ExecStart=

screenshots: .venv/.setup  ## take pictures of every view of the status page, into docs/
	$(BIN)/python -m tests.web.screenshots

bench: .venv/.setup  ## measure timings on this machine; no test depends on them
	@for bench in $(sort $(wildcard bench/*.py)); do echo "$$bench"; $(BIN)/python "$$bench" || exit 1; done

docs: .venv/.setup  ## write the generated parts of docs/
	$(BIN)/python -m docs.generate

clean:  ## remove everything that was made, .venv too
	rm -rf .venv build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.setup: tests/requirements.txt pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --no-deps --requirement tests/requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch .venv/.setup .venv/.installed

.venv/.installed: pyproject.toml | $(BIN)/pip
	@echo "Installing cdc-sync into .venv: once, and in about a minute."
	@$(BIN)/pip install --quiet --editable .
	@touch .venv/.installed

$(BIN)/pip:
	@for python in $(PYTHONS); do \
	  "$$python" -c '$(RECENT)' 2>/dev/null && { found=$$python; break; }; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "cdc-sync needs Python 3.11 or newer; here is $$(python3 --version 2>/dev/null || echo none)."; \
	  echo "Install one beside it, for example: apt-get install python3.11 python3.11-venv"; exit 1; \
	fi; \
	"$$found" -m venv --clear .venv || { rm -rf .venv; \
	  echo "$$("$$found" --version) comes without venv here. On Debian: apt-get install python3-venv"; exit 1; }
