# The two commands of a newcomer: `make demo` and `make test`. They need Linux, Python >= 3.11 with
# venv, and a package index; everything else goes into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Empty: the name in deploy/, and the base in the Dockerfile (for e2e: made by this machine).
IMAGE  ?=
BASE_IMAGE ?=
HOMEPAGE ?=
BEFORE ?= HEAD^
SEEDS  ?= 200
SECONDS ?= 120
HOSTILE_SECONDS ?= 400

# A lock names everything. Without --no-deps pip looks for newer releases of what it names with
# extras, and then refuses them for having no hash.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile
PROTOC := $(BIN)/python -m grpc_tools.protoc --proto_path=csidriver/_proto=proto
PROTOS := $(patsubst proto/%,csidriver/_proto/%,$(wildcard proto/*.proto))
# Generates below a folder, and leaves out the calls of gRPC's experimental API, which nobody makes.
GENERATE = $(PROTOC) --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) $(PROTOS) && \
  sed -i -e '/EXPERIMENTAL API/,/^class .*Stub:/{/^class .*Stub:/!d}' $(1)/csidriver/_proto/*_grpc.py
LOCK   := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
          --no-header --no-annotate --no-emit-index-url

# Tests start hundreds of processes of ours; each compiles what it imports where none may keep it.
BYTECODE := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/bytecode

.PHONY: demo picture test cover test-keycloak simulate promises soak bench check fix proto manifests lock tools plugin image e2e e2e-upgrade clean
.DELETE_ON_ERROR:

## demo: the announcement's example comes to life; ARGS="--seconds 30 --json" and more (--help)
demo: $(VENV)/.demo
	@$(BIN)/python -m csidriver demo $(ARGS)

## picture: run the demo for 12 seconds and draw its screen, docs/pictures/demo.svg; draw what the
## command line of users prints
picture: $(VENV)/.demo
	@$(BIN)/python -m tools.picture
	@$(BIN)/python -m tools.terminal_pictures

## test: everything that needs no cluster, in parallel; names what it skips and why. ARGS="-n 0 -x"
test: $(VENV)/.dev
	@$(BYTECODE) $(BIN)/python -m pytest -n auto $(ARGS)

## cover: every branch of what changes a pod is tested
COVERED := review inject annotation mount_point pod_fields unserved_pods jsonpatch
cover: $(VENV)/.dev
	@$(BIN)/python -m pytest --quiet $(COVERED:%=tests/core/admission/test_%.py) \
	  $(COVERED:%=--cov=csidriver.core.admission.%) \
	  --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100 $(ARGS)

## test-keycloak: refresher, grants and logins with a real Keycloak, which Maven fetches; takes 15
## minutes
test-keycloak: $(VENV)/.dev
	@$(PYTHON) -m tools keycloak
	@$(BIN)/python -m pytest tests/peers/keycloak_cases.py tests/peers/keycloak_grant_cases.py \
		tests/peers/keycloak_login_cases.py $(ARGS)

## simulate: the refresh protocol under faults in virtual time; SEEDS=2000 for many runs
simulate: $(VENV)/.dev
	@$(BIN)/python -m tests.simulator $(SEEDS)

## promises: break each promise of the README in a copy of the tree, and see a test fail
promises: $(VENV)/.dev
	@$(BIN)/python -m tools.promises $(ARGS)

## soak: two refreshers under load, one killed every few seconds, SECONDS=120 by default; then a
## hostile tenant beside a victim, HOSTILE_SECONDS=400 by default
soak: $(VENV)/.dev
	@$(BIN)/python -m tests.cluster.soak $(SECONDS)
	@$(BIN)/python -m tests.cluster.tenants $(HOSTILE_SECONDS)

## bench: every number of docs/evidence/performance.md, as root, after `make tools`; QUICK=1 for a
## short one; BEFORE=COMMIT compares the CPU per refresh with that of a commit
bench: $(VENV)/.dev
	@BEFORE="$(if $(filter file,$(origin BEFORE)),,$(BEFORE))" GRPC_VERBOSITY=ERROR \
		$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

## check: what CI checks before it tests
check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@generated=$$(mktemp -d) && trap 'rm -rf "$$generated"' EXIT && \
	  $(call GENERATE,$$generated) && \
	  diff -r --exclude=__init__.py --exclude=__pycache__ $$generated/csidriver/_proto csidriver/_proto && \
	  echo "csidriver/_proto is what proto/ generates"
	@$(BIN)/python -m tools.manifests --check

## fix: let the tools mend what they can
fix: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

## proto: generate csidriver/_proto from proto/
proto: $(VENV)/.dev
	$(call GENERATE,.)

## manifests: render deploy/install.yaml and deploy/cleanup.yaml from deploy/chart
manifests: $(VENV)/.dev
	@$(BIN)/python -m tools.manifests

## lock: pin every dependency with its hashes, from pyproject.toml
lock: $(VENV)/.dev
	$(LOCK) pyproject.toml --extra webhook --extra private-key-jwt -o requirements/image.lock
	$(LOCK) pyproject.toml --extra webhook --extra private-key-jwt --extra demo --group demo --group test --group proto --group check --group plugin -o requirements/dev.lock
	$(LOCK) --group demo --constraint requirements/dev.lock -o requirements/demo.lock
	$(LOCK) --group plugin --constraint requirements/dev.lock -o requirements/plugin.lock
	$(LOCK) --group build --constraint requirements/dev.lock -o requirements/build.lock

## tools: programs that only some tests use (kube-apiserver, kubelet, Chromium ...), into a
## cache outside the clone; needs Go, and npm for one of them. KUBEBUILDER_ASSETS and
## OAUTH2_CSI_TOOLS are honoured
tools:
	@$(PYTHON) -m tools

## plugin: write build/kubectl-oauth2_csi, the command line of users as one file, with its wheel for
## pipx and its archive for Krew; HOMEPAGE=https://... adds the manifest for Krew
plugin: $(VENV)/pyvenv.cfg
	@HOMEPAGE="$(HOMEPAGE)" $(BIN)/python -m tools.plugin

## image: build the image IMAGE on BASE_IMAGE, and write build/oauth2-csi.tar; with docker, podman
## or buildah. BASE_IMAGE=local makes Debian's Python the base, where no registry can be reached
image:
	@IMAGE="$(IMAGE)" BASE_IMAGE="$(BASE_IMAGE)" $(PYTHON) -m tools.image

## e2e: a throw-away cluster of this machine, which root and `make tools` make possible, with the
## driver and its tests; nothing of it stays. E2E_EXISTING=1 takes the cluster of KUBECONFIG
e2e: $(VENV)/.dev
	@IMAGE="$(IMAGE)" BASE_IMAGE="$(BASE_IMAGE)" $(BIN)/python -m tests.e2e $(ARGS)

## e2e-upgrade: an upgrade from the commit BEFORE and a downgrade, while pods of both nodes read; takes
## more than 20 minutes
e2e-upgrade: $(VENV)/.dev
	@E2E_BEFORE="$(BEFORE)" IMAGE="$(IMAGE)" BASE_IMAGE="$(BASE_IMAGE)" \
	  $(BIN)/python -m tests.e2e tests/e2e/test_upgrade.py $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/pyvenv.cfg:
	@echo "* making $(VENV)" && $(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, not " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements/demo.lock | $(VENV)/pyvenv.cfg
	@echo "* installing what the demo needs" && $(PIP) -r $< && touch $@

$(VENV)/.dev: requirements/dev.lock | $(VENV)/pyvenv.cfg
	@echo "* installing the development tools; this takes a minute" && $(PIP) -r $< && touch $@ $(VENV)/.demo
