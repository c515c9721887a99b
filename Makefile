# The two commands of the README are `make run` and `make test`; both do all the set-up.
#   CUDA=1   fetches the CUDA libraries too (several GB)

CARGO ?= cargo

.PHONY: run test setup build lint

run: setup
	$(CARGO) build --release --locked
	@if [ -t 0 ] && [ -t 1 ]; then target/release/sightline demo; else target/release/sightline demo --headless --for 30s; fi

test: setup
	$(CARGO) test --locked

build: setup
	$(CARGO) build --release --locked

# What CI checks before the tests.
lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

setup:
	@scripts/setup.sh
