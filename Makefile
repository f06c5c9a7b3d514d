# `make demo` shows Stepwell at work; `make test` runs every test. Both install what they need first (`make setup`).
.DEFAULT_GOAL := help
.PHONY: help setup demo cluster-demo test platforms simulate fuzz lint types imports format stubs lock bench clean

python := .venv/bin/python
SEEDS ?= 1-200
# They run sandboxes, which mostly wait; so few at once that none is late for it.
sandboxed := tests/e2e tests/conformance tests/polyglot tests/contract/test_bundle_check.py $(wildcard tests/contract/test_sandbox*.py)
# They tell how long things take: nothing else runs beside them.
alone := tests/e2e/hostile/test_hostile_guests.py tests/e2e/test_soak.py
# A whole cluster of real processes, for all of its tests together: by one process.
cluster := tests/servers
# They take CPUs alone, and on virtual time: in what time the cluster leaves.
simulated := tests/simulation
# They run the commit before this one, too, which a checkout without history does not have.
upgrade := $(if $(shell git rev-parse --quiet --verify HEAD~1 2>/dev/null),,tests/servers/test_upgrade.py tests/e2e/test_upgraded.py)
packages := sdk/stepwell sdk/workers cluster rpc loader control_plane data_plane stepwell_server
typed := $(wildcard $(packages) scripts tests bench deploy)
# Each is imported from its own folder, as in a sandbox.
bundles := $(patsubst %/stepwell.toml,%,$(wildcard examples/*/stepwell.toml sdk/stepwell/cli/new_project/stepwell.toml)) $(wildcard examples/*/repo)

help:  ## this list
	@grep -E '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | expand -t 10

setup:  ## install what is missing: system packages, .venv, the sandbox's root file system
	@scripts/setup

demo: setup  ## two tenants' workflows through two SIGKILLs of the server
	@$(python) scripts/demo.py

cluster-demo: setup  ## the same on etcd, three Cassandra nodes and three data nodes, of which some are killed
	@$(python) scripts/cluster_demo.py

test: setup  ## every test
	@scripts/test_packages && scripts/etcd_binary >/dev/null && scripts/cassandra_jars >/dev/null
	@$(python) -m pytest -n auto --maxprocesses 8 tests $(addprefix --ignore=,$(sandboxed) $(cluster) $(simulated))
	@[ -z "$(upgrade)" ] || echo "NOT RUN: $(upgrade). This checkout has no history, so nothing to upgrade from." >&2
	@# Meanwhile, in what time the cluster leaves: compilers, for tests/polyglot, which would build what is missing then;
	@# and the simulation, told of afterwards, and ended by Ctrl-C as all else is, which a shell keeps from what it runs so.
	@nice -n 19 scripts/example_clients >/dev/null 2>&1 & building=$$!; \
	  said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	  nice -n 19 env --default-signal=INT $(python) -m pytest -n auto --maxprocesses 8 $(simulated) >"$$said" 2>&1 & simulating=$$!; \
	  $(python) -m pytest $(cluster) $(addprefix --ignore=,$(upgrade)); status=$$?; \
	  wait $$simulating || status=1; cat "$$said"; wait $$building || true; exit $$status
	@$(python) -m pytest -n 3 $(sandboxed) $(addprefix --ignore=,$(alone) $(upgrade))
	@$(python) -m pytest $(alone)

platforms: setup  ## the sandboxes' tests over a newer runsc, with systrap and with ptrace; builds it with Go once
	@runsc=$${STEPWELL_TEST_RUNSC:-$$(scripts/newer_runsc)} && for platform in systrap ptrace; do \
	  STEPWELL_TEST_RUNSC=$$runsc STEPWELL_TEST_PLATFORM=$$platform $(python) -m pytest -n 3 -k 'not process]' \
	    tests/contract/test_sandbox.py tests/contract/test_sandbox_limits.py tests/contract/test_sandbox_stalls.py || exit 1; done

simulate: setup  ## several nodes on virtual time, stores that misbehave, faults: SEEDS=A-B (1-200)
	@$(python) -m tests.simulation $(SEEDS)

fuzz: setup  ## tests/fuzz for long: FUZZ_EXAMPLES (5000) of each, at random
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-5000} $(python) -m pytest tests/fuzz --timeout=0

lint: setup types imports  ## ruff, mypy, import contracts, generated stubs, deploy's YAML
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) scripts/generate_stubs.py --check
	@$(python) -m yamllint --strict --config-file deploy/.yamllint deploy

types: setup
	@$(python) -m mypy $(typed)
	@for bundle in $(bundles); do (cd $$bundle && $(CURDIR)/$(python) -m mypy --config-file $(CURDIR)/pyproject.toml --exclude ^repo/ .) || exit 1; done

imports: setup
	@.venv/bin/lint-imports

format: setup  ## rewrite the sources as ruff would have them
	@$(python) -m ruff check --fix --quiet . || true
	@$(python) -m ruff format .

stubs: setup  ## generate Python from proto/
	@$(python) scripts/generate_stubs.py

lock: setup  ## resolve requirements.lock again from the two pyproject.toml
	@$(python) scripts/update_lock.py

bench: setup  ## speed, each figure beside its floor, one JSON line each
	@$(python) -m bench

clean:  ## forget all that was generated here
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
