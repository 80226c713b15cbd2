# `make` lists the targets. A fresh machine needs Python >= 3.11 and a network.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install run test test-random test-all test-client test-napari test-napari-newest test-napari-others test-napari-upstream test-containers check format coverage docs pictures soak seed lock
.PHONY: audit build demo site version year bench bench-aggregate bench-client bench-hostile bench-intake bench-napari bench-plans bench-scale clean

# One worker per core; tests of a module share expensive fixtures, so they run on one worker
PARALLEL := -n auto --dist loadscope --no-loadscope-reorder
EVERYDAY := -m "not slow and not browser and not postgresql and not napari"

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

$(VENV)/installed: requirements-dev.lock pyproject.toml client_hook/napari-update-hook/pyproject.toml client_hook/napari-telemetry/pyproject.toml client_hook/napari-release-check/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python >= 3.11 is required: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Creating $(VENV), which takes a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e client_hook/napari-update-hook -e client_hook/napari-telemetry -e client_hook/napari-release-check -e .
	@touch $@

install: $(VENV)/installed ## Create the environment

run: install ## Start the service on http://127.0.0.1:8000 with SQLite and without configuration
	@exec $(BIN)/update-server run

test: install ## Run the everyday tests (four minutes on two cores)
	$(BIN)/python -m pytest $(PARALLEL) -p no:randomly $(EVERYDAY) $(PYTEST)

test-random: install ## Run them in random order; PYTEST="--randomly-seed=N" repeats a run
	$(BIN)/python -m pytest $(PARALLEL) $(EVERYDAY) $(PYTEST)

test-all: install ## Run all tests; those with missing requirements are skipped with a hint
	TEST_ALL=1 $(BIN)/python -m pytest $(PARALLEL) -p no:randomly $(PYTEST)
	$(MAKE) -j2 --output-sync=target test-napari-newest test-client test-napari-others

test-client: install ## Run the client's tests on every supported and installed Python
	$(BIN)/nox -f client_hook/noxfile.py $(if $(PYTEST),-- $(PYTEST))

test-napari: test-napari-newest test-napari-others ## Run the client's tests in real napari (900 MB each)

test-napari-newest: install
	$(BIN)/nox -f client_hook/noxfile.py -s napari-pyqt6 $(if $(PYTEST),-- $(PYTEST))

test-napari-others: install
	$(BIN)/nox -f client_hook/noxfile.py -s napari-pyside6 napari-oldest $(if $(PYTEST),-- $(PYTEST))

test-containers: install ## Test compose.yaml in Docker (by hand, as root, 8 minutes)
	TEST_CONTAINERS=1 $(BIN)/python -m pytest -p no:randomly -v --durations 10 tests/containers $(PYTEST)

test-napari-upstream: install ## Compare napari's own tests with and without our packages (by hand, 20 minutes)
	$(BIN)/nox -f client_hook/noxfile.py -s napari-upstream $(if $(PYTEST),-- $(PYTEST))

pictures: install ## Take the documentation's screenshots (needs UPDATE_SERVER_UPSTREAM)
	$(BIN)/update-server index build build/pictures-index
	TEST_INDEX=build/pictures-index TEST_PICTURES=$(CURDIR)/docs/pictures $(BIN)/python -m pytest -q -p no:randomly tests/browser -k readme
	TEST_INDEX=build/pictures-index TEST_PICTURES=$(CURDIR)/docs/pictures $(BIN)/nox -f client_hook/noxfile.py -s napari-pyqt6 -- -q tests/inside_napari/test_pictures.py

soak: install ## Use napari for 30 minutes and check that memory does not grow
	TEST_SOAK_S=$${TEST_SOAK_S:-1800} $(BIN)/nox -f client_hook/noxfile.py -s napari-pyqt6 -- -q -s -o faulthandler_timeout=0 tests/inside_napari/test_soak.py

check: install ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: install ## Run all tests and show uncovered lines
	TEST_ALL=1 $(BIN)/python -m pytest -p no:randomly --cov --cov-report=
	$(BIN)/coverage combine --keep -q || true
	$(BIN)/coverage report

