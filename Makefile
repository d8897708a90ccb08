# Everything a person or the CI does here. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The modules with code. Those OUTSIDE are not in go.work, so that nobody
# inherits what they need; tools/ has no code of its own.
MODULES := $(patsubst %/,%,$(filter-out tools/,$(dir $(wildcard go.mod */go.mod))))
OUTSIDE := compat packaging tools

# in DIR,COMMAND runs a command in a module's folder.
in = echo "[$(1)] $(2)"; (cd $(1); $(if $(filter $(1),$(OUTSIDE)),export GOWORK=off;) $(2))
# each COMMAND does so in every module with code.
each = $(foreach m,$(MODULES),$(call in,$m,$(1));)

# A release is built with VERSION=v1.2.3; without it the commit is named.
VERSION :=
LDFLAGS := $(if $(VERSION),-X github.com/drivebay/drivebay/internal/cli.release=$(VERSION))
TIMEOUT ?= 60m

# RACE is the race detector over everything but the C of SQLite, which is Go by
# translation: watching each of its accesses to memory makes most tests three
# times as slow and says nothing about the code here. Its locks are watched
# still: they are those of package sync.
plain = '-gcflags=$(1)=-race=false -d=checkptr=0'
RACE := -race $(call plain,modernc.org/sqlite/lib) $(call plain,modernc.org/libc)

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## build bin/drivebay
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/drivebay ./cmd/drivebay

# With SYSTEMS=linux/amd64 for that one alone.
SYSTEMS :=

.PHONY: dist
dist: ## make archives and Debian packages in dist/
	rm -rf dist
	GOWORK=off go run -C packaging . -root .. -out ../dist $(if $(VERSION),-version $(VERSION)) $(if $(SYSTEMS),-targets $(SYSTEMS))

.PHONY: demo
demo: build ## build, and run a server with clients, devices and keys to try
	@exec bin/drivebay serve --demo

.PHONY: test
test: ## run all tests, with the race detector; vet is a check of its own
	@scripts/test-deps
	@paths="$$(scripts/real-isos)"; first="$${paths%%$$'\n'*}"; \
	if [ -n "$$first" ]; then export DRIVEBAY_REAL_ISOS="$$(dirname "$$first")"; fi; \
	$(call each,go test -vet=off $(RACE) -timeout $(TIMEOUT) ./...)

.PHONY: test-short
test-short: ## run the quick tests: nothing installed, no server, no network
	@$(call each,go test -short -timeout 5m ./...)

.PHONY: check
check: format vet lint generated tidy test-short ## what every commit passes

.PHONY: format
format: ## all Go files are as gofmt has them
	@bad="$$(gofmt -l .)"; if [ -n "$$bad" ]; then echo "not formatted (gofmt -w does it):"; echo "$$bad"; exit 1; fi >&2

.PHONY: vet
vet: ## go vet, all modules
	@$(call each,go vet ./...)

.PHONY: lint
lint: bin/staticcheck ## staticcheck, all modules
	@tool="$(CURDIR)/bin/staticcheck"; $(call each,"$$tool" ./...)

bin/staticcheck: tools/go.mod
	@GOWORK=off go -C tools build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck

.PHONY: generate
generate: ## make all generated files anew
	go generate ./api
	go test ./internal/config ./internal/cli -run '^TestGenerated$$' -count=1 -args -update
	go -C terraform test ./internal/provider -run '^TestGenerated$$' -count=1 -args -update

# Works on a copy: a check does not change the tree.
.PHONY: generated
generated: ## the generated files are what generate makes
	@copy="$$(mktemp -d)"; trap 'rm -rf "$$copy"' EXIT; \
	cp -R api tools go.mod go.sum "$$copy"; \
	rm -f "$$copy"/api/*.gen.go; mkdir "$$copy/bin"; \
	(cd "$$copy/api" && GOWORK=off go generate ./spec.go); \
	diff -r api "$$copy/api" || { echo "api/ is out of step: run make generate" >&2; exit 1; }
	@go test ./internal/config ./internal/cli -run '^TestGenerated$$' -count=1
	@go -C terraform test ./internal/provider -run '^TestGenerated$$' -count=1

.PHONY: tidy
tidy: ## go.mod and go.sum of all modules are as go mod tidy has them
	@$(foreach m,$(MODULES) tools,$(call in,$m,go mod tidy -diff);)

# How many new inputs each fuzz target tries; the seeds run with every test. A
# number and not a time, since a time that runs out can fail the target.
FUZZ ?= 10000x

.PHONY: fuzz
fuzz: ## let every fuzz target try new inputs, FUZZ of them
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
	for target in $$(sed -nE 's/^func (Fuzz[A-Za-z]+).*/\1/p' "$$file"); do \
		echo "[$$(dirname "$$file")] $$target"; \
		go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) || exit 1; \
	done; done

.PHONY: bench
bench: ## measure speed and memory (docs/benchmarks.md)
	go run ./e2e/bench

.PHONY: real-isos
real-isos: ## fetch and make the real ISO images that tests read; list them
	@scripts/test-deps
	@scripts/real-isos

.PHONY: import-isos
import-isos: ## import the real ISO images into a demo server, attach, detach, delete
	@scripts/test-deps
	@paths="$$(scripts/real-isos)"; first="$${paths%%$$'\n'*}"; \
	DRIVEBAY_REAL_ISOS="$$(dirname "$$first")" go test ./e2e -run '^TestRealImports$$' -count=1 -v
