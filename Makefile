# Everything starts here. `make` alone lists the targets. Nothing needs to be installed by hand but Python 3.11+ and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
DEV_DIR := .dev

.PHONY: help venv demo dev dev-stop test faults bounds sim chaos check format generate vendor screenshots bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

venv: ## make the daemon's environment in .venv, with pinned versions
	@bash deploy/venv.sh

demo: venv ## the main job on real parts: a tiny model trained, followed live, merged
	@$(BIN)/python deploy/demo.py

dev: venv ## broker, store and daemon left running; prints their URLs
	@$(BIN)/python deploy/dev.py up

dev-stop: venv ## end what `make dev` left running; data stays below .dev
	@$(BIN)/python deploy/dev.py down

test: venv ## the whole test suite, fast rings first (TEST_ARGS='-k name' for a part)
	@$(BIN)/python -m pytest $(TEST_ARGS)

faults: venv ## kills, outages, cut networks and full disks on the real parts (TEST_ARGS as above)
	@$(BIN)/python -m pytest tests/faults $(TEST_ARGS)

bounds: venv ## floods, backlogs and slow readers on the real parts (TEST_ARGS as above)
	@$(BIN)/python -m pytest tests/bounds $(TEST_ARGS)

sim: venv ## seeds of the simulation, any number (SIM_ARGS='--seeds 10000', '--minutes 60', '--seed 7 --verbose')
	@$(BIN)/python -m tests.simulation $(SIM_ARGS)

chaos: venv ## faults in random order on the real parts, and a table (CHAOS_ARGS='--minutes 30', '--seed 7')
	@$(BIN)/python -m tests.faults.chaos $(CHAOS_ARGS)

check: venv ## lint, format, types, the arrows between the rooms, and core covered whole
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/core --quiet --no-header --cov=daemon.core --cov-branch --cov-fail-under=100 --cov-report=term:skip-covered

format: venv ## put the code into its form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

generate: venv ## write anew what is generated: JSON Schemas, AsyncAPI, reference pages, the example settings
	$(BIN)/python -m schemas.generate
	$(BIN)/python -m schemas.reference
	$(BIN)/python -m deploy.settings_page > docs/reference/settings.md
	$(BIN)/python deploy/env_example.py > deploy/swift-trainer.env.example
	$(BIN)/python deploy/metrics_reference.py > docs/reference/metrics.md

vendor: ## bring the libraries of the gateway's page from npm, pinned
	@python3 deploy/vendor_page.py

screenshots: venv ## take the README's pictures of the page anew, from real trainings
	@$(BIN)/python deploy/screenshots.py

bench: venv ## measure: latencies, throughput, memory and CPU with 50 jobs (prints, asserts nothing)
	@$(BIN)/python -m tests.benchmarks

lock: ## resolve both environments anew within their ranges and write deploy/constraints
	@bash deploy/lock.sh

clean: ## remove the daemon's environment and what demo and dev left (caches outside stay)
	rm -rf .venv $(DEV_DIR) .demo
