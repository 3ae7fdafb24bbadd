# Millrace: `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUDIT := $(VENV)/audit
INPUT ?= samples/bigbuckbunny.mp4
OUT ?= out
PROFILE ?= web-hls

.PHONY: help install transcode test check sim sim-long chaos chaos-bugs power audit sbom fuzz fuzz-media bombs bench failover figures docs lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## put everything into .venv

# uv makes and fills the environment; where it is missing it comes from PyPI into a venv of its own.
$(VENV)/.installed: requirements.txt pyproject.toml
	@PYTHON=$(PYTHON) sh .ci/install $(VENV)
	@touch $@

# Names go through the environment, so that no shell reads the quotes and dollars in them; and not under the names of the
# command line, which make would expand before it exports them.
unexport INPUT OUT PROFILE
transcode: export FILM = $(or $(value INPUT),samples/bigbuckbunny.mp4)
transcode: export FILM_OUT = $(value OUT)
transcode: export FILM_PROFILE = $(value PROFILE)
transcode: install ## INPUT=film.mp4 OUT=out [PROFILE=web-hls] [OVERWRITE=1]: turn a film into a streaming ladder
	@$(BIN)/millrace transcode --profile "$$FILM_PROFILE" --out "$$FILM_OUT" $(if $(OVERWRITE),--overwrite) -- "$$FILM"

test: install ## every check that CI runs
	@$(BIN)/python .ci/test

docs: install ## make the reference pages from the code
	@$(BIN)/python docs/generate.py

sim: install ## [SEED=7] [RUNS=700] [BUG=name]: run the farm under virtual time with faults; one seed, or 700
	@$(BIN)/python -m sim --seed $(or $(SEED),0) --runs $(or $(RUNS),$(if $(SEED),1,700)) $(if $(BUG),--bug $(BUG))

sim-long: install ## [SEED=1000]: the same until Ctrl-C
	@$(BIN)/python -m sim --seed $(or $(SEED),1000) --runs 0 --shrink

fuzz: install ## [SECONDS=60] [SEED=1]: throw what no honest client sends at both APIs, so long each way, and print figures
	@FUZZ_SECONDS=$(or $(SECONDS),60) FUZZ_SEED=$(or $(SEED),1) $(BIN)/pytest -n 0 -s -m fuzz tests/strangers
	@$(BIN)/python -m bench.slow

power: install ## [CUTS=20] [BUG=name]: cut the power of a disk under a working farm, right after answers; needs root and loop devices
	@$(BIN)/python -m power --cuts $(or $(CUTS),20) $(if $(BUG),--bug $(BUG))

audit: install ## ask an advisory service about every pinned library; 3 where it could not be asked
	@[ -x $(AUDIT)/bin/pip-audit ] || { $(BIN)/python -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/audit.txt; } \
	  || echo "cannot install pip-audit" >&2
	@$(BIN)/python .ci/audit.py $(AUDIT)/bin/pip-audit

sbom: install ## what Millrace is made of, as CycloneDX: dist/millrace.cdx.json
	@mkdir -p dist && $(BIN)/python .ci/sbom.py > dist/millrace.cdx.json && echo dist/millrace.cdx.json

chaos: install ## [SEED=7] [SECONDS=60] [STORE=postgres]: run the farm as real processes, with real faults; then it is judged
	@$(BIN)/python -m chaos --seed $(or $(SEED),0) --seconds $(or $(SECONDS),60) --store $(or $(STORE),sqlite) $(if $(REPORT),--report $(REPORT))

chaos-bugs: install ## plant bugs in real processes: each has to be found
	@$(BIN)/python -m chaos --bugs

fuzz-media: export PYTHONPATH = tests/integration
fuzz-media: install ## [SECONDS=600] [SEED=0]: mutated films through probe, plan and decoder, in the sandbox
	@$(BIN)/python -m hostile fuzz --seed $(or $(SEED),0) --seconds $(or $(SECONDS),600)

bombs: export PYTHONPATH = tests/integration
bombs: install ## files of a few bytes that ask for much: how each ends, as a table
	@$(BIN)/python -m hostile bombs

bench: install ## measure, never part of the tests
	@$(BIN)/python bench/run.py

failover: install ## [ROUNDS=10]: measure how long a farm is without its database or its leader
	@$(BIN)/python -m bench.failover --rounds $(or $(ROUNDS),10)

figures: install ## [SECONDS=60] [ROUNDS=10]: chaos, failover and the power of a process, as the tables of docs/reliability.md
	@$(BIN)/python -m bench.reliability --seconds $(or $(SECONDS),60) --rounds $(or $(ROUNDS),10)

lock: ## pin every dependency with its hash
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --group dev pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --group pyproject.toml:browser -o tests/browser/requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --group pyproject.toml:audit -o .ci/audit.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url bench/supervisors.in -o bench/supervisors.txt

clean: ## remove what install and tests made
	@rm -rf $(VENV) dist build out .pytest_cache .mypy_cache .ruff_cache .hypothesis
