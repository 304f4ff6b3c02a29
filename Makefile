SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test test-fast test-full-data test-builder test-device test-tflite-runtime lint types lock docs measure-house \
        data bench-esci bench-architectures bench-ablation bench-online-retail bench-cold-start bench-learning-loop bench-sync bench-rollouts bench-faults clean web test-web bench-web conformance bench-edge test-arm64 bench-personal bench-device-size

# A bundle with a real int8 student, which the end-to-end tests leave for the environments that cannot build.
TESTED_BUNDLE := build/tested-bundle

# The newest Python with wheels of TensorFlow 2.21, and of tflite-runtime 2.14.
TENSORFLOW_PYTHON := 3.13
TFLITE_RUNTIME_PYTHON := 3.11

# The storefront as the server hands it out; built anew when a file of web/ is newer.
STOREFRONT := sync_server/storefront_files/index.html.gz
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/dist-node/*')

# Two processes share the tests by files, so that what a file makes once is made once. Files are taken in the given order, the
# longest first: few long tests at the end would leave one process idle.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
# TensorFlow's own threads would fight over the cores that the two processes have.
ONE_THREAD := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1

ENVIRONMENT := scripts/environment.sh
# The exit code of scripts/environment.sh when no suitable Python is found.
NO_PYTHON := 4
RUN := .venv/bin/python

# make bench-esci FOLDS=0 runs one fold only (the benchmark reads FOLDS itself), CONFIG=file.toml gives the settings.
BENCH_OPTIONS := $(if $(CONFIG),--config $(CONFIG))
# Every test file belongs to one of these lists, and tests/unit/house/test_environments.py holds it to that: what needs the
# builder runs in .venv, what a device or a server is made of runs without TensorFlow, in .venv-device.
BUILDER_TESTS := tests/e2e tests/integration/builder tests/unit/compress tests/unit/train tests/unit/pocketrec \
        tests/unit/benchmarks tests/unit/house/builder
# Servers under load need the machine: in .venv for the benchmarks' packages, after the others, in one process.
LOAD_TESTS := tests/integration/servers
DEVICE_TESTS := tests/integration tests/unit/edge_runtime tests/unit/sync_server tests/unit/house \
        --ignore=tests/unit/house/builder --ignore=tests/integration/builder --ignore=tests/integration/servers
BROWSER_TESTS := tests/browser

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

setup:  ## the environment .venv with everything that builds and serves (some 2.5 GB)
	@$(ENVIRONMENT) .venv $(TENSORFLOW_PYTHON) train server weights package

setup-test: setup  ## what the tests need besides: .venv-device without TensorFlow, servers and a browser from Debian
	@scripts/debian_packages.sh
	@$(ENVIRONMENT) .venv $(TENSORFLOW_PYTHON) dev bench
	@$(ENVIRONMENT) .venv-device $(TENSORFLOW_PYTHON) server dev

web: $(STOREFRONT)  ## the web runtime and the storefront, from web/ into the server's package

$(STOREFRONT): $(WEB_SOURCES) scripts/web.sh
	@scripts/web.sh run build

demo: setup web  ## the whole way on the sample shop, some five minutes; in a terminal it ends with the shop in your browser
	@serve=(); [[ ! -t 1 ]] || serve=(--serve); $(RUN) -m pocketrec demo "$${serve[@]}"

test: test-builder test-device test-tflite-runtime test-web test-arm64  ## every test, in all environments

test-fast: setup-test  ## unit tests without TensorFlow, under a minute
	@.venv-device/bin/python -m pytest -q tests/unit/edge_runtime tests/unit/sync_server

test-builder: setup-test web  ## unit, integration and end-to-end tests of the builder, and servers under load, in .venv
	@$(ONE_THREAD) POCKETREC_KEEP_BUNDLE=$(TESTED_BUNDLE) $(RUN) -m pytest -q $(PARALLEL) $(BUILDER_TESTS)
	@$(RUN) -m pytest -q $(LOAD_TESTS)

# Whoever runs one environment alone needs the bundle too.
$(TESTED_BUNDLE)/manifest.json:
	@$(MAKE) setup-test
	@POCKETREC_KEEP_BUNDLE=$(TESTED_BUNDLE) $(RUN) -m pytest -q tests/e2e/test_build.py -k golden_answers

test-device: setup-test  ## device, server and house tests in .venv-device, without TensorFlow
	@.venv-device/bin/python -m pytest -q $(PARALLEL) $(DEVICE_TESTS)
	@if [[ -d $(TESTED_BUNDLE) ]]; then .venv-device/bin/python -m pocketrec prove $(TESTED_BUNDLE); fi

test-tflite-runtime:  ## device tests again on the older interpreter, where Python 3.11 is found
	@code=0; $(ENVIRONMENT) .venv-tflite-runtime $(TFLITE_RUNTIME_PYTHON) tflite-runtime || code=$$?; \
	if [[ $$code -eq $(NO_PYTHON) && -z "$${CI:-}" ]]; then \
	    echo "left out: tflite-runtime has wheels for Python 3.11 only" >&2; \
	elif [[ $$code -ne 0 ]]; then \
	    exit $$code; \
	else \
	    .venv-tflite-runtime/bin/python -m pytest -q tests/unit/edge_runtime; \
	    if [[ -d $(TESTED_BUNDLE) ]]; then .venv-tflite-runtime/bin/python -m pocketrec prove $(TESTED_BUNDLE); fi; \
	fi

test-full-data: data setup-test  ## the tests of real data on the full data sets (POCKETREC_DATA) instead of excerpts
	@$(RUN) -m pytest -q -m full_data tests/unit tests/integration

test-web: setup-test web $(TESTED_BUNDLE)/manifest.json  ## the web runtime: its own tests, then the storefront in headless Chromium, offline included
	@scripts/web.sh run types lint test
	@.venv-device/bin/python -m pytest -q $(BROWSER_TESTS)

# What an arm64 device must give: the conformance vectors, the interpreter's door, the golden answers of an int8 bundle.
ARM64_TESTS := tests/unit/edge_runtime/test_conformance_vectors.py tests/unit/edge_runtime/updates/test_self_test.py \
        tests/unit/edge_runtime/inference/test_models.py

test-arm64: setup-test  ## the device on an emulated arm64 processor: conformance vectors and golden answers
	@code=0; scripts/arm64.sh build/arm64 -m pytest -q -p no:cacheprovider $(ARM64_TESTS) || code=$$?; \
	if [[ $$code -eq $(NO_PYTHON) && -z "$${CI:-}" ]]; then \
	    echo "left out: no apt-get or QEMU to emulate arm64 with" >&2; \
	elif [[ $$code -ne 0 ]]; then \
	    exit $$code; \
	elif [[ -d $(TESTED_BUNDLE) ]]; then \
	    scripts/arm64.sh build/arm64 -m pocketrec prove $(TESTED_BUNDLE); \
	fi

lint: setup-test  ## ruff: rules and format
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

types: setup-test  ## mypy, strict
	@$(RUN) -m mypy

lock:  ## write requirements/*.lock anew (needs uv)
	@UV=$(or $(UV),uv) scripts/lock.sh

measure-house: setup-test  ## sizes, repetition and documentation of the product's Python, as a table
	@$(RUN) scripts/measure_house.py

docs: setup-test  ## write docs/cli.md from the commands' --help
	@$(RUN) -m tests.support.command_reference > docs/cli.md

conformance: setup-test  ## write tests/data/conformance anew: what every runtime must answer
	@.venv-device/bin/python -m tests.support.conformance

data:
	@[[ -d "$${POCKETREC_DATA:-}" ]] || { echo "POCKETREC_DATA must name the folder of the data sets" >&2; exit 1; }

bench-esci: data setup-test  ## product search against its peers on Amazon ESCI (POCKETREC_DATA names the data)
	@$(RUN) -m benchmarks.search.esci $(BENCH_OPTIONS)

bench-learning-loop: setup-test  ## retraining from the clicks of simulated people whose preferences are known
	@$(RUN) -m benchmarks.fleet.learning_loop $(BENCH_OPTIONS)

bench-architectures: data setup-test  ## student architectures under one budget (POCKETREC_DATA)
	@$(RUN) -m benchmarks.ablations.architectures $(BENCH_OPTIONS)

bench-ablation: data setup-test  ## what each part of a build gives, on ESCI's training queries (POCKETREC_DATA)
	@$(RUN) -m benchmarks.ablations.ablation $(BENCH_OPTIONS)

bench-online-retail: data setup-test  ## next-basket recommendation on UCI Online Retail (POCKETREC_DATA)
	@$(RUN) -m benchmarks.recommendation.online_retail $(BENCH_OPTIONS)

bench-cold-start: data setup-test  ## recommending what nobody has bought yet, by its text, on UCI Online Retail (POCKETREC_DATA)
	@$(RUN) -m benchmarks.recommendation.online_retail --cold-start 0.1 $(BENCH_OPTIONS)

bench-sync: setup-test  ## server, fleet, deltas and rollouts: every figure of docs/benchmarks.md about them
	@$(RUN) -m benchmarks.fleet.sync $(if $(BUNDLE),--bundle $(BUNDLE)) $(if $(RETRAINED),--retrained $(RETRAINED))

bench-faults: setup-test  ## hostile servers, forged counts, packed bodies, killed apps, slow readers, memory of deltas
	@$(RUN) -m benchmarks.fleet.faults $(BENCH_OPTIONS)

bench-rollouts: setup-test  ## simulated rollouts in several kinds of fleets: false halts, and how far bad releases come
	@$(RUN) -m benchmarks.fleet.rollouts

bench-web: data setup-test web  ## typed query to painted results in Chromium, answers equal to Python's (BUNDLE=… of ESCI)
	@$(RUN) -m benchmarks.device.web $(or $(BUNDLE),work/esci/fold-0/bundle)

bench-personal: data setup-test  ## what the user's taste brings on UCI Online Retail (POCKETREC_DATA)
	@$(RUN) -m benchmarks.recommendation.personal $(BENCH_OPTIONS)

bench-device-size: setup  ## the smallest environment of a device, and its size
	@scripts/slim_device.sh build/slim-device

bench-edge: data setup-test  ## the device's speed, memory and start beside its peer (BUNDLE=… measures another bundle)
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.device.edge $(if $(BUNDLE),--bundle $(BUNDLE))

clean:  ## remove the environments and everything that was made
	rm -rf .venv .venv-device .venv-tflite-runtime .venv-node build dist demo web/node_modules web/packages/*/dist web/packages/*/dist-node web/apps/*/dist sync_server/storefront_files ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
