# The first command typed on a fresh machine may be any of these: each installs what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Some images set it. Then every process that a test starts would compile the whole program again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run demo check test test-long evidence bench bench-short screenshots lock clean

install: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Postroom needs Python 3.11 or newer; this is %s. Set PYTHON=/path/to/python3.11 and run make again." % sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV) || { echo "Could not make a virtual environment: on Debian and Ubuntu, install the package python3-venv."; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: install         ## the whole system on this machine, until Ctrl-C
	@$(BIN)/postroom up

demo: install        ## the same, but ends by itself with a summary and an exit code
	@$(BIN)/postroom demo

check: install       ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install        ## everything, with the short form of crash and soak runs
	$(BIN)/pytest -m "not long"

test-long: install   ## the crash, network, deploy, storage and soak runs, whole
	rm -rf .evidence
	POSTROOM_EVIDENCE=.evidence $(BIN)/pytest -m "long or evidence"

evidence: test-long  ## the same, and writes docs/evidence.md
	$(BIN)/python -m tests.crashes.evidence .evidence docs/evidence.md

bench: install       ## prints a table with ratios, writes benchmarks/latest.json
	$(BIN)/python -m benchmarks

bench-short: install ## the rows of the design, smaller, in under two minutes
	$(BIN)/python -m benchmarks --short

screenshots: install ## pictures of the console in docs/images, of an invented installation (needs a Chromium)
	$(BIN)/python -m tests.console.screenshots

lock:                ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
