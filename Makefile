# Everything a person types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
.DEFAULT_GOAL := help

JOBS ?= 2
.PHONY: help setup demo test check bench recorded-day recorded-day-nodes recorded-day-ccxt failover docs lock wheel-check explore mutants clean simulate relay-drill

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv from the lock file and install onefill into it

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "onefill needs Python 3.11 or newer; name one with PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## The same orders twice over the same faulty network: a naive client, then Onefill
	$(BIN)/onefill demo

test: setup ## Run the tests on two cores, then the drills, whose kills must hit work under way, by themselves
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --ignore=tests/gameday
	$(BIN)/python -m pytest tests/gameday

check: setup ## Lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Figures of this machine, beside the bare limit of the same run: make bench ARGS="--ledger postgresql://..."
	$(BIN)/onefill bench $(ARGS)

recorded-day: setup ## A recorded day through a faulty link, killed 20 times: make recorded-day FILE=orders.csv.xz
	$(BIN)/python scripts/recorded_day.py $(FILE)

recorded-day-nodes: setup ## The same over PostgreSQL and two gateways, killed and paused: make recorded-day-nodes FILE=orders.csv.xz
	$(BIN)/python scripts/recorded_day_nodes.py $(FILE) $(DAY)

recorded-day-ccxt: setup ## Its first 2,000 orders through ccxt to imitations of real venues, beside plain ccxt: make recorded-day-ccxt FILE=orders.csv.xz
	$(BIN)/python scripts/recorded_day_ccxt.py $(FILE) $(CCXT)

failover: setup ## PostgreSQL and gateways killed, paused and cut off under load, ten rounds of each: make failover FAILOVER="--rounds 3"
	$(BIN)/python scripts/failover_drill.py $(FAILOVER)

relay-drill: setup ## 100,000 events told to NATS and Kafka by a relay killed 20 times: make relay-drill ARGS="--events 5000"
	$(BIN)/python scripts/relay_drill.py --to nats $(ARGS)
	$(BIN)/python scripts/relay_drill.py --to kafka $(ARGS)

SEEDS ?= 2000
simulate: setup ## Simulated worlds, every promise judged over each: make simulate SEEDS=10000 ARGS="--only open-error"
	$(BIN)/python -m onefill.sim.simulate --seeds $(SEEDS) $(ARGS)

wheel-check: setup ## Build a wheel, install it into an empty environment, run the demo from there
	sh scripts/wheel_check.sh

docs: setup ## Renew the pages that are made from the code
	$(BIN)/python scripts/lifecycle_doc.py
	$(BIN)/python scripts/retry_contract_doc.py
	$(BIN)/python -m onefill.testing.fix_order_states_page > docs/fix-order-states.md
	$(BIN)/python scripts/metrics_doc.py

lock: ## Renew requirements.lock (names, versions, hashes)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--group dev pyproject.toml --output-file requirements.lock

explore: setup ## Exhaustive search of small worlds over the real core, every combination of capabilities
	$(BIN)/python scripts/explore.py $(EXPLORE)

mutants: setup ## Every guard switched off in turn: simulation or search must notice
	$(BIN)/python scripts/mutants.py $(MUTANTS)

clean: ## Remove what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
