# The set-up is quick when there is nothing to do, so everything starts with it.
REMIT_VENV ?= .venv
export REMIT_VENV
VENV := $(REMIT_VENV)
PY ?= python3
PYTEST := $(VENV)/bin/python -P -m pytest

.PHONY: demo test check bench rare lock setup

demo: setup
	$(VENV)/bin/remit practice demo

test: check
	$(PYTEST) -n 2 -m "not rare"

check: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup
	PYTHONPATH=. $(VENV)/bin/python -P -m tests.bench

# pytest says 5 where no test is marked.
rare: setup
	@$(PYTEST) -m rare --collect-only -qq >/dev/null; \
	if [ $$? -eq 5 ]; then echo "No test is marked rare."; else $(PYTEST) -n 2 -m rare; fi

setup:
	@$(PY) sandbox/setup.py

# hatchling and what it needs are in the second, so that the project itself is built with nothing unlocked.
# No address of an index and no path of this machine may get into the lock files: others install from elsewhere.
LOCK = uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet
lock:
	$(LOCK) pyproject.toml -o requirements.lock
	printf "hatchling>=1.27\neditables\n" | $(LOCK) pyproject.toml - --group dev -o requirements-dev.lock
