# Every target depends on setup, which is quick when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SERVES := $(VENV)/.serves
FAST := not (guide or chain or policy or discovery or clients or operate or attack or chaos or money or package or environments or image or custody)

# What surrounds a signer and needs no machine part: names, kept connections, reasons, variables, pauses, values nobody means.
SURROUNDINGS := tests/process tests/adapters/outbound tests/adapters/auth/test_webhook.py tests/commands/test_surroundings.py \
	tests/integration/test_draining.py tests/config tests/adapters/ledger/test_owner.py

# Where it is set every process that a test starts would compile all that it imports: a second each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-chain test test-package test-lowest package test-chain test-clients test-policy test-attack test-operate test-discovery test-docs test-chaos test-environments test-image test-custody test-money check coverage mutants bench bench-gate bench-growth proto run throw-away-key docs pictures lock openapi

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(STAMP) ## .venv with everything the other targets need

$(STAMP): requirements-dev.lock pyproject.toml
	@echo "installing the locked dependencies with all that tests need"
	@.ci/install $(VENV) $(PYTHON) requirements-dev.lock
	@touch $@ $(SERVES)

# What the signer itself needs: a third of the rest.
$(SERVES): requirements.lock pyproject.toml
	@echo "installing the locked dependencies"
	@.ci/install $(VENV) $(PYTHON) requirements.lock
	@touch $@

demo: $(SERVES) ## a simulated gateway pays a simulated orchestrator through the signer
	@$(BIN)/livepeer-remote-signer simulate

demo-chain: setup ## the same on a real EVM, with every winning ticket redeemed
	@$(BIN)/python -m tests.chain.demo

test: setup ## all tests that need nothing but Python; many of them wait more than they work
	@$(BIN)/python -m pytest -n 6 --dist worksteal -m "$(FAST)"

test-package: setup ## the wheel, built and installed from the lock as a user would: the demo runs, and it serves
	@$(BIN)/python -m pytest -m package

test-lowest: setup ## the fast tests against the lowest versions that pyproject.toml allows
	@FAST="$(FAST)" .ci/lowest

test-chain: setup ## tickets, funding and faults on a real EVM, also on Livepeer's own contracts (anvil, solc and they come from npm)
	@$(BIN)/python -m pytest -m chain

test-clients: setup ## the published Python SDK and a Node client pay through the running signer (Python 3.12)
	@$(BIN)/python -m pytest -n 2 -m clients

test-policy: setup ## who may spend, and how much, over real HTTP and under load
	@$(BIN)/python -m pytest -n 2 -m policy

test-attack: setup ## strangers, tenants and web pages attack over sockets; an honest caller beside them notices next to nothing
	@$(BIN)/python -m pytest -m attack

test-operate: setup ## Kafka, kills under load, alert rules, image, console, the published Python SDK (Java, promtool, Chromium, Python 3.12, pgbouncer)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m operate

test-docs: setup ## every command of the operator guide, line by line, on a real EVM (curl, jq, openssl; three minutes at most)
	@$(BIN)/python -m pytest -m guide

test-chaos: setup ## databases, nodes, webhook, disk and clock fail in turn under the published SDK's sessions (Python 3.12)
	@$(BIN)/python -m pytest -m chaos

test-environments: setup ## full and cleaned file systems, closed descriptors, front ends, keystores, IPv6 (root; Debian's nginx, haproxy, caddy)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m environments
	@$(BIN)/python -m pytest -n 2 -m "$(FAST)" $(SURROUNDINGS)

test-custody: setup ## keys outside this host with real services: anvil's eth_sign, AWS KMS in Go, SoftHSM; kills between reserving and recording (Go, softhsm2)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m custody

test-money: setup ## 2,000 payments on Livepeer's contracts: each redeemed ticket is found once, a stolen key is noticed, all sums agree to the wei, the ledger stays small
	@$(BIN)/python -m pytest -m money

test-image: setup ## the image built and run on a Docker engine, compose with both ledgers (root; Debian's docker.io, debootstrap; Go for compose)
	@$(BIN)/python -m pytest -m image

coverage: setup ## branch coverage of the pure core by its own tests, which must be whole
	@$(BIN)/python -m coverage run --source=livepeer_remote_signer.core -m pytest tests/core --hypothesis-seed=1
	@$(BIN)/python -m coverage report --fail-under=100

test-discovery: setup ## a hundred orchestrators, many of them bad; a session with curl and jq alone
	@$(BIN)/python -m pytest -m discovery

check: setup ## ruff, mypy and the tests' layout: what CI runs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

mutants: setup ## small wrong changes to the source, by seed: which of them does no test notice? (SEED=1 COUNT=1000)
	@nice $(BIN)/python -m tests.mutants --seed $(or $(SEED),1) --count $(or $(COUNT),1000)

bench: setup ## requests per second, latency and CPU per request over real HTTP
	@$(BIN)/python -m benchmarks

bench-gate: setup ## the rows that have a limit, and what grows, in short; limits may be passed by twice: a noisy machine is no regression
	@$(BIN)/python -m benchmarks --quick --gate --slack 2
	@$(BIN)/python -m benchmarks.growth --quick --gate --slack 2

bench-growth: setup ## what a payment costs beside much of everything: rows, auth ids, switches, keys, orchestrators, ...; draws docs/growth*.svg
	@$(BIN)/python -m benchmarks.growth --plot docs/growth.svg
	@$(BIN)/python -m benchmarks.growth --postgres --plot docs/growth-postgres.svg

docs: setup ## the documents as one searchable site, in build/site
	@test -x build/site-tools/bin/mkdocs || { $(BIN)/uv venv -q --clear --python $(BIN)/python build/site-tools && $(BIN)/uv pip install -q --python build/site-tools/bin/python --require-hashes -r .ci/docs.lock; }
	@build/site-tools/bin/mkdocs build -q --clean

pictures: setup ## the README's pictures, each with the commit it was made at (Chromium)
	@$(BIN)/python -m tests.pictures

openapi: setup ## docs/openapi.json from the routes as they are
	@$(BIN)/livepeer-remote-signer openapi > docs/openapi.json

proto: setup ## the generated protobuf module from our .proto
	@cd src && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. livepeer_remote_signer/proto/net.proto

run: $(SERVES) ## the signer with config.example.yaml: a static chain, nothing can be redeemed
	@mkdir -p data secrets
	@test -e secrets/signer.key || { echo "there is no key at secrets/signer.key: \`make throw-away-key\` makes one to try things with (docs/operator-guide.md#key has real ones)"; exit 1; }
	@$(BIN)/livepeer-remote-signer serve --config config.example.yaml

throw-away-key: $(SERVES) ## a key for make run, in secrets/signer.key: never pay anything in for it
	@mkdir -p secrets && chmod 700 secrets
	@test ! -e secrets/signer.key || { echo "secrets/signer.key is there already, and stays"; exit 1; }
	@umask 077 && $(BIN)/python -c 'import secrets; print(secrets.token_hex(32))' > secrets/signer.key && echo "a throw-away key stands in secrets/signer.key"

package: setup ## wheel and source archive in dist/
	@$(BIN)/python -m build --no-isolation

lock: setup ## the hashed locks from pyproject.toml
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --all-extras pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --all-extras --group dev pyproject.toml -o requirements-dev.lock
