#!/usr/bin/env bash
# The peers' python: a virtual environment in target/bench, made once from requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=target/bench/venv
if [ ! -e "$venv/complete" ] || ! cmp -s benches/peers/requirements.txt "$venv/complete"; then
  echo "bench: installing the programs to measure against into $venv (several GB)" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement benches/peers/requirements.txt
  cp benches/peers/requirements.txt "$venv/complete"
fi
