#!/usr/bin/env bash
# A linear probe on folders of pictures, with the weights that ship: what their vectors are worth beyond drawn packs.
#
#   scripts/probes.sh OUT SET…      # for example: scripts/probes.sh probes photos/cells photos/pills
#
# Each SET (a folder a class) is divided by `dataset split`, its part `test` judged; reports and plots go to OUT/<set>/.
set -euo pipefail
sightline=$(cd "$(dirname "$0")/.." && pwd)/target/release/sightline
model=$(cd "$(dirname "$0")/.." && pwd)/models/pack-embed.safetensors
[ $# -ge 2 ] || { sed -n 2,6p "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
for set in "$@"; do
  name=$(basename "$set")
  rm -rf "${out:?}/$name"
  mkdir -p "$out/$name"
  "$sightline" dataset split "$set" --out "$out/$name/set" --train 0.6 --val 0.2 --test 0.2 --seed 1
  "$sightline" train "$out/$name/set" --model "$model" --head linear --runs "$out/$name" --name probe
  "$sightline" evaluate "$out/$name/set" --split test --model "$out/$name/probe/weights/best.safetensors" \
    --out "$out/$name/test" | tee "$out/$name/report.txt"
done
