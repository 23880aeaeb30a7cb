# The two commands of a newcomer: `make demo` and `make test`. They need Linux, Python >= 3.11 with
# venv, and a package index; everything else is fetched into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: demo test check fix proto lock tools clean

demo: $(VENV)/.demo
	@exec $(BIN)/python -m csidriver demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python -m tests.regenerate --check

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

proto: $(VENV)/.dev
	$(BIN)/python -m tests.regenerate

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q \
	  pyproject.toml --extra webhook --extra demo -o requirements/runtime.lock
