# Everything a person or CI runs. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen --no-sync
PB := worker/src/rochallor_worker/engine/_pb
# a module stays in one process, with its servers; four at a time, because these tests wait more than they work
# a process of tests that crashes fails the run; xdist 3.8 may wait for its replacement for ever
SIDE_BY_SIDE := --numprocesses=4 --dist=loadfile --max-worker-restart=0
CLUSTER := PYTHONPATH=tests $(RUN) python -m cluster
HELM ?= helm
DIST ?= dist
IMAGES ?= rochallor

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready: pyproject.toml worker/pyproject.toml operator/pyproject.toml uv.lock
	@echo "… set up the locked Python environment"
	@command -v uv >/dev/null || [ -x .tools/bin/uv ] || { python3 -m venv .tools && .tools/bin/pip install --quiet --require-hashes --requirement image/uv.txt; }
	@$(UV) sync --frozen --quiet
	@touch $@

.PHONY: setup
setup: .venv/.ready ## install the locked Python environment in .venv, with uv (if missing, from .tools/bin)
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "done; to use it: . .venv/bin/activate")

.PHONY: lint
lint: setup ## format check, lint, import directions
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) lint-imports

.PHONY: format
format: setup ## format and fix what can be fixed
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

.PHONY: types
types: setup ## mypy --strict
	$(RUN) mypy image worker/src operator/src tests examples docs charts crds release.py

.PHONY: proto
proto: setup ## generate the gRPC messages from worker/proto
	$(RUN) python -m grpc_tools.protoc --proto_path=worker/proto --python_out=$(PB) --pyi_out=$(PB) workflow/v1/engine.proto workflow/v1/dispatch.proto

.PHONY: unit
unit: setup ## unit and property tests, no server needed
	$(RUN) pytest tests/unit --numprocesses=auto --dist=loadfile

.PHONY: unit-lowest
unit-lowest: setup ## the same with the lowest versions of libraries that the packages allow
	@$(UV) venv --quiet --clear .venv-lowest
	@$(UV) pip compile --quiet --resolution lowest-direct --all-extras --group dev worker/pyproject.toml operator/pyproject.toml \
	  --output-file .venv-lowest/requirements.txt
	@VIRTUAL_ENV=.venv-lowest $(UV) pip install --quiet --requirements .venv-lowest/requirements.txt
	@VIRTUAL_ENV=.venv-lowest $(UV) pip install --quiet --no-deps --editable worker --editable operator
	@# another protoc writes the generated modules in other words
	.venv-lowest/bin/pytest tests/unit --numprocesses=auto --dist=loadfile \
	  --deselect tests/unit/engine/test_proto.py::test_the_generated_modules_are_up_to_date

.PHONY: docs
docs: setup ## write the reference pages from the code and the runs' figures, and build the site into site/
	PYTHONPATH=tests $(RUN) python -m faults.page
	$(RUN) python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet

.PHONY: recording
recording: setup ## run `rochallor-worker demo` and draw what it prints into docs/pictures/demo.svg
	$(RUN) python docs/recording.py

.PHONY: crd
crd: setup ## write the definitions of connections; with OPENAPI=FILE (kubectl get --raw /openapi/v3/api/v1) a pod's fields too
	$(if $(OPENAPI),$(RUN) python crds/generate.py $(OPENAPI))
	$(RUN) python crds/connections.py

.PHONY: charts
charts: setup ## copy into the charts what they repeat of the resource definition
	$(RUN) python charts/generate.py

.PHONY: browser
browser: setup ## the pages and the site in a real headless browser, with pictures in site/pictures (minutes; installs Chromium if missing)
	$(RUN) pytest tests/browser

