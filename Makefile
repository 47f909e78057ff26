# make run      set up and start a gateway to try (SQLite in ./data; the demo upstream unless a provider key is set)
# make install  set up only
# make test     set up with the developers' tools and pass the gate
# make bench    print what a call costs
# make soak     send mixed traffic under faults, MINUTES=10 on each database, and hold the ledger against it
# make lock     write requirements*.txt anew from pyproject.toml
# make clean    remove what these made (never ./data)
#
# PYTHON=/path/to/python3 chooses the interpreter (3.11 or newer) that .venv is made with.
# WORKERS=4 runs the tests in so many processes; `.venv/bin/python -m pytest tests/core` runs some of them in one.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# No host is named in a lock: it must be as good behind a mirror as in front of one.
LOCK := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe \
	--strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
WORKERS ?= 2

.PHONY: run install test bench soak lock clean

run: install
	@exec $(BIN)/gateway quickstart

install: $(VENV)/.installed

test: $(VENV)/.developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/python .ci/postgres.py
	$(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist worksteal

bench: $(VENV)/.developer
	@exec $(BIN)/python -m bench

soak: $(VENV)/.developer
	@exec $(BIN)/python -m tests.proof.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

lock: $(VENV)/.developer
	$(LOCK) --only-build-deps --build-deps-for editable --output-file requirements-build.txt pyproject.toml
	$(LOCK) --output-file requirements.txt pyproject.toml
	$(LOCK) --extra dev --constraint requirements.txt --constraint requirements-build.txt \
		--output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache

# Each stamp is as old as the last install of what it depends on, so a second run installs nothing.

$(BIN)/python:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$("$$python" --version)"; \
			exec "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo "No Python 3.11 or newer was found. Install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	exit 1

$(VENV)/.locked: requirements.txt requirements-build.txt | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements.txt --requirement requirements-build.txt
	@touch $@

# The build tools are in the lock too, so building the package fetches nothing.
$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@# As with any other package: under PYTHONDONTWRITEBYTECODE each start would compile it anew, for a quarter of a second.
	$(BIN)/python -m compileall -q gateway
	@touch $@

$(VENV)/.developer: $(VENV)/.installed requirements-dev.txt
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.txt
	@touch $@
