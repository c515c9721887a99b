#!/usr/bin/env bash
# Checks what the build needs, fetches libtorch, and says exactly what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# The `rust-version` of Cargo.toml.
need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
missing=""
if ! command -v cargo >/dev/null; then
  missing="$missing\n  cargo, Rust $need or later: https://rustup.rs"
else
  have=$(rustc --version | cut -d' ' -f2 | cut -d- -f1)
  if [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n 1)" != "$need" ]; then
    missing="$missing\n  Rust $need or later (this is $have): rustup update"
  fi
fi
command -v cc >/dev/null && command -v c++ >/dev/null || missing="$missing\n  a C and a C++ compiler: apt-get install g++"
command -v python3 >/dev/null || missing="$missing\n  python3 with pip (to fetch libtorch): apt-get install python3-pip"
if [ -n "$missing" ]; then
  printf 'setup: missing:%b\n' "$missing" >&2
  exit 1
fi

# libjpeg-turbo's vector code is assembled by nasm; without it JPEGs are decoded by its plain C code, with the same result.
if [ "$(uname -m)" = x86_64 ] && ! command -v nasm >/dev/null && [ ! -e .cache/nasm-tried ]; then
  mkdir -p .cache && touch .cache/nasm-tried
  as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  if command -v apt-get >/dev/null && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
    echo "setup: installing nasm (faster JPEG decoding)"
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq nasm; } >/dev/null 2>&1 || true
  fi
  command -v nasm >/dev/null || echo "setup: no nasm; JPEGs are decoded about three times slower (apt-get install nasm, then cargo clean -p mozjpeg-sys)"
fi

exec scripts/libtorch.sh
