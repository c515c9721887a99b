# The two commands of the README are `make run` and `make test`; both do all the set-up.
#   CUDA=1   fetches the CUDA libraries too (several GB)

CARGO ?= cargo
# How many interleaved rounds `make bench` takes, and which measurements (a part of their names).
ROUNDS ?= 5
ONLY ?=
BENCH_PYTHON ?= target/bench/venv/bin/python
BENCH_LINES ?= target/bench/lines.jsonl

.PHONY: run test bench setup build lint torture fuzz models

run: setup
	$(CARGO) build --release --locked
	@if [ -t 0 ] && [ -t 1 ]; then target/release/sightline demo; else target/release/sightline demo --headless --for 30s; fi

test: setup
	$(CARGO) test --locked

# Measures against other programs (several GB of them, installed into target/bench) and writes docs/benchmarks.md.
bench: setup
	@if [ "$(BENCH_PYTHON)" = target/bench/venv/bin/python ]; then benches/peers/setup.sh; fi
	@mkdir -p $(dir $(BENCH_LINES))
	ROUNDS=$(ROUNDS) ONLY="$(ONLY)" BENCH_PYTHON="$(abspath $(BENCH_PYTHON))" \
	  $(CARGO) bench --locked --bench peers > $(BENCH_LINES)
	@if [ -z "$(ONLY)" ]; then scripts/benchmarks.py $(BENCH_LINES); else cat $(BENCH_LINES); fi

# Every promise of docs/reliability.md tried at full size (an hour or more on two cores), and its table made anew.
# SIGHTLINE_TORTURE_<CAMPAIGN>=n takes another size, SIGHTLINE_SEED=n other random numbers.
torture: setup
	rm -f target/torture.jsonl
	SIGHTLINE_TORTURE=full SIGHTLINE_TORTURE_OUT=$(CURDIR)/target/torture.jsonl $(CARGO) test --locked --test it -- \
		--nocapture --test-threads 1 torture:: process::bombs process::flood process::full_disk process::kills
	python3 scripts/reliability.py target/torture.jsonl docs/reliability.md

# Hostile bytes for every reader (about an hour on two cores): RUNS=n inputs a target, TARGETS="pickle zip" some of them.
fuzz: setup
	rm -f target/fuzz/lines.jsonl
	scripts/fuzz.sh
	python3 scripts/reliability.py target/fuzz/lines.jsonl docs/reliability.md

# Makes a detector and an embedder from drawn packs and nothing else (hours on two cores); stopped and started again it goes on.
models: build
	scripts/models.sh

build: setup
	$(CARGO) build --release --locked

# What CI checks before the tests.
lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

setup:
	@scripts/setup.sh
