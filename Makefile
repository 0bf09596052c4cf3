# `make` prints what there is. Two commands do everything: `make demo` and `make test`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard libs/*/pyproject.toml services/*/pyproject.toml clients/*/pyproject.toml tools/*/pyproject.toml))
KAFKA_LOCK := tools/cli/src/crosstape/cli/kafka.lock
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(foreach m,$(MEMBERS),--no-emit-package crosstape-$(notdir $(m)))

# Programs in a .venv name its folder and its Python: in a copied or moved checkout, or when that Python is gone, it is
# made from nothing.
CLEAR := $(shell test ! -e $(VENV)/.bootstrap || { test -x $(BIN)/python && grep -qxF "$(abspath $(VENV))" $(VENV)/.bootstrap; } \
	|| echo --clear)

.PHONY: help demo up test test-unit soak lint fix docs k8s-validate compose-validate bench lock clean --clear

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 20

# --- setting up: the stamps say what is installed, and depend on what it was installed from --------------------

$(VENV)/.bootstrap: requirements-bootstrap.lock $(CLEAR)
	@for python in "$${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -m venv $(CLEAR) $(VENV) || { echo "error: $$python cannot make a venv: install its venv module (Debian: apt-get install python3-venv)"; exit 1; }; \
		break; \
	done; \
	test -x $(BIN)/python || { echo "error: Crosstape needs Python 3.11 or newer: install one, or name it: PYTHON=/path/to/python3 make ..."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@echo "$(abspath $(VENV))" > $@

$(VENV)/.runtime: $(VENV)/.bootstrap requirements.lock $(KAFKA_LOCK) $(MEMBERS:%=%/pyproject.toml)
	@echo "Installing Crosstape into $(VENV)"
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	@$(BIN)/python -m compileall -q $(MEMBERS:%=%/src)
	@$(BIN)/python -m crosstape.cli.kafka_jars
	@$(BIN)/python -m crosstape.cli.kafka_archive
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "Installing the test tools into $(VENV)"
	@$(INSTALL) --compile-bytecode --require-hashes -r requirements-dev.lock
	@touch $@

lock: $(VENV)/.bootstrap ## Resolve every dependency anew into requirements*.lock and kafka.lock
	$(COMPILE) $(LOCKFLAGS) $(MEMBERS:%=%/pyproject.toml) -o requirements.lock
	$(COMPILE) $(LOCKFLAGS) $(MEMBERS:%=%/pyproject.toml) --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) $(LOCKFLAGS) $(MEMBERS:%=%/pyproject.toml) bench/requirements.in -c requirements.lock -o requirements-bench.lock
	$(COMPILE) $(LOCKFLAGS) --group bootstrap -c requirements-dev.lock -o requirements-bootstrap.lock
	$(BIN)/python -m crosstape.cli.kafka_jars lock > $(KAFKA_LOCK).new && mv $(KAFKA_LOCK).new $(KAFKA_LOCK)

# --- running --------------------------------------------------------------------------------------------------

demo: $(VENV)/.runtime ## The whole platform on this machine, with simulated exchanges (DEMO="--port 8000 ...")
	@exec $(BIN)/crosstape demo $(DEMO)

up: $(VENV)/.runtime ## The same, with the real exchanges (UP="--exchanges kraken,okx ...")
	@exec $(BIN)/crosstape up $(UP)

# --- checking -------------------------------------------------------------------------------------------------

unexport PYTHONDONTWRITEBYTECODE  # pytest keeps what it made of each test's asserts: else it takes four seconds a run
SHARED := -n 2 --dist loadfile --no-loadscope-reorder
test: $(VENV)/.dev ## Every test, against the embedded engines
	@$(BIN)/python -m pytest $(SHARED) $(TESTFLAGS)

test-unit: $(VENV)/.dev ## Only the quick ones: no engine, no second process
	@$(BIN)/python -m pytest -m "not integration and not e2e" $(SHARED) -n 3 $(TESTFLAGS)  # a third: some only wait

MINUTES ?= 30
soak: $(VENV)/.dev ## The demo with faults on for MINUTES=30: what it promised, what it kept (SOAK="--seed 2 ...")
	@exec $(BIN)/python -m tests.soak --minutes $(MINUTES) $(SOAK)

QUIET := KeywordDetector BasicAuthDetector  # what ruff's S rules look for, and URLs that show a form
lint: $(VENV)/.dev ## Format, ruff, mypy --strict, import contracts, secrets, known holes
	@$(BIN)/ruff format --check --quiet . || { echo "run: make fix"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy $(foreach m,$(MEMBERS),$(m)/src) tests conftest.py docs/generator bench tools/check_repository.py tools/audit_dependencies.py
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_repository.py
	@git ls-files -z | grep -zvE '\.lock$$|^docs/reference/(openapi\.json|rest\.md)$$' | xargs -0 $(BIN)/detect-secrets-hook --no-verify $(foreach p,$(QUIET),--disable-plugin $(p))
	@$(BIN)/python tools/audit_dependencies.py

k8s-validate: $(VENV)/.dev ## Render the Kubernetes overlays and hold them to schemas, rules and code (no Docker)
	@$(BIN)/python -m pytest -q $(foreach t,kubernetes network settings_hold alerts dashboards runbooks restore upgrade,tests/deploy/test_$(t).py) $(TESTFLAGS)

compose-validate: $(VENV)/.dev ## docker-compose.yml and Dockerfile: config, hadolint, rules, code (no Docker)
	@$(BIN)/python -m pytest -q $(foreach t,compose image settings_hold restore upgrade,tests/deploy/test_$(t).py) $(TESTFLAGS)

fix: $(VENV)/.dev ## Let ruff mend and format what it can, and write the generated pages anew
	@$(BIN)/python -m docs.generator
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

docs: $(VENV)/.dev ## The documentation site, into .crosstape/site (DOCS="serve" shows it while you write)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(or $(DOCS),build --strict)

BENCH_VENV := .crosstape/bench-venv
$(BENCH_VENV)/.installed: $(VENV)/.bootstrap requirements-bench.lock $(KAFKA_LOCK) $(MEMBERS:%=%/pyproject.toml)
	@echo "Installing Crosstape and its peers into $(BENCH_VENV)"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(BENCH_VENV)
	@$(BIN)/uv pip install --quiet --python $(BENCH_VENV)/bin/python --require-hashes -r requirements-bootstrap.lock -r requirements-bench.lock
	@$(BIN)/uv pip install --quiet --python $(BENCH_VENV)/bin/python --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	@$(BENCH_VENV)/bin/python -m crosstape.cli.kafka_jars
	@touch $@

bench: $(BENCH_VENV)/.installed ## Speed against peers, into bench/README.md (PART=decode, TRADES=100000000)
	@$(BENCH_VENV)/bin/python -m bench.run $(PART)

clean: ## Remove .venv and .crosstape, all but what cannot be made anew in it: compose-secrets and live
	@for lock in .crosstape/*/lock $(VENV)/.runtime; do test ! -e "$$lock" || flock -n "$$lock" true \
		|| { echo "error: a platform runs in $${lock%/*}: stop it first"; exit 1; }; done
	rm -rf $(VENV)
	@test ! -d .crosstape || find .crosstape -mindepth 1 -maxdepth 1 ! -name compose-secrets ! -name live -exec rm -rf {} +
	@for kept in .crosstape/compose-secrets .crosstape/live; do test ! -e $$kept || echo "kept $$kept: remove it yourself if nothing needs it"; done
