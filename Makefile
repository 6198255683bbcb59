# The targets for developers and CI. `make help` lists them.
# They need Go, make, git and, for the race detector, a C compiler: tools and the
# local control plane are built from source, in pinned versions.

SHELL := /usr/bin/env bash -o pipefail
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

# The output of `manager --version`.
VERSION ?= dev
# The operator's image without a tag, and the image that deploy sets in the manifests.
IMAGE ?= docker.io/seldon-operator/seldon-operator
IMG ?= $(IMAGE):$(VERSION)
KUBECTL ?= kubectl
# Arguments for the program that run, demo and start run, such as ARGS=--non-interactive.
# They run binaries and not `go run`, which exits with an error on Ctrl-C.
ARGS ?=

# The flags of the operator's programs. The control plane, and the tests without the race
# detector, are compiled with -trimpath and without cgo too, so that all share the compiled
# packages of Kubernetes.
# gRPC's tracing pages import html/template, which calls methods by name, so that the
# linker cannot remove unused methods: 10 MB.
BUILD := -trimpath -buildvcs=auto -tags grpcnotrace -ldflags '-s -w -X main.version=$(VERSION)'

# Packages and flags of the tests. golangci-lint runs vet.
PACKAGES ?= ./...
TESTFLAGS ?=
TEST := -vet=off -timeout 60m
# The operator's own packages are tested with the race detector.
RACE := ./api/... ./composition/... ./examples/... ./templates/... ./inputs/... ./controllers/... ./relay/... ./test/framework/fakescheduler/...

BIN := $(CURDIR)/bin
CONTROLLER_GEN := $(BIN)/controller-gen
KUSTOMIZE := $(BIN)/kustomize
GOLANGCI_LINT := $(BIN)/golangci-lint
# HELM=PATH makes test and release use another binary, such as Helm 3.
HELM := $(BIN)/helm
BUF := $(BIN)/buf
PROTOC_GEN_GO := $(BIN)/protoc-gen-go
PROTOC_GEN_GO_GRPC := $(BIN)/protoc-gen-go-grpc
GOTESTSUM := $(BIN)/gotestsum
GLUA := $(BIN)/glua
MONITORING := $(BIN)/monitoring

##@ General

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN { FS = ":.*## "; print "Usage: make TARGET [NAME=value]" } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Development

.PHONY: generate
generate: $(CONTROLLER_GEN) $(BUF) $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) ## Generate DeepCopy methods and the scheduler's messages.
	$(CONTROLLER_GEN) object paths=./api/v1alpha1/... paths=./examples/...
	$(BUF) generate --template api/scheduler/buf.gen.yaml api/scheduler

