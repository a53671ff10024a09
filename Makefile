# What people type and what CI runs. `make` alone lists the commands.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps bench-deps build debug bpf demo lab test unit model e2e soak lint asan fuzz bench bench-channel bench-fib bench-filters bench-flow bench-io bench-hooks bench-hook-changes bench-load bench-throughput clean

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
SUDO   := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
PYTHON := /usr/bin/python3

CARGO_DENY := 0.20.2
FUZZ_SECONDS ?= 30

# Debian packages: to build, to run the demo and the tests, to measure, to lint.
PACKAGES := libdpdk-dev libclang-dev clang pkg-config gcc \
	iproute2 ethtool iputils-ping tcpdump iperf3 curl traceroute util-linux procps \
	python3 python3-pytest python3-pytest-timeout python3-pytest-xdist python3-scapy \
	dpdk \
	shellcheck pyflakes3 \
	qemu-user
# What `make bench` sets beside Sluice, if Debian has it.
PEERS := dpdk-dev nftables libbpf-dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing (apt; nothing to do, nothing said)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust, see https://rustup.rs"; exit 1; }
	@missing=(); for package in $(PACKAGES) $(MORE); do \
	  [[ "$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null)" == installed ]] \
	    || missing+=("$$package"); \
	done; \
	if (( $${#missing[@]} )); then \
	  echo "installing $${missing[*]}"; \
	  log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	  apt() { $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$$@"; }; \
	  { apt update && apt install --no-install-recommends -y "$${missing[@]}"; } </dev/null >"$$log" 2>&1 \
	    || { cat "$$log"; exit 1; }; \
	fi

bench-deps: MORE := $(PEERS)
bench-deps: deps

build: deps ## the three programs, in release mode
	cargo build --release --locked -p sluice -p sluice-control -p sluice-dataplane

debug: deps ## the dataplane with debug assertions: a worker that allocates ends it
	cargo build --locked -p sluice-dataplane

bpf: deps ## the example programs for the sandbox, into target/bpf
	@mkdir -p $(TARGET)/bpf
	@set -x; for source in examples/bpf/*.c; do \
	  clang -O2 -target bpf -mcpu=v2 -Wall -I include -c "$$source" \
	    -o "$(TARGET)/bpf/$$(basename "$$source" .c).o"; \
	done

demo: build ## see it work: two hosts, Sluice between them, a rule pushed live (1 minute)
	@$(SUDO) env SLUICE_BIN=$(TARGET)/release bash tests/demo.sh

lab: build ## two hosts, Sluice between them, and a shell to play in
	@$(SUDO) env SLUICE_BIN=$(TARGET)/release bash tests/lab.sh

test: unit model e2e ## every test: units, models of concurrency, end to end in namespaces

unit: deps ## tests that stand beside the code
	cargo test --workspace --locked

model: deps ## loom explores every interleaving of the quiescent-state reclamation and of the ring
	RUSTFLAGS="--cfg loom" cargo test --release --locked --lib --tests \
	  -p sluice-quiescent --target-dir $(TARGET)/loom
	cargo test --locked --lib -p sluice-channel model

e2e: build debug ## Sluice between real hosts in network namespaces
	cd tests && $(SUDO) env PYTHONDONTWRITEBYTECODE=1 SLUICE_BIN=$(TARGET)/release \
	  $(PYTHON) -m pytest -n 2 --dist loadfile $(E2E)

# What `make e2e` does in moments; every variable may be given. tests/README.md says what they are.
SOAK := SLUICE_TRUTH_PACKETS=1000000 SLUICE_KILLS=10000 SLUICE_DATAPLANE_KILLS=500 \
	SLUICE_ALTERNATIONS=100000 SLUICE_RATE=5000 SLUICE_HOLD=600 SLUICE_FLAPS=1000 \
	SLUICE_STOPPED=60 SLUICE_MUTATIONS=100000 SLUICE_CUT_STRIDE=1 SLUICE_RACES=100000 SLUICE_HOOK_TURNS=1000 \
	SLUICE_SOAK=36000 SLUICE_ROUTES=1000000

soak: build debug ## the truth test and the faults at length: hours (E2E="-k f01" for one of them)
	SLUICE_KILLS=10000 cargo test --locked -p sluice-control --test kills
	SLUICE_MUTATED_FRAMES=10000000 cargo test --locked --release -p sluice-pipelines --test flows r5
	cd tests && $(SUDO) env $(SOAK) $(foreach v,$(filter SLUICE_%,$(.VARIABLES)),$(v)='$($(v))') \
	  PYTHONDONTWRITEBYTECODE=1 SLUICE_BIN=$(TARGET)/release $(PYTHON) -m pytest -v --timeout=86400 \
	  e2e/test_truth.py e2e/test_transactions.py e2e/test_reliability.py e2e/test_faults_channel.py \
	  e2e/test_faults_input.py e2e/test_faults_world.py e2e/test_hooks_faults.py e2e/test_hooks_c.py $(E2E)

lint: deps ## formatting, clippy, licences and sources of dependencies, scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo deny --version 2>/dev/null | grep -qF "$(CARGO_DENY)" \
	  || cargo install --quiet --locked cargo-deny --version $(CARGO_DENY)
	cargo deny --workspace --all-features --locked check --hide-inclusion-graph licenses bans sources
	shellcheck .ci/run $$(git ls-files '*.sh')
	pyflakes3 tests bench

asan: deps ## AddressSanitizer over the crates that have unsafe and no DPDK (needs nightly; not over models)
	@if cargo +nightly --version >/dev/null 2>&1; then \
	  set -x; \
	  RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked --lib --tests \
	    --target "$$(rustc -vV | sed -n 's/^host: //p')" --target-dir $(TARGET)/asan \
	    -p sluice-channel -p sluice-flow -p sluice-quiescent -- --skip model::; \
	else \
	  echo "skipped: AddressSanitizer needs a nightly toolchain (rustup toolchain install nightly)"; \
	fi

fuzz: deps ## every fuzz target for FUZZ_SECONDS=30 (needs nightly)
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz
	@for manifest in $$(git ls-files '*fuzz/Cargo.toml'); do \
	  folder=$$(dirname "$$manifest"); \
	  for target in $$(cargo +nightly fuzz list --fuzz-dir "$$folder"); do \
	    echo "== $$folder: $$target"; \
	    cargo +nightly fuzz run --fuzz-dir "$$folder" "$$target" -- -max_total_time=$(FUZZ_SECONDS); \
	  done; \
	done

bench: bench-deps build ## the standing set: every workload beside its peers and its goal (15 minutes)
	cargo build --release --locked -p sluice-pktgen
	$(SUDO) env PYTHONDONTWRITEBYTECODE=1 $(PYTHON) bench/standing.py --binaries $(TARGET)/release --plots docs/plots $(BENCH)

bench-channel: deps ## routes a second through the channel, beside a Unix socket pair in the same run
	cargo build --release --locked -p sluice-bench-channel
	$(TARGET)/release/sluice-bench-channel --check

bench-fib: deps ## ns per lookup, memory and changes of the forwarding table, beside rte_fib and rte_lpm
	cargo build --release --locked -p sluice-bench-fib
	$(SUDO) $(TARGET)/release/sluice-bench-fib

bench-filters: deps ## filters of 100 to 10,000 rules beside rte_acl: compiling, and ns a packet
	cargo build --release --locked -p sluice-bench-filters
	cc -O3 -march=native -Wall -o $(TARGET)/release/sluice-bench-filters-acl bench/filters/acl.c \
	  $$(pkg-config --cflags --libs libdpdk)
	$(TARGET)/release/sluice-bench-filters $(TARGET)/release/sluice-bench-filters-acl

bench-flow: deps ## ns per packet of the flow table, new flows a second, a table that is full or attacked
	cargo build --release --locked -p sluice-bench-flow
	$(TARGET)/release/sluice-bench-flow

bench-hooks: build bpf ## ns per packet of hooks that do nothing, and of the examples
	cargo build --release --locked -p sluice-bench-events
	$(SUDO) $(TARGET)/release/sluice-bench-events
	$(SUDO) $(PYTHON) bench/hooks.py --binaries $(TARGET)/release --programs $(TARGET)/bpf

bench-hook-changes: build bpf ## a thousand hooks of each kind come and go at 90 % of the rate: what is lost
	cargo build --release --locked -p sluice-pktgen
	$(SUDO) env PYTHONDONTWRITEBYTECODE=1 $(PYTHON) bench/hook_changes.py --binaries $(TARGET)/release --programs $(TARGET)/bpf

bench-throughput: build ## packets a second without loss and latency over virtio-user, beside testpmd
	cargo build --release --locked -p sluice-pktgen
	$(SUDO) $(PYTHON) bench/throughput.py --binaries $(TARGET)/release

bench-io: build ## ns per packet beside dpdk-testpmd, measured in the same run
	$(SUDO) $(PYTHON) bench/io.py --binaries $(TARGET)/release

bench-load: build ## a million routes from a stream to the workers, beside ip -batch; one change of a full table
	$(SUDO) env PYTHONDONTWRITEBYTECODE=1 $(PYTHON) bench/load.py --binaries $(TARGET)/release

clean: ## remove what was built
	cargo clean
