# Every target is one line of what the programs in scripts/ do. Prerequisites of
# test: Go, Node with npm, make. Nothing is installed on the
# machine: the linter and its kind are pinned in scripts/tools and run by `go tool`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TOOL := go tool -modfile=scripts/tools/go.mod
# npm writes this file last, so it dates the installation.
NODE_MODULES := scripts/devstack/node_modules/.package-lock.json
# How long `make fuzz` and `make fuzz-short` work on each target.
FUZZTIME ?= 10m
# What `make check` must not leave NOT RUN, comma-separated.
REQUIRE ?=
# Flags of `make bench`; BENCH=-h lists them.
BENCH ?=
# Where `make sbom` writes.
SBOM ?= bin/sbom.cdx.json
# A part of `make check` by name: make check ONLY="lint format".
ONLY ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Compile the handler to bin/handler, static, as it is deployed
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/handler ./handler

.PHONY: stage
stage: ## Make dist/, the folder that the Functions host runs
	go run ./scripts/stage -out dist

# The stack is built and then replaces the shell, so that a signal to make's
# process group or to its pid reaches the program that owns the children.
.PHONY: run
run: stage $(NODE_MODULES) ## Start the whole local stack and the API on port 7071 (PORT=)
	go build -o bin/devstack ./scripts/devstack
	exec bin/devstack

.PHONY: start
start: stage $(NODE_MODULES) ## Start the backing services, then the API under Core Tools' `func`
	go build -o bin/devstack ./scripts/devstack
	exec scripts/start.sh

# Built first, so that Ctrl-C reaches the program that ends what it started.
.PHONY: demo
demo: $(NODE_MODULES) ## Tell the whole story on the running stack, or on one of its own
	go build -o bin/demo ./scripts/demo
	exec bin/demo

.PHONY: test
test: $(NODE_MODULES) ## Run all tests, those against Azurite included
	go test -shuffle=on -timeout=15m ./...

.PHONY: bench
bench: $(NODE_MODULES) ## Measure speed and memory beside their aims (BENCH="-only cpu")
	go run ./scripts/bench $(BENCH)

.PHONY: check
check: ## Format, docs, workflows, secrets, Bicep, lint, race and more (ONLY=, REQUIRE=)
	go run ./scripts/check $(if $(REQUIRE),-require=$(REQUIRE)) $(ONLY)

.PHONY: infra
infra: ## Rewrite what is generated of infra/: settings, snapshots, cost
	go run ./scripts/infra

.PHONY: lint
lint: ## Lint only
	go run ./scripts/check lint

.PHONY: format
format: ## Rewrite the Go files in gofumpt's format
	$(TOOL) gofumpt -w handler scripts

.PHONY: fips
fips: ## Build on the certified FIPS 140-3 module, and test the cryptography in its mode
	go run ./scripts/check fips

.PHONY: tidy-check
tidy-check: ## Fail when go.mod or go.sum would change, or a module was altered
	go run ./scripts/check modules

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (10m) each
	go run ./scripts/fuzz -time $(FUZZTIME)

.PHONY: fuzz-short
fuzz-short: ## Fuzz every target for ten seconds each
	go run ./scripts/fuzz -time 10s

.PHONY: sbom
sbom: ## Write bin/sbom.cdx.json, the deployed binary's bill of materials (CycloneDX)
	@mkdir -p $(dir $(SBOM))
	@tool=$$(go tool -modfile=scripts/supply/go.mod -n cyclonedx-gomod) && \
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $$tool app -json -licenses -noserial -main handler -output $(SBOM) .

.PHONY: tools
tools: ## Compile the pinned build tools into Go's build cache
	@for tool in gofumpt govulncheck golangci-lint; do $(TOOL) -n $$tool || exit 1; done
	@for tool in actionlint gitleaks cyclonedx-gomod; do go tool -modfile=scripts/supply/go.mod -n $$tool || exit 1; done

.PHONY: clean
clean: ## Remove what was built and the local stack's state; keep npm's packages
	rm -rf bin dist .local

$(NODE_MODULES): scripts/devstack/package.json scripts/devstack/package-lock.json
	npm ci --prefix scripts/devstack --ignore-scripts --no-audit --no-fund
	@touch $@
