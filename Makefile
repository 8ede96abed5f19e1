# The one door: `make` lists the commands.

PREPARE := packaging/prepare.sh
BIN := .venv/bin
SOURCES := $(shell find dynamo_fe cext packaging -type f ! -name '*.pyc' ! -name '*.so' 2>/dev/null) pyproject.toml setup.py

.DEFAULT_GOAL := help
.PHONY: help run build test test-fast properties lint types arrows format bench bench-kv bench-routing bench-start bench-faults profile freeze packages clean distclean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## serve with two built-in mock workers on port 8000 (same as ./run)
	@./run

build: ## make .venv, install dynamo-fe in place, compile cext/
	@$(PREPARE) package

test: ## install all that the tests need, then lint, types, arrows, the frozen build and every test
	@$(PREPARE) tools dev freeze peer
	@failed=""; \
	for check in lint types arrows freeze; do $(MAKE) --no-print-directory $$check || failed="$$failed $$check"; done; \
	$(BIN)/pytest || failed="$$failed pytest"; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi

test-fast: ## the tests that need neither the real Dynamo, nor etcd, nor the frozen file
	@$(PREPARE) dev
	@$(BIN)/pytest tests/unit tests/parity

properties: ## the properties on examples of their own, which test and test-fast take the same every time
	@$(PREPARE) dev
	@$(BIN)/pytest tests/unit tests/parity --hypothesis-profile random

lint: ## ruff over everything
	@$(PREPARE) dev
	@$(BIN)/ruff check .

types: ## mypy, strict, over the package
	@$(PREPARE) dev
	@$(BIN)/mypy

arrows: ## import-linter: which room may import which
	@$(PREPARE) dev
	@$(BIN)/lint-imports --no-logo

format: ## let ruff mend what it can mend by itself
	@$(PREPARE) dev
	@$(BIN)/ruff check --fix .

bench: ## ours and the real frontend in turn over the same real mockers (tests/bench/README.md says how it may mislead)
	@$(PREPARE) tools dev peer
	@$(BIN)/python -m tests.bench.versus

bench-kv: ## block hashes, prefix index and score beside the real library's, and how they grow
	@$(PREPARE) dev peer
	@$(BIN)/python -m tests.bench.kv_index

bench-routing: ## what KV routing costs, ours and the original, beside their own round-robin
	@$(PREPARE) tools dev peer
	@$(BIN)/python -m tests.bench.kv_routing

bench-start: freeze ## time to the first answer, size and memory of each form and of the original
	@$(PREPARE) tools dev peer
	@$(BIN)/python -m tests.bench.startup

bench-faults: freeze ## time until a start is refused, and until a killed process is back, of each form
	@$(PREPARE) tools dev
	@$(BIN)/python -m tests.bench.faults

profile: ## where each microsecond of a token and of a request goes
	@$(PREPARE) tools dev peer
	@$(BIN)/python -m tests.bench.profile

freeze: dist/dynamo-fe ## build dist/dynamo-fe, one file that needs no Python, and dist/dynamo-fe.d, the same as a folder

dist/dynamo-fe: $(SOURCES)
	@$(PREPARE) freeze
	@$(BIN)/python packaging/build.py

packages: dist/dynamo-fe ## also the Debian package, the list of what is inside (CycloneDX) and SHA256SUMS, in dist/
	@$(BIN)/python packaging/sbom.py
	@rm -f dist/*.deb
	@$(BIN)/python packaging/deb.py
	@cd dist && sha256sum dynamo-fe dynamo-fe_*.deb dynamo-fe.cdx.json > SHA256SUMS

clean: ## remove what was built, keep the venvs
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find dynamo_fe tests packaging -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -f dynamo_fe/_cext/*.so dynamo_fe/discovery/_etcd_descriptors.py dynamo_fe/grpc/_descriptors.py .venv/.stamp-package .venv/.stamp-compiled

distclean: clean ## also remove the venvs
	@rm -rf .venv .venv-peer
