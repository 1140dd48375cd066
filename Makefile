# Everything a developer or CI does, each in one word. `make` alone lists the words.
# Needs only make, git and python3 (3.11 or newer); the rest is fetched into .venv, and, for the tests, from Debian's packages.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

BIN := .venv/bin
BENCH ?= all
# Seconds for the whole default test run; a hang ends here at the latest, with every thread's stack.
TEST_DEADLINE ?= 480
FUZZ_SECONDS ?= 180

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: .venv/.runtime ## start a gateway with a demo site and simulated devices; Ctrl-C stops it
	@exec $(BIN)/portico demo $(ARGS)

.PHONY: test
test: .venv/.dev ## run the tests (installs the Debian packages they need if it may); ARGS="-k name" narrows
	@tools/install-debian-packages
	@tools/run-tests $(TEST_DEADLINE) $(ARGS)

.PHONY: test-slow
test-slow: .venv/.dev ## run the tests that are too slow for every change
	@tools/install-debian-packages
	@tools/run-tests 3600 -m slow -o faulthandler_timeout=600 $(ARGS)

.PHONY: fuzz
fuzz: .venv/.dev ## fuzz the SIP parser for FUZZ_SECONDS by coverage (atheris); findings go to .run/fuzz/
	@$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r tests/fuzz/requirements.txt || true
	@$(BIN)/python tests/fuzz/fuzz_sip_parser.py -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0

.PHONY: check
check: .venv/.dev ## lint, format, types and import contracts; changes nothing
	@tools/check

.PHONY: format
format: .venv/.dev ## put every file in ruff's format and fix what ruff can fix
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format .

.PHONY: bench
bench: .venv/.dev ## measure beside real peers; BENCH=sip for one, all by default; writes bench/results/
	@tools/install-debian-packages
	@$(BIN)/python -m bench $(BENCH) $(ARGS)

.PHONY: venv
venv: .venv/.dev ## make .venv with everything the tests and checks need
	@echo ".venv is ready: $$($(BIN)/python --version)"

.PHONY: compile
compile: .venv/.runtime ## compile the SIP core and the channel (again, after an edit) with mypyc; halves what a message costs
	@$(BIN)/python tools/compile.py --require

.PHONY: lock
lock: ## resolve setup.cfg again into requirements.lock and requirements-dev.lock
	@tools/lock

.PHONY: clean
clean: ## remove .venv, caches and build leftovers (never a state folder)
	@rm -rf .venv build dist ./*.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis bench/results/*.log
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: requirements.lock setup.cfg pyproject.toml
	@tools/make-venv runtime

.venv/.dev: requirements-dev.lock setup.cfg pyproject.toml
	@tools/make-venv dev
