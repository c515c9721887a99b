#!/usr/bin/env bash
# Fuzzes every reader in turn (tests/fuzz) and prints a JSON line for each, as `make torture` does.
#   RUNS=10000000   inputs a target     TARGETS="pickle zip"   some of them     FUZZ_OUT=FILE   where the lines go, too
#   FUZZ_SEED=1     the fuzzer's random numbers
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-10000000} seed=${FUZZ_SEED:-1} out=${FUZZ_OUT:-target/fuzz/lines.jsonl}
targets=${TARGETS:-pickle zip safetensors journal segment config api}

tools=$PWD/target/fuzz/bin
if [ ! -x "$tools/cargo-fuzz" ]; then
  cargo install cargo-fuzz --version 0.13.2 --locked --root target/fuzz
fi
# Without a sanitizer, so that the stable compiler will do: the readers are safe Rust, and a counting allocator
# (tests/fuzz/lib.rs) ends an input that makes them hold more than 256 MB.
PATH=$tools:$PATH cargo fuzz build --sanitizer none --fuzz-dir tests/fuzz --target-dir target/fuzz/build
host=$(rustc -vV | sed -n 's/^host: //p')
libtorch=${LIBTORCH:-$PWD/.libtorch}
export LD_LIBRARY_PATH=$libtorch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

failed=0
mkdir -p "$(dirname "$out")"
for target in $targets; do
  corpus=target/fuzz/corpus/$target found=target/fuzz/found/$target
  mkdir -p "$corpus" "$found"
  golden=()
  case $target in
    pickle) golden=(tests/golden/*.pkl) ;;
    zip) golden=(tests/golden/*.pt) ;;
  esac
  if [ ${#golden[@]} -gt 0 ]; then cp "${golden[@]}" "$corpus/"; fi
  inputs=("$corpus")
  if [ -d "tests/fuzz/seeds/$target" ]; then inputs+=("tests/fuzz/seeds/$target"); fi
  began=$(date +%s) log=target/fuzz/$target.log
  # YAML is slow to read: shorter texts are tried more often.
  longest=4096
  if [ "$target" = config ]; then longest=512; fi
  # An input that takes five seconds counts as a hang.
  if "target/fuzz/build/$host/release/$target" -runs="$runs" -seed="$seed" -max_len=$longest -timeout=5 -rss_limit_mb=1024 \
    -artifact_prefix="$found/" -print_final_stats=1 "${inputs[@]}" >"$log" 2>&1; then
    crashes=0
  else
    crashes=1 failed=1
    echo "fuzz: $target found something; the input is in $found, the report in $log" >&2
    tail -n 15 "$log" >&2
  fi
  done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  printf '{"campaign":"fuzz %s","promise":"no bytes make a reader crash, hang for 5 s or hold more than 256 MB","runs":%s,"failed":%s,"outcomes":{"places covered":%s},"seed":%s,"seconds":%s,"date":"%s"}\n' \
    "$target" "${done:-0}" "$crashes" "${covered:-0}" "$seed" "$(($(date +%s) - began))" "$(date -u +%F)" | tee -a "$out"
done
exit $failed
