# Two commands set everything up: `make demo` and `make test`. Both share one .venv. `make test` leaves the slow tests
# (tests/slow.txt) to `make test-all`, and both leave other people's libraries to `make clients`.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs
OUT ?= runs/demo
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test test-all portability clients oldest gpu lint bench growth scale performance matrix sweep reach verdicts results claims gpu-campaign coverage docs docs-serve clean portable

demo: $(READY)
	$(BIN)/surgeon demo -o $(OUT) --overwrite

test: $(READY)
	$(THREADS) $(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/clients -m "not slow"

test-all: $(READY)
	mkdir -p build && $(THREADS) $(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/clients --junitxml=build/tests.xml

portability: $(READY)
	$(BIN)/python -m tests.portability

# Of the settings of `portability` the one that is farthest from what processors of today do, without slow tests and those that
# start processes.
portable: $(READY)
	$(BIN)/python -m tests.portability farthest -n 2 --dist worksteal

clients: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[clients]' || { echo "the libraries of the extra clients could not be installed; nothing was tried"; exit 0; }; \
	mkdir -p build && $(THREADS) $(BIN)/python -m pytest -n 2 --dist worksteal tests/clients --junitxml=build/clients.xml && \
	$(BIN)/python -m tests.clients.page build/clients.xml

# The suite's core on the oldest torch that is supported, in an environment of its own.
oldest:
	test -x build/oldest/bin/python || $(PYTHON) -m venv build/oldest
	build/oldest/bin/python -m pip install --quiet --disable-pip-version-check torch==2.9.1 torchvision==0.24.1 -e '.[train]' scipy pytest pytest-xdist || { echo "torch 2.9.1 could not be installed; nothing was tried"; exit 0; }; \
	$(THREADS) build/oldest/bin/python -m pytest -p no:cacheprovider -n 2 --dist worksteal tests/methods tests/graph tests/surgery tests/own_models tests/training/test_noisy_steps.py

gpu: $(READY)
	SURGEON_TEST_GPU=1 $(THREADS) $(BIN)/python -m pytest -n 4 --dist worksteal tests/gpu tests/methods

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

growth: $(READY)
	$(BIN)/python -m benchmarks.growth

scale: $(READY)
	$(THREADS) $(BIN)/python -m benchmarks.scale

performance: $(READY)
	$(BIN)/python -m benchmarks.page --keep

matrix: $(READY)
	SURGEON_MATRIX=1 $(THREADS) $(BIN)/python -m pytest -n 2 --dist worksteal tests/test_models_times_recipes.py tests/methods/test_conformance_of_recipes.py

sweep: $(READY)
	$(THREADS) $(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.coverage

verdicts: $(READY)
	$(THREADS) $(BIN)/python -m experiments.known_defences

results: $(READY)
	$(BIN)/python -m experiments.results

# On a graphics card: a table of trainings and evaluations in steps of under ten minutes (exit code 3: the same command goes
# on). IMAGES is made beforehand by `python -m experiments.campaign pack FOLDER images.npz`.
IMAGES ?= images.npz
gpu-campaign: $(READY)
	$(BIN)/python -m experiments.campaign run $(IMAGES) -o runs/campaign --minutes 9 --workers 8

# Figures of README and docs against the commands that print them, where those take less than three minutes.
claims: $(READY)
	$(THREADS) $(BIN)/python -m experiments.claims

reach: $(READY)
	$(THREADS) $(BIN)/python -m benchmarks.reach

coverage: $(READY)
	$(BIN)/python -m benchmarks.coverage

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(THREADS) $(BIN)/python -m mkdocs build --strict
	$(THREADS) $(BIN)/python -m pytest -p no:cacheprovider docs
	SURGEON_SITE=build/site $(BIN)/python -m pytest -p no:cacheprovider tests/site

docs-serve: $(DOCS)
	SURGEON_DOCS_EXECUTE=false NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "surgeon needs Python 3.11 or newer on the PATH (or make PYTHON=/path/to/python)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1 adv-lib==0.2.8
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
