# Every target makes its own virtual environment first; nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

.PHONY: demo test lint bench inspector clean

demo: $(READY)  ## an agent's whole day: create, train, ask, sample, watch, save, restart
	$(BIN)/bitlm demo

test: $(READY)  ## everything that must hold, in under ten minutes on two cores
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: $(READY)  ## types and style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## how well and how fast the default model learns; the last line is JSON
	$(BIN)/bitlm bench learn --seconds 60

inspector: $(READY) .node/.ready  ## the MCP Inspector lists and calls the tools over all three transports
	$(BIN)/python -m pytest tests/judges --node .node

.node/.ready:
	npm install --silent --no-fund --no-audit --prefix .node node@22 @modelcontextprotocol/inspector@2.12.0
	touch $@

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bitlm needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .node build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