.PHONY: conformance
conformance: setup ## what a running engine is, and whether a worker keeps its promises there (ENGINE_URL=…, ENGINE_GRPC=host:port)
	@PYTHONPATH=tests $(RUN) python -m conformance $(or $(ENGINE_URL),$(error name the engine: ENGINE_URL=http://engine:8080)) $(if $(ENGINE_GRPC),--grpc $(ENGINE_GRPC))

.PHONY: bench
bench: setup ## measure a worker beside a raw client and a naive loop (minutes)
	PYTHONPATH=tests $(RUN) python -m bench

.PHONY: bench-docs
bench-docs: setup ## the same plus a million jobs, written to docs/benchmarks.md
	PYTHONPATH=tests $(RUN) python -m bench --soak --write

.PHONY: bench-operator
bench-operator: control-plane ## measure the operator with 1,000 and 5,000 resources on a real API server (half an hour)
	PYTHONPATH=tests $(RUN) python -m bench.operator

.PHONY: bench-operator-docs
bench-operator-docs: control-plane ## the same, written to docs/operator-benchmarks.md
	PYTHONPATH=tests $(RUN) python -m bench.operator --write

.PHONY: faults
faults: control-plane cluster-up ## inject every fault several times, print the results and write docs/guarantees.md (minutes)
	PYTHONPATH=tests $(RUN) python -m faults

.PHONY: control-plane
control-plane: setup ## build etcd, kube-apiserver and kube-controller-manager (minutes, once)
	@$(CLUSTER) build

.PHONY: integration
integration: control-plane ## the operator against a real API server, the worker against the dev engine
	$(RUN) pytest tests/integration $(SIDE_BY_SIDE)

.PHONY: faults-short
faults-short: control-plane ## every fault once and small, as a test; run it alone: other tests' load is a fault too
	$(RUN) pytest tests/faults

.PHONY: fuzz
fuzz: control-plane ## hostile input, far more than in `make test` and new each time (15 min; SEED=n repeats a run)
	$(RUN) pytest tests/fuzz --hypothesis-profile=long --hypothesis-seed=$(or $(SEED),$(shell echo $$RANDOM)) \
	  --hypothesis-show-statistics --timeout=3600

.PHONY: fuzz-short
fuzz-short: control-plane ## the same, short, with the same examples each time
	$(RUN) pytest tests/fuzz $(SIDE_BY_SIDE) --hypothesis-profile=ci

.PHONY: mutants
mutants: setup ## break the core's rules one after another, and see that a unit test notices (30 min; MODULES="rochallor_worker.execution.lease …")
	PYTHONPATH=tests nice -n 19 $(RUN) python -m mutants --seconds 3000 $(MODULES)

.PHONY: cluster-up
cluster-up: setup ## start a Kubernetes cluster that really runs pods (kind with Docker, else a node of its own, as root)
	@$(CLUSTER) up

.PHONY: cluster-down
cluster-down: setup ## stop it and remove what it left behind
	@$(CLUSTER) down

.PHONY: e2e
e2e: cluster-up ## everything together on real pods; the cluster stays up for the next run
	$(RUN) pytest tests/e2e --ignore=tests/e2e/autoscaling --timeout=600

.PHONY: autoscalers
autoscalers: cluster-up ## install Prometheus, its adapter and KEDA into the cluster (minutes, once)
	@$(CLUSTER) autoscalers

.PHONY: e2e-autoscaling
e2e-autoscaling: autoscalers ## pods follow real load, with real autoscalers (12 min)
	$(RUN) pytest tests/e2e/autoscaling --timeout=600

.PHONY: graph
graph: autoscalers ## draw docs/autoscaling.svg from a load wave on the cluster (minutes)
	$(RUN) pytest tests/e2e/autoscaling/test_waves.py -k follow
	PYTHONPATH=tests $(RUN) python -m e2e.autoscaling.graph

.PHONY: dist
dist: setup ## build wheels, sdists and charts into dist/; IMAGES=HOST/PATH is where the charts find the images
	@rm -rf $(DIST) && mkdir -p $(DIST)/charts
	$(UV) build --quiet --all-packages --no-create-gitignore --out-dir $(DIST)
	@cp -r charts/rochallor-* $(DIST)/charts
	@sed -i.orig 's|rochallor/rochallor-|$(IMAGES)/rochallor-|' $(DIST)/charts/*/values.yaml $(DIST)/charts/*/README.md
	@find $(DIST)/charts -name '*.orig' -delete
	$(HELM) package $(DIST)/charts/* --destination $(DIST)
	@rm -r $(DIST)/charts

.PHONY: images
images: setup ## build both images, rochallor/rochallor-worker and rochallor/rochallor-operator (Docker, else buildah)
	@$(CLUSTER) images

.PHONY: release
release: setup ## VERSION=1.4.0: write that version everywhere and date its CHANGELOG section
	$(RUN) python release.py prepare $(VERSION)

.PHONY: sbom
sbom: setup ## list the Python packages in the images, with hashes, in dist/ (CycloneDX)
	@mkdir -p $(DIST)
	$(UV) export --preview-features sbom-export --frozen --quiet --no-dev --package rochallor-worker --extra all --format cyclonedx1.5 --output-file $(DIST)/worker.cdx.json
	$(UV) export --preview-features sbom-export --frozen --quiet --no-dev --package rochallor-operator --format cyclonedx1.5 --output-file $(DIST)/operator.cdx.json

.PHONY: audit
audit: setup ## ask PyPI for known vulnerabilities of the Python packages in the images
	@mkdir -p $(DIST)
	$(UV) export --frozen --quiet --no-dev --all-packages --no-emit-workspace --output-file $(DIST)/requirements.txt
	$(UV) run --frozen --isolated --only-group audit pip-audit --strict --disable-pip --require-hashes --requirement $(DIST)/requirements.txt

.PHONY: test
test: lint types unit fuzz-short integration faults-short e2e ## all of it (about an hour on two cores)

.PHONY: demo
demo: setup ## from nothing to 300 finished workflow instances on a real cluster
	@$(CLUSTER).demo

.PHONY: demo-down
demo-down: cluster-down ## remove the demo and its cluster
