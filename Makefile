# Homing. `make help` lists what there is to do.

SHELL   := /bin/bash
GO      ?= go
BIN     := bin/homing
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# One static file that needs nothing on the machine it is copied to.
TAGS    := netgo,osusergo,urfave_cli_no_docs
LDFLAGS := -s -w -linkmode external -extldflags "-static" -X main.version=$(VERSION)

# What building needs, and what the tests run: NAME-OF-PROGRAM=DEBIAN-PACKAGE.
BUILD_NEEDS := gcc=gcc git=git
TEST_NEEDS  := bash=bash dash=dash python3=python3 perl=perl gawk=gawk git=git sqlite3=sqlite3 \
	redis-server=redis-server redis-benchmark=redis-tools node=nodejs curl=curl vim=vim less=less \
	zstd=zstd xz=xz-utils gzip=gzip tar=tar openssl=openssl gcc=gcc make=make ps=procps pstree=psmisc \
	setpriv=util-linux xargs=findutils strace=strace

# Packages whose tests the race detector can follow: no guest runs in them.
RACE := $(wildcard ./kkc ./syscallfwd ./signals ./checkpoint ./checkpoint/transfer ./node ./shadow ./guest ./guest/filter \
	./internal/linux ./internal/tracer ./internal/lab ./internal/doctor ./internal/twin)

.PHONY: all build help deps demo test bench lint docs fuzz race clean

all: build

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

build: ## build bin/homing, a static executable (needs Go, gcc, libseccomp-dev)
	@test -r /usr/include/seccomp.h || { echo 'homing: build: libseccomp-dev is missing; run: make deps' >&2; exit 1; }
	@mkdir -p bin
	CGO_ENABLED=1 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/homing

deps: ## install what building and testing need (apt-get, as root or by sudo)
	@NEEDS='$(BUILD_NEEDS) $(TEST_NEEDS)' scripts/deps

demo: deps build ## move a real job from machine to machine while it runs
	@HOMING=$(CURDIR)/$(BIN) scripts/demo

test: deps build ## build, vet, all tests; as root the suite runs as an ordinary user, too
	$(GO) vet ./...
	HOMING=$(CURDIR)/$(BIN) $(GO) test -timeout 20m -skip 'TestMovedState|TestStorm|TestCounting' ./...
	HOMING=$(CURDIR)/$(BIN) scripts/storms

race: ## the tests of those packages that the race detector can follow
	$(GO) test -race -timeout 10m $(RACE)

bench: deps build ## figures beside their baselines: a table, and JSON in bench.json (BENCH=REGEXP: some rows)
	$(GO) run ./test/bench -homing $(CURDIR)/$(BIN) -json bench.json -only '$(BENCH)'

lint: ## gofmt, vet, staticcheck, and the rules of CONTRIBUTING
	@scripts/lint

docs: ## regenerate docs/syscalls.md from the table
	$(GO) generate ./syscallfwd

fuzz: ## fuzz each decoder of peer bytes for FUZZTIME (default 20s)
	@scripts/fuzz

clean: ## remove what was built
	rm -rf bin bench.json
