# What can be done here; `make` alone lists it. Everything goes into .venv, which `make clean` removes.
#
#   PYTHON=python3.13 make test     another interpreter
#   make test ARGS='-k close -x'    arguments for pytest, or for the conformance runner
#   make test WORKERS=              in one process, so that pytest's -s shows what a test writes

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# The tests in a process more than there are cores, since many wait for others; tests/conftest.py says what stays together.
WORKERS ?= -n auto --dist loadfile --no-loadscope-reorder
BIN = $(VENV)/bin
# A core that cannot be built is an error here; for a user's pip it is not.
export GEVENTWS_REQUIRE_EXTENSION ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Tests start hundreds of interpreters, each of which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

# Stamps: each stands for a step that was done, and is done again only when what it depends on changes.
MADE = $(VENV)/.made-$(notdir $(PYTHON))
BUILT = $(VENV)/.built
TOOLS = $(VENV)/.tools
PROGRAMS = $(VENV)/.programs
NODE = build/node/.made
PEERS = $(VENV)/.peers
CORE = _frame_build.py $(filter-out %/_frame.c,$(wildcard geventws/_core/*.[ch] geventws/_core/*/*.[ch]))

.PHONY: help run test watchers build lint types conformance sanitize bench interop hostile docs wheel
.PHONY: newcomer clean

help:           ## this list
	@sed -nE 's/^([a-z]+):.*## */\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: $(BUILT)   ## serve the demo page at http://127.0.0.1:8000
	$(BIN)/python examples/demo.py $(ARGS)

test: $(TOOLS) $(PROGRAMS) $(NODE)  ## set up and run every test, and on the Python core all that touch it
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)
	GEVENTWS_PURE_PYTHON=1 $(BIN)/python -m pytest $(WORKERS) -m "not outside" $(ARGS)

watchers: $(TOOLS) $(PROGRAMS) $(NODE)  ## run every test that touches it on the poller for systems without epoll
	GEVENTWS_POLLER=watchers $(BIN)/python -m pytest $(WORKERS) -m "not outside" $(ARGS)

build: $(BUILT) ## the environment, and the C core in place

lint: $(TOOLS)  ## the linter
	$(BIN)/ruff check .

types: $(TOOLS) ## strict types
	$(BIN)/mypy

conformance: $(TOOLS)  ## the Autobahn test suite, against our servers and our client: some 25 minutes
	$(BIN)/python tests/conformance/run.py $(ARGS)

sanitize: $(TOOLS)  ## the C core's tests with address and undefined-behaviour sanitizers
	$(BIN)/python tests/sanitize/run.py $(ARGS)

interop: $(TOOLS) $(PROGRAMS)  ## talk with other clients and servers, and write docs/interoperability.rst: 2 to 3 minutes
	$(BIN)/python tests/interop/run.py $(ARGS)

bench: $(PEERS) ## benchmarks against other servers
	$(BIN)/python benchmarks/run.py $(ARGS)

hostile: $(TOOLS) $(PROGRAMS)  ## attacks on every host, and what each may cost
	PYTHONPATH=benchmarks $(BIN)/python -m hostile $(ARGS)

docs: $(TOOLS)  ## the site, into docs/_build
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build

wheel: $(TOOLS) ## the wheels and the source distribution, checked, into dist/
	rm -rf dist
	$(BIN)/python tools/wheels.py dist

newcomer: wheel $(PROGRAMS)  ## the first hour of a Flask developer and of a library author, from empty environments
	$(BIN)/python tools/newcomer/flask_developer.py dist
	$(BIN)/python tools/newcomer/library_author.py dist $(ARGS)

clean:          ## remove the environment and everything that was built
	rm -rf $(VENV) build dist reports docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f geventws/_core/_frame.c geventws/_core/_frame.*.so
	find . -name __pycache__ -type d -exec rm -rf {} +

$(MADE):
	PYTHON='$(PYTHON)' tools/debian.sh python
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet 'setuptools>=77' 'cffi>=1.16'
	touch $@

$(BUILT): $(MADE) $(CORE) setup.py pyproject.toml
	rm -f geventws/_core/_frame.*.so
	$(BIN)/python -m pip install --quiet --no-build-isolation -e .
	touch $@

$(TOOLS): $(BUILT) pyproject.toml
	$(BIN)/python -m pip install --quiet 'geventws[test]'
	touch $@

$(PEERS): $(BUILT) benchmarks/requirements.txt benchmarks/package.json
	PYTHON='$(PYTHON)' tools/debian.sh bench
	$(BIN)/python -m pip install --quiet -r benchmarks/requirements.txt
	mkdir -p build/bench
	cp benchmarks/package.json build/bench
	-npm install --silent --no-audit --no-fund --prefix build/bench
	touch $@

$(PROGRAMS): $(MADE) tools/debian.sh
	tools/debian.sh tests
	touch $@

$(NODE): tests/kit/programs/package.json $(PROGRAMS)
	mkdir -p $(@D)
	cp $< $(@D)
	npm install --ignore-scripts --no-audit --no-fund --silent --prefix $(@D)
	touch $@