docs: install ## Generate the files that come from the code
	$(BIN)/update-server settings --markdown > docs/settings.md
	$(BIN)/python -m tests.support.promises > docs/promises.md
	$(BIN)/python -m aggregation catalogue --grafana deploy/grafana/dashboards > /dev/null
	$(BIN)/python -m aggregation catalogue --questions > client_hook/napari-telemetry/src/napari_telemetry/questions.json

site: docs ## Build the documentation site in docs/_build/html
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html docs docs/_build/html

seed: install ## Rebuild the shipped seed index from UPDATE_SERVER_UPSTREAM
	$(BIN)/update-server index seed

lock: install ## Resolve the dependencies again
	$(BIN)/uv pip compile --quiet --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-package napari-update-hook --no-emit-package napari-telemetry --extra postgresql pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-package napari-update-hook --no-emit-package napari-telemetry --extra postgresql --group dev pyproject.toml -o requirements-dev.lock

demo: install ## Start the service on two years of sample weeks, in ./demo-data, and open the dashboard
	@export UPDATE_SERVER_DATA=$${UPDATE_SERVER_DATA:-demo-data} UPDATE_SERVER_PORT=$${UPDATE_SERVER_PORT:-8000}; \
	grep -qs "All weeks" $$UPDATE_SERVER_DATA/made-up-numbers || $(BIN)/update-server demo || exit; \
	( sleep 4; $(BIN)/python -m webbrowser "http://127.0.0.1:$$UPDATE_SERVER_PORT/dashboard" >/dev/null 2>&1 ) & \
	exec $(BIN)/update-server run

build: install ## Build sdists and wheels of all packages in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist client_hook/napari-update-hook
	$(BIN)/python -m build --outdir dist client_hook/napari-telemetry
	$(BIN)/python -m build --outdir dist client_hook/napari-release-check
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	$(BIN)/python deploy/conda/make_recipe.py dist/napari_update_hook-*.tar.gz > dist/recipe.yaml

VERSIONS := aggregation/__init__.py client_hook/napari-update-hook/src/napari_update_hook/__init__.py client_hook/napari-telemetry/src/napari_telemetry/__init__.py client_hook/napari-release-check/src/napari_release_check/__init__.py
version: ## Set the version of all packages: make version VERSION=0.2.0
	@test -n "$(VERSION)" || { echo "make version VERSION=0.2.0"; exit 2; }
	sed -i.before 's/^__version__ = ".*"/__version__ = "$(VERSION)"/' $(VERSIONS)
	rm $(addsuffix .before,$(VERSIONS))

audit: install ## Check locked dependencies for known vulnerabilities (needs a network)
	$(BIN)/uv tool run pip-audit --requirement requirements.lock --disable-pip --require-hashes

bench: install ## Measure serving against nginx (needs wrk and nginx)
	$(BIN)/python -m benchmarks.serve

bench-napari: install ## Measure the panel's cost on napari's GUI thread (after make test-napari-newest)
	client_hook/.nox/napari-pyqt6/bin/python -m benchmarks.inside_napari

bench-hostile: install ## Measure how long a hostile index stalls the service
	$(BIN)/python -m benchmarks.hostile

bench-intake: install ## Measure the intake of reports (needs wrk)
	$(BIN)/python -m benchmarks.intake

year: install ## Simulate a year: 2,000 people with the real client, about an hour (needs NAPARI_INDEX_REPLAY)
	$(BIN)/python -m tests.simulation

bench-aggregate: install ## Measure publishing a week of up to a million reports
	$(BIN)/python -m benchmarks.aggregate

bench-plans: install ## Check the plans of 200 random environments with pip (needs NAPARI_INDEX_REPLAY)
	$(BIN)/python -m benchmarks.plans

bench-client: install ## Measure the client's cost inside napari
	$(BIN)/python -m benchmarks.client

bench-scale: install ## Measure web processes behind Caddy on PostgreSQL (needs NAPARI_INDEX_REPLAY, wrk, caddy, postgresql)
	$(BIN)/python -m benchmarks.scale

clean: ## Remove the environment and tool output
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
