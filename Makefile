# Rheostat: every target works on a fresh clone; `make setup` runs by itself when it is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESULTS := benchmarks/results

.PHONY: setup demo test test-fast check fix docs method api bench bench-decode prove clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Rheostat needs Python 3.11 or newer; name one: make PYTHON=python3.12 …' >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing Rheostat and what it needs into $(VENV) (some minutes, once)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $(READY)

demo: setup  ## profile, plan, run and report on the embedded model
	@$(BIN)/rheostat demo --out demo

test: setup  ## the whole suite, the real model included; a process a core, four at most
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test-fast: setup  ## no model, no network
	@$(BIN)/python -m pytest -q -m 'not slow'

check: setup  ## format, lint, types, structure, spelling, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/typos
	@$(BIN)/python -m pytest -q -p no:randomly tests/test_architecture.py tests/test_public_api.py tests/test_docs.py

fix: setup  ## what can be mended by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python benchmarks/tables.py

docs: setup  ## the documentation as a site, into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

method: setup  ## write the two files of a new method: make method name=… seam=…
	@$(BIN)/python tools/new_method --name '$(name)' --seam '$(seam)'

api: setup  ## write the snapshot of the public API
	@$(BIN)/python tests/api_snapshot.py

bench: setup  ## measure every suite; wants a quiet machine
	@for suite in startup base draft depth step constrain trees selfdraft wide; do $(BIN)/rheostat bench $$suite --out $(RESULTS) || exit $$?; done

bench-decode: setup  ## drafts against every peer, one thread; wants a quiet machine
	@$(BIN)/rheostat bench decode --out $(RESULTS)

prove: setup  ## identity at the counts that the claims state
	@$(BIN)/rheostat bench prove --out $(RESULTS)

clean:
	rm -rf $(VENV) demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis
