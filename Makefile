# Everything is run from here. Each target does its own set-up and may be
# repeated; what is installed already is not asked for again, so a machine that
# ran a target once needs no network for it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

STATICCHECK := .bin/staticcheck-v0.8.2
COSIGN      := .bin/cosign-v2.6.2
TRILLIAN    := $(shell awk '$$1 == "github.com/google/trillian" { print $$2 }' go.mod)
STOCK       := .bin/trillian_log_server-$(TRILLIAN) .bin/trillian_log_signer-$(TRILLIAN)
PROGRAMS    := countroom countroom-verify countroom-witness countroom-bench countroom-soak
N           ?= 1000
KILLS       ?= 200
STORM       ?= 10m
SEED        ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
SOAK        ?= 1h
FUZZTIME    ?= 5m
BENCHFLAGS  ?=
# What runs without the race detector, which takes up to ten times as long. First
# packages that start no goroutine of their own, where it would find nothing; then the
# programs as they ship, whose goroutines meet under it in cmd/appliance, api and ledger,
# and the worlds, which run on one processor. make race has it in all of them.
SEQUENTIAL  := ./cmd/countroom-verify ./docs/formats ./games/books ./games/monitor ./games/slots ./games/trial ./ledger/replica/core \
	./regulator/vault/... ./rngcert/battery ./rngcert/laboratory ./rngcert/sp80022 ./rngcert/sp80090b
PROCESSES   := ./cmd/countroom
WORLDS      := ./cmd/appliance/worlds
# Tests that have a line of their own, here or in make honest.
APART       := ^(TestStorm|TestGauntlet|TestAgainstNIST)$$

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Serve a house on 127.0.0.1:8080, with its data in ./countroom-data
	@$(call install,curl:curl)
	@printf 'In the other terminal, first:\n\n  export PATH=%s:$$PATH\n\n' "$(CURDIR)/bin"
	@PATH="$(CURDIR)/bin:$$PATH" exec countroom serve --data countroom-data --listen 127.0.0.1:8080

.PHONY: build
build: ## Build the programs into ./bin; countroom-verify is static, the others load HSM modules by cgo
	@$(call install,gcc:gcc gcc:libc6-dev)
	@mkdir -p bin
	CGO_ENABLED=1 go build -trimpath -buildvcs=false -o bin/ $(filter-out ./cmd/countroom-verify,$(PROGRAMS:%=./cmd/%))
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o bin/ ./cmd/countroom-verify

.PHONY: test
test: deps format vet unit ## Check everything: format, vet, staticcheck, the systemd unit, tests (most under the race detector), a short storm, 100 worlds, a million honest rounds, 3 s of each fuzz test
	go test -timeout 30m -skip '$(APART)' $(SEQUENTIAL) $(PROCESSES)
	CGO_ENABLED=1 go test -race -timeout 30m -skip '$(APART)' $$(go list ./... | grep -vxF "$$(go list $(SEQUENTIAL) $(PROCESSES) $(WORLDS))")
	@$(MAKE) honest
	@$(MAKE) worlds N=100
	go test -count 1 -timeout 30m -run '^TestStorm$$' ./cmd/countroom
	@$(MAKE) fuzz FUZZTIME=3s

.PHONY: race
race: deps ## Run all tests under the race detector, those too that make test runs without
	CGO_ENABLED=1 go test -race -timeout 3h -skip '^TestStorm$$' ./...

.PHONY: honest
honest: ## Verify an honest log of a million rounds, 10,000 mutations of a log and the frauds of the gauntlet, and hold estimators against NIST's
	go test -count 1 -timeout 30m -run 'TestHonestMillion|TestMutations|TestGauntlet|TestAgainstNIST' ./regulator/verify ./rngcert/sp80090b
	RAW_NOISE=1 go test -count 1 -timeout 30m -run TestCertifyRawNoise ./cmd/countroom

.PHONY: worlds
worlds: ## Run the first N (1000) seeded worlds, of a house, of a pair and of its consensus
	go test -count 1 -timeout 24h -skip TestPairWorlds $(WORLDS) -worlds $(N)
	go test -count 1 -timeout 24h -run TestPairWorlds $(WORLDS) -worlds $$(( ($(N) + 2) / 3 ))
	go test -count 1 -timeout 24h -run TestWorlds ./ledger/replica/core -worlds $(N)

.PHONY: kill
kill: ## Kill a playing server KILLS (200) times with SIGKILL
	COUNTROOM_KILLS=$(KILLS) go test -count 1 -timeout 3h -run TestKilledUnderLoad -v ./cmd/countroom

.PHONY: storm
storm: deps ## Let everything go wrong with a pair under load for STORM (10m), by the schedule of SEED (random); as root
	go test -count 1 -timeout 24h -run 'TestStorm$$' -v ./cmd/countroom -storm $(STORM) -seed $(SEED)

.PHONY: soak
soak: build ## Offer a server twice what it can do for SOAK (1h) and check it all the time
	bin/countroom-soak -time $(SOAK)

.PHONY: deps
deps: $(STATICCHECK) $(COSIGN) $(STOCK) ## Install what the tests need (Debian packages as root or by sudo)
	@$(call install,gcc:gcc gcc:libc6-dev systemd-analyze:systemd python3:python3 chromium:chromium curl:curl ent:ent rngtest:rng-tools5 dieharder:dieharder \
		softhsm2-util:softhsm2 haproxy:haproxy nginx:nginx-light keepalived:keepalived ip:iproute2 nft:nftables unshare:util-linux pkcs11-tool:opensc pkcs11-tool:opensc-pkcs11 swtpm:swtpm tpm2:tpm2-tools openssl:openssl \
		/usr/lib/postgresql/15/bin/initdb:postgresql)

$(STATICCHECK):
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/.bin go install honnef.co/go/tools/cmd/staticcheck@$(@:.bin/staticcheck-%=%)
	@mv .bin/staticcheck $@

# Stock cosign, by which tests check what the house signs. It is large: building it
# once takes a few minutes of processor time.
$(COSIGN):
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/.bin go install -ldflags '-s -w' github.com/sigstore/cosign/v2/cmd/cosign@$(@:.bin/cosign-%=%)
	@mv .bin/cosign $@

# A stock Trillian, which mirrors feed, of the version that the house is built with:
# with its PostgreSQL storage and no more.
$(STOCK):
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/.bin go install -tags postgresql,etcd -ldflags '-s -w' github.com/google/trillian/cmd/$(@:.bin/%-$(TRILLIAN)=%)@$(TRILLIAN)
	@mv $(@:%-$(TRILLIAN)=%) $@

.PHONY: format
format:
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { printf 'not gofmt:\n%s\n' "$$bad" >&2; exit 1; }

.PHONY: vet
vet: $(STATICCHECK)
	go vet ./...
	$(STATICCHECK) ./...

# The units are checked with the programs at the place where the build puts them.
.PHONY: unit
unit: build
	@for u in countroom countroom-witness countroom-mirror; do \
	systemd-analyze security --offline=true --threshold=20 --no-pager deploy/$$u.service > /dev/null || { echo "deploy/$$u.service may do too much" >&2; exit 1; }; \
	d=$$(mktemp -d); \
	sed "s|/usr/bin/|$(CURDIR)/bin/|" deploy/$$u.service > "$$d/$$u.service"; \
	said=$$(systemd-analyze verify --man=no "$$d/$$u.service" 2>&1 | grep -F $$u.service || true); rm -rf "$$d"; \
	[ -z "$$said" ] || { printf 'systemd-analyze verify:\n%s\n' "$$said" >&2; exit 1; }; \
	done

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (5m)
	FUZZTIME=$(FUZZTIME) .ci/fuzz

.PHONY: bench
bench: build ## Measure the house beside the limits of this machine (BENCHFLAGS are the program's)
	bin/countroom-bench $(BENCHFLAGS)
	@$(call install,/usr/lib/postgresql/15/bin/initdb:postgresql)
	go test -run '^$$' -bench SpinsOverPostgres -benchtime 20s ./cmd/appliance

.PHONY: wasm
wasm: ## Build what the portal's pages check with (regulator/replay as WebAssembly) into regulator/portal/assets
	go generate ./regulator/portal

.PHONY: clean
clean: ## Remove what was built; the data of make run stays
	rm -rf bin .bin

# install names pairs of a program and the Debian package that has it.
define install
missing=; for pair in $(1); do command -v "$${pair%%:*}" > /dev/null || missing="$$missing $${pair#*:}"; done; \
if [ -n "$$missing" ]; then \
	root=; [ "$$(id -u)" -eq 0 ] || root=sudo; \
	echo "installing$$missing"; \
	$$root apt-get update -qq && $$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing > /dev/null; \
fi
endef
