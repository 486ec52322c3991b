# Tickpath. `make` prints the targets.

CARGO            ?= cargo
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

BIN     := $(CARGO_TARGET_DIR)/release/tickpath
DEMO    := $(CARGO_TARGET_DIR)/demo
CAPTURE := $(DEMO)/itch.pcap

.DEFAULT_GOAL := help
.PHONY: help deps build replay demo soak test test-vm lint bench verdict lab callgrind fuzz clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing (as root), or say what to install
	@scripts/deps

build: deps ## build the release binary
	$(CARGO) build --release --locked

replay: build ## generate a synthetic capture, replay it into orders, print what happened
	@mkdir -p $(DEMO)
	$(BIN) synth $(CAPTURE) --seed 1 --messages 1000000 --symbols 500
	$(BIN) replay pipelines/itch-1-lcore.json $(CAPTURE) --orders $(DEMO)/orders.pcap --books $(DEMO)/books.jsonl --summary $(DEMO)/summary.json
	@echo "orders: $(DEMO)/orders.pcap   books: $(DEMO)/books.jsonl   summary: $(DEMO)/summary.json"

demo: deps build ## trade against a simulated exchange over veth, as root, and report where the time went
	@scripts/deps iproute2 ethtool tcpdump
	scripts/demo $(BIN) $(CARGO_TARGET_DIR)/demo

soak: deps ## the same for SOAK_SECONDS (default 200) with loss, disconnects and limits, and every check of the tests, as root
	@scripts/deps iproute2 ethtool tcpdump tshark
	TICKPATH_SOAK=$${SOAK_SECONDS:-200} $(CARGO) test --locked --test demo through_loss -- --nocapture

test: deps ## run every test
	$(CARGO) test --locked --workspace --exclude efvi-sys

test-vm: build ## prove in an emulated guest what needs two NUMA nodes and a network card, as root; some minutes
	scripts/test-vm $(BIN) $(CARGO_TARGET_DIR)/vm

lint: deps ## formatting and clippy, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench: deps ## measure against the peers, ratios of interleaved runs
	benches/run

verdict: deps ## how often the verdict is right: 200 simulated hosts, 20 repetitions on this one; half an hour
	TICKPATH_VERDICT=200 $(CARGO) test --release --locked --test verdict_simulated -- --nocapture --test-threads=1
	TICKPATH_VERDICT=20 $(CARGO) test --release --locked --test verdict_replay -- --nocapture --test-threads=1

lab: deps ## put each failure into hosts and runs, blind, LAB times (default 5), and count how often it is found; a quarter of an hour, as root
	TICKPATH_LAB=$${LAB:-5} $(CARGO) test --locked --test lab -- --nocapture

callgrind: deps ## instruction counts of the hot path against benches/instructions.txt
	benches/instructions

fuzz: deps ## each fuzz target for FUZZ_SECONDS (default 20)
	fuzz/run $${FUZZ_SECONDS:-20}

clean: ## remove what was built
	$(CARGO) clean
