# The entry points. Each is one call of what does the work; `testbed --help` knows more.
# Recipes read variables from the environment, where make puts those of its command line: there a value stays one word.

.DEFAULT_GOAL := help
.PHONY: help install dev up bootstrap status down clean doctor check test test-uml bench fuzz format lock
export scenario timers lab runtime upgrade

TESTBED := .venv/bin/testbed
PYTHON := .venv/bin/python

help:  ## this list
	@awk 'BEGIN { FS = ":[^#]*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  up takes scenario=NAME and, if you like, timers=fast, lab=NAME, runtime=mininet;'
	@echo '  bootstrap, status and down take lab=NAME. Example: make up scenario=third-party timers=fast'

install:  ## install what is missing: Debian packages (as root) and .venv
	@testbed/install.sh

dev:  ## install what development needs too
	@testbed/install.sh --dev

up: install  ## start the lab of scenario=NAME and bootstrap its mobile nodes
	@if [ -z "$$scenario" ]; then \
		echo 'which scenario? make up scenario=NAME, with NAME one of these:' >&2; \
		for file in topologies/*.yaml; do name=$${file##*/}; echo "  $${name%.yaml}" >&2; done; \
		exit 2; \
	fi; \
	exec $(TESTBED) up "$$scenario" $${timers:+--timers "$$timers"} $${lab:+--lab "$$lab"} $${runtime:+--runtime "$$runtime"}

bootstrap: install  ## bootstrap the mobile nodes of the running lab once more
	@exec $(TESTBED) bootstrap $${lab:+--lab "$$lab"}

status: install  ## say what runs, and what state it is in
	@exec $(TESTBED) status $${lab:+--lab "$$lab"}

down: install  ## remove the lab
	@exec $(TESTBED) down $${lab:+--lab "$$lab"}

clean: install  ## remove every lab, and what a killed command left behind
	@exec $(TESTBED) clean

doctor:  ## say what can run on this machine, and what is missing for the rest
	@testbed/install.sh || [ -x $(TESTBED) ]
	@exec $(TESTBED) doctor

check: dev  ## lint, formatting, types
	@failed=0; \
	$(PYTHON) -m ruff check || failed=1; \
	$(PYTHON) -m ruff format --check || failed=1; \
	$(PYTHON) -m mypy || failed=1; \
	exit $$failed

test: dev  ## all tests; those of a live lab are skipped without root
	@exec $(PYTHON) -m pytest tests

test-uml:  ## the tests that need a full kernel, inside user-mode-linux (Debian, amd64)
	@testbed/install.sh --dev --uml
	@exec $(PYTHON) -m pytest -m uml tests/uml

bench: dev  ## measure start, bootstrap and teardown, step by step
	@$(PYTHON) tests/bench.py && $(PYTHON) tests/bench_home_agent.py

fuzz: dev  ## a million mutated packets against a running home agent (FUZZ=N for another number)
	@FUZZ=$${FUZZ:-1000000} exec $(PYTHON) -m pytest tests/live/test_fuzz.py

format: dev  ## format the code
	@exec $(PYTHON) -m ruff format

# pip-compile resolves for the Python that runs it: that is the oldest supported one, and what newer ones leave out does
# no harm. Hashes are of every file of a release, so one lock serves all architectures.
# Extras stay in it: Debian 12's pip takes `coverage[toml]` for another package than a pinned `coverage`, and the newest of it.
lock:  ## write the lock files anew from pyproject.toml; upgrade=yes takes the newest releases
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	python3.11 -m venv "$$folder" && "$$folder/bin/pip" install --quiet 'pip-tools>=7.5,<8' && \
	compile() { \
		CUSTOM_COMPILE_COMMAND='make lock' "$$folder/bin/pip-compile" --quiet $${upgrade:+--upgrade} --generate-hashes \
			--allow-unsafe --no-strip-extras --no-emit-index-url --no-emit-find-links --no-emit-options "$$@" pyproject.toml; \
	} && \
	compile --output-file requirements.lock && \
	compile --output-file requirements-dev.lock --extra dev --constraint requirements.lock