DESCRIBED := dist/crds-with-descriptions
.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate the CRDs, their reference, the roles, for config and charts.
	$(CONTROLLER_GEN) crd:maxDescLen=0 paths=./api/... output:crd:artifacts:config=config/crd/bases
	go run ./config/crd/conditions config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=v2-manager-role paths=./controllers/... output:rbac:artifacts:config=config/rbac
	$(CONTROLLER_GEN) crd paths=./examples/website/... output:crd:artifacts:config=examples/website/crds
	cp config/crd/bases/*.yaml charts/seldon-core-v2-crds/files/
	cp config/rbac/role.yaml charts/seldon-core-v2-setup/files/
	@# Again with the doc comments, which would make the CRDs too large.
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:artifacts:config=$(DESCRIBED)
	go run ./config/crd/conditions $(DESCRIBED)
	go run ./hack/reference $(DESCRIBED) hack/reference/examples docs/reference/custom-resources.md
	cp config/components/monitoring/prometheusrule.yaml config/components/monitoring/dashboard.json charts/seldon-core-v2-setup/files/

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the Go code.
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters, go vet among them.
	$(GOLANGCI_LINT) run
	cd hack/image && $(GOLANGCI_LINT) run
	cd test/e2e/monitoring/rules && $(GOLANGCI_LINT) run

# The generated files in git.
GENERATED := config/crd/bases config/rbac/role.yaml docs/reference/custom-resources.md examples/website/crds \
	':(glob)charts/*/files/*' ':(glob)**/zz_generated.*.go' ':(glob)**/*.pb.go'

.PHONY: verify
verify: generate manifests ## Fail if generated files or go.mod files are stale.
	@if [ -n "$$(git status --porcelain -- $(GENERATED))" ]; then \
		git --no-pager diff -- $(GENERATED); git status --short -- $(GENERATED); \
		echo 'Generated files are stale: run "make generate manifests" and commit what it changes.'; exit 1; \
	fi
	@for module in . hack/image test/e2e/monitoring/rules hack/tools test/framework/binaries/tools test/framework/binaries/oldest; do \
		(cd $$module && go mod tidy -diff) || { echo "$$module/go.mod is stale: run \"go mod tidy\" there."; exit 1; }; \
	done

# The first prerequisite of test, so that it fails before minutes of building.
.PHONY: c-compiler
c-compiler:
	@cc=$$(go env CC); command -v "$${cc%% *}" >/dev/null || { \
		echo "The race detector needs a C compiler, and \"$$cc\" does not exist: install a C compiler, such as gcc, or set CC."; exit 1; }

# The programs that the tests run, built once.
.PHONY: programs
programs:
	@CGO_ENABLED=0 go run -trimpath ./cmd/controlplane/build -- $(BUILD) ./cmd/manager ./cmd/fakescheduler ./cmd/demo ./cmd/kubectl-seldon

.PHONY: test
test: c-compiler programs $(GOTESTSUM) $(HELM) $(KUSTOMIZE) $(MONITORING) $(GLUA) ## Run all tests (a part with PACKAGES=./api/... and TESTFLAGS='-run X').
	@SELDON_TEST_PROGRAMS=$(BIN) hack/test.sh '$(RACE)' '$(PACKAGES)' $(TEST) -short $(TESTFLAGS)

.PHONY: test-long
test-long: c-compiler programs $(GOTESTSUM) $(HELM) $(KUSTOMIZE) $(MONITORING) $(GLUA) ## Run all tests with all cases of what is long, then chaos and fuzz.
	@SELDON_TEST_PROGRAMS=$(BIN) hack/test.sh '$(RACE)' '$(PACKAGES)' $(TEST) $(TESTFLAGS)
	@$(MAKE) --no-print-directory chaos fuzz

test-oldest: PACKAGES := ./api/v1alpha1 ./composition ./controllers
.PHONY: test-oldest
test-oldest: c-compiler $(GOTESTSUM) ## Run the tests of CRDs, engine and controllers on the oldest supported Kubernetes.
	@CGO_ENABLED=0 go run -trimpath ./cmd/controlplane/build -oldest
	@KUBEBUILDER_ASSETS=$(BIN)/k8s-1.30 hack/test.sh '$(RACE)' '$(PACKAGES)' $(TEST) -short $(TESTFLAGS)

# The number of rounds of make chaos, and the seed. The default is a new seed, which is
# printed.
ROUNDS ?= 100
SEED ?=
.PHONY: chaos
chaos: controlplane ## Inject random faults (ROUNDS=500; SEED=7 repeats a run).
	@CHAOS_ROUNDS='$(ROUNDS)' CHAOS_SEED='$(SEED)' go test -count 1 -timeout 0 -v -run '^TestChaos$$' ./test/e2e/chaos

# How long each target is fuzzed.
FUZZTIME ?= 60s
.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME=60s (a part with PACKAGES=./composition).
	@FUZZTIME='$(FUZZTIME)' hack/fuzz.sh $(PACKAGES)

# host:port of a scheduler without TLS, such as a port-forwarded one. The default is the
# fake scheduler.
SCHEDULER ?=
.PHONY: conformance
conformance: ## Check that a scheduler behaves as the operator expects (SCHEDULER=host:9004).
	@SCHEDULER='$(SCHEDULER)' go test -count 1 -v $(TESTFLAGS) ./test/framework/fakescheduler/conformance

.PHONY: bench
bench: controlplane ## Run the request budgets and all benchmarks, and print their results.
	@# With -bench, even if nothing matches, the go command shows the output of a package.
	go test -timeout 60m -run '^TestControllers$$' -bench '^$$' ./controllers -ginkgo.no-color -ginkgo.focus 'The number of requests'
	go test -p 1 -timeout 60m -run '^$$' -bench . -benchmem $(TESTFLAGS) $(PACKAGES)

.PHONY: demo
demo: ## Demonstrate the operator on a local control plane (ARGS=--non-interactive exits at the end).
	@CGO_ENABLED=0 go run -trimpath ./cmd/controlplane/build -- $(BUILD) ./cmd/manager ./cmd/fakescheduler ./cmd/demo ./cmd/kubectl-seldon
	@exec $(BIN)/demo --manager-binary $(BIN)/manager --scheduler-binary $(BIN)/fakescheduler $(ARGS)

##@ Build

.PHONY: build
build: ## Build the manager and the plugin into bin/manager and bin/kubectl-seldon.
	CGO_ENABLED=0 go build $(BUILD) -o $(BIN)/ ./cmd/manager ./cmd/kubectl-seldon

.PHONY: run
run: build ## Run the manager locally, against the cluster of the current kubeconfig.
	@exec $(BIN)/manager $(ARGS)

.PHONY: controlplane
controlplane: ## Build the binaries of the local control plane into bin/k8s.
	@CGO_ENABLED=0 go run -trimpath ./cmd/controlplane/build

.PHONY: start
start: controlplane ## Run a local control plane until Ctrl-C.
	@CGO_ENABLED=0 go build $(BUILD) -o $(BIN)/controlplane ./cmd/controlplane/start && exec $(BIN)/controlplane $(ARGS)

##@ Deployment, to the cluster of the current kubeconfig

.PHONY: install
install: $(KUSTOMIZE) ## Install the CRDs.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) apply -f -

.PHONY: uninstall
uninstall: $(KUSTOMIZE) ## Delete the CRDs, and thereby all objects of these kinds.
	$(KUSTOMIZE) build config/crd | $(KUBECTL) delete --ignore-not-found -f -

# The overlay for deploy: config/default, config/namespaced, or one of your own that is
# based on them.
OVERLAY ?= config/default
# A layer outside of config/, so that setting the image changes no file in git.
LAYER := dist/deploy

.PHONY: deploy
deploy: $(KUSTOMIZE) ## Deploy the operator from OVERLAY, with the image IMG; run install first.
	@mkdir -p $(LAYER) && rm -f $(LAYER)/kustomization.yaml
	@cd $(LAYER) && $(KUSTOMIZE) create --resources ../../$(OVERLAY) && $(KUSTOMIZE) edit set image docker.io/seldon-operator/seldon-operator=$(IMG)
	$(KUSTOMIZE) build $(LAYER) | $(KUBECTL) apply -f -

.PHONY: undeploy
undeploy: $(KUSTOMIZE) ## Delete all objects of deploy, including its namespace; run "manager remove-finalizers" first.
	$(KUSTOMIZE) build $(OVERLAY) | $(KUBECTL) delete --ignore-not-found -f -

##@ Release

# The default output directories, and the platforms of the image and of the plugin.
image: DIST ?= $(CURDIR)/dist/image
plugin: DIST ?= $(CURDIR)/dist/plugin
release: DIST ?= $(CURDIR)/dist/release
PLATFORMS ?= linux/amd64 linux/arm64
PLUGIN_PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
# The folder with a folder for each tag from which the archives of the plugin are downloaded.
DOWNLOADS ?= https://github.com/seldon-operator/seldon-operator/releases/download

# For reproducible binaries: no build ID, which differs between builds of the Go
# toolchain, and no build settings from the environment.
REPRODUCIBLE := GOFLAGS= GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= GOFIPS140=off CGO_ENABLED=0
.PHONY: image
image: ## Write the operator's image, an OCI layout with SBOMs, into dist/image, without Docker.
	@mkdir -p $(abspath $(DIST)) dist
	@# With -trimpath the go command compiles and links hack/image once for all clones.
	@work=$$(mktemp -d "$(CURDIR)/dist/image.XXXXXX") && trap "rm -rf $$work" EXIT; \
	build() { \
		$(REPRODUCIBLE) GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -tags grpcnotrace -trimpath -buildvcs=auto \
			-ldflags '-s -w -buildid= -X main.version=$(VERSION)' -o "$$1" "$$2"; \
	}; \
	for platform in $(PLATFORMS); do \
		echo "Building the manager and the plugin for $$platform"; \
		build $(abspath $(DIST))/manager-$${platform/\//-} ./cmd/manager; \
		build $$work/kubectl-seldon-$${platform/\//-} ./cmd/kubectl-seldon; \
	done; \
	cd hack/image && go run -trimpath -buildvcs=false . --name $(IMAGE) --version $(VERSION) --output $(abspath $(DIST))/image.tar \
		$(foreach platform,$(PLATFORMS),$(abspath $(DIST))/manager-$(subst /,-,$(platform))) $$work/*

.PHONY: plugin
plugin: ## Write the archives of the plugin, one for each platform, and its Krew manifest into dist/plugin.
	@mkdir -p $(abspath $(DIST)) dist
	@work=$$(mktemp -d "$(CURDIR)/dist/plugin.XXXXXX") && trap "rm -rf $$work" EXIT; \
	for platform in $(PLUGIN_PLATFORMS); do \
		echo "Building the plugin for $$platform"; \
		suffix=; [[ $$platform != windows/* ]] || suffix=.exe; \
		$(REPRODUCIBLE) GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -tags grpcnotrace -trimpath -buildvcs=auto \
			-ldflags '-s -w -buildid= -X main.version=$(VERSION)' -o $$work/kubectl-seldon-$${platform/\//-}$$suffix ./cmd/kubectl-seldon; \
	done; \
	go run -trimpath -buildvcs=false ./hack/plugin --version $(VERSION) --downloads $(DOWNLOADS) --output $(abspath $(DIST)) \
		--time "$$(git log -1 --format=%ct 2>/dev/null || echo 0)" $$work/*

.PHONY: release
release: $(KUSTOMIZE) $(HELM) ## Write image, plugin, manifests, charts and checksums of VERSION=x.y.z into dist/release.
	@VERSION='$(VERSION)' IMAGE='$(IMAGE)' DIST='$(DIST)' PLATFORMS='$(PLATFORMS)' PLUGIN_PLATFORMS='$(PLUGIN_PLATFORMS)' DOWNLOADS='$(DOWNLOADS)' KUSTOMIZE='$(KUSTOMIZE)' HELM='$(HELM)' hack/release.sh

# The tools, each rebuilt when the versions in hack/tools change.

$(CONTROLLER_GEN): PACKAGE := sigs.k8s.io/controller-tools/cmd/controller-gen
$(KUSTOMIZE): PACKAGE := sigs.k8s.io/kustomize/kustomize/v5
$(GOLANGCI_LINT): PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(BIN)/helm: PACKAGE := helm.sh/helm/v4/cmd/helm

$(GOTESTSUM): PACKAGE := gotest.tools/gotestsum
$(GLUA): PACKAGE := github.com/yuin/gopher-lua/cmd/glua
$(BUF): PACKAGE := github.com/bufbuild/buf/cmd/buf
$(PROTOC_GEN_GO_GRPC): PACKAGE := google.golang.org/grpc/cmd/protoc-gen-go-grpc

$(CONTROLLER_GEN) $(KUSTOMIZE) $(GOLANGCI_LINT) $(BIN)/helm $(GOTESTSUM) $(GLUA) $(BUF) $(PROTOC_GEN_GO_GRPC): hack/tools/go.mod hack/tools/go.sum
	@echo 'Building $(notdir $@); the first time this takes a while.'
	@cd hack/tools && CGO_ENABLED=0 go build -trimpath -o $@ $(PACKAGE) && touch $@

# A module of its own, since it depends on Prometheus.
$(MONITORING): $(wildcard test/e2e/monitoring/rules/*)
	@cd test/e2e/monitoring/rules && CGO_ENABLED=0 go build -trimpath -o $@ . && touch $@

# From the operator's own module, to get the version of the library that it links.
$(PROTOC_GEN_GO): go.mod
	@CGO_ENABLED=0 go build -trimpath -o $@ google.golang.org/protobuf/cmd/protoc-gen-go && touch $@
