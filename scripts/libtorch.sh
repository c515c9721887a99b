#!/usr/bin/env bash
# Puts libtorch 2.11.0 into .libtorch/ (lib/ and include/), from the PyPI wheels of PyTorch.
#
#   scripts/libtorch.sh            CPU: what the binary links and loads (about 500 MB on disk)
#   CUDA=1 scripts/libtorch.sh     the whole set, with the CUDA libraries (several GB)
#
# An existing LIBTORCH (a folder with lib/libtorch_cpu.so and include/) is honoured and nothing is fetched.
# Safe to run twice and from two shells at once; an interrupted download goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${LIBTORCH:-}" ] && [ "$LIBTORCH" != ".libtorch" ] && [ "$LIBTORCH" != "$PWD/.libtorch" ]; then
  missing=""
  for part in lib/libtorch_cpu.so lib/libc10.so include/torch/csrc/api/include/torch/torch.h; do
    [ -e "$LIBTORCH/$part" ] || missing="$missing $part"
  done
  if [ -n "$missing" ]; then
    echo "libtorch: LIBTORCH=$LIBTORCH lacks:$missing" >&2
    echo "libtorch: point it at an unpacked libtorch 2.11.0, or unset it to have one fetched into .libtorch/" >&2
    exit 1
  fi
  echo "libtorch: using LIBTORCH=$LIBTORCH"
  exit 0
fi

if [ "$(uname -s)-$(uname -m)" != "Linux-x86_64" ]; then
  echo "libtorch: only Linux x86_64 is fetched automatically; on $(uname -s) $(uname -m) set LIBTORCH to a libtorch 2.11.0 folder" >&2
  exit 1
fi
if ! command -v python3 >/dev/null || ! python3 -m pip --version >/dev/null 2>&1; then
  echo "libtorch: python3 with pip is needed to fetch libtorch (Debian, Ubuntu: apt-get install python3-pip), or set LIBTORCH" >&2
  exit 1
fi

exec python3 scripts/libtorch.py ${CUDA:+--cuda}
