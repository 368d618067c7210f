# The whole surface of the project: `make help` lists it. The first command makes the environment.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
DEV     := $(VENV)/.ready-dev
LOCAL   := $(VENV)/.ready-local
DEMO    := $(VENV)/.ready-demo
# The release that was tested. Any version from 2.9 should work. Its CPU build is enough without an NVIDIA GPU.
TORCH   ?= torch==2.13.0
CUDA    ?= $(if $(shell command -v nvidia-smi),yes,no)
CPU_BUILD = $(if $(filter no,$(CUDA)),--retries 1 --extra-index-url https://download.pytorch.org/whl/cpu)
TASK    ?=
BASE    ?=
ENGINE  ?=
OPTIONS ?=
FILE    ?=
MODELS  ?=
DATA    ?=
N       ?=

# An option is passed only when its variable is set; TASK takes several names.
TASKS_OPTION  = $(foreach task,$(TASK),--task $(task))
DATA_OPTION   = $(if $(DATA),--data $(DATA))
BENCH_OPTIONS = $(TASKS_OPTION) $(if $(MODELS),--models $(MODELS)) $(DATA_OPTION) $(if $(N),--rows $(N))

.DEFAULT_GOAL := help
.PHONY: help bench plan report check train sweep adapters demo test wheel local cluster page lint format clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)
	@echo "variables: TASK (default: all), MODELS (a models file), DATA (a mirror's folder, hub or sample), N (rows);"
	@echo "for sweep: FILE (a sweep file), OPTIONS (others of harness sweep); for demo: OPTIONS (others of harness demo)"
	@echo "for train: TASK, BASE (a hub id or folder), ENGINE (ludwig or peft), OPTIONS (others of harness train)"

bench: $(READY) ## ask models the held-out rows of TASK and print the table
	@$(BIN)/harness bench $(BENCH_OPTIONS)

plan: $(READY) ## estimate the cost of a bench and its minimum detectable difference
	@$(BIN)/harness plan $(BENCH_OPTIONS)

report: $(READY) ## rebuild tables and plots from results/
	@$(BIN)/harness report

check: $(READY) ## validate TASK before a model is asked
	@$(BIN)/harness check $(TASK) $(DATA_OPTION)

train: $(if $(filter peft,$(ENGINE)),$(LOCAL),$(READY)) ## fine-tune an adapter of BASE for TASK
	@$(BIN)/harness train $(TASK) --base $(BASE) $(if $(ENGINE),--engine $(ENGINE)) $(DATA_OPTION) $(OPTIONS)

sweep: $(LOCAL) ## train and score every cell of the grid in FILE
	@$(BIN)/harness sweep $(FILE) $(DATA_OPTION) $(OPTIONS)

adapters: $(LOCAL) ## train the shipped adapters of smollm2-135m from the mirror DATA (hours; resumes)
	@$(BIN)/python -m studies.landscape train $(DATA_OPTION) --jobs 2

demo: $(DEMO) ## show models side by side in a browser, on rows of TASK or prompts of your own
	@$(BIN)/harness demo $(TASKS_OPTION) $(if $(MODELS),--models $(MODELS)) $(DATA_OPTION) $(OPTIONS)

test: $(DEV) ## run the tests that need only this environment
	@$(BIN)/python -m pytest -q -m "not browser and not local and not index and not cluster"

wheel: $(DEV) ## install the wheel into an empty environment and run it in an empty folder
	@$(BIN)/python -m pytest -q -n 0 -m index

local: $(LOCAL) ## run the tests that need torch
	@$(BIN)/python -m pytest -q -n 0 -m local

cluster: $(LOCAL) ## run the sweeps of the tests on a Ray cluster of two nodes, one of which is killed
	@$(BIN)/python -m pytest -q -n 0 -m cluster

page: $(DEV) ## run the tests of the report's page, which need Chromium and its driver
	@$(BIN)/python -m pytest -q -m browser

lint: $(DEV) ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(DEV) ## rewrite the code in the project's style
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean: ## remove the environment, caches and reports; recorded answers stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis reports

# uv installs in seconds, pip needs a minute; uv comes from the same index.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.12"; exit 2; }
	@echo "making the environment in $(VENV) (once) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable .
	@touch $@

$(DEV): $(READY)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --group dev
	@touch $@

$(DEMO): $(READY)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[demo]'
	@touch $@

# Torch with pip, which uses local wheels; uv would install the newest release of the index.
$(LOCAL): $(DEV)
	@echo "installing torch, transformers and PEFT (once; $(if $(CPU_BUILD),1 GB with the CPU build,6.4 GB with CUDA)) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CPU_BUILD) "$(TORCH)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[local]' --group local
	@touch $@
