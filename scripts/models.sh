#!/usr/bin/env bash
# Makes the detector that is to ship, from nothing but drawn packs: hours on two cores. Stopped (Ctrl-C) and started
# again, it goes on where it was. Everything lies in target/models; the last step puts the weights into models/.
set -euo pipefail
cd "$(dirname "$0")/.."
sightline="$PWD/target/release/sightline"
work="$PWD/target/models"
mkdir -p "$work"
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
machine="$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores"

# Designs 0 to 599 are learnt from and chosen by; those from 100000 on are never learnt from.
packs() {
  [ -d "$work/$1" ] || "$sightline" dataset synth --out "$work/$1" "${@:2}"
}
packs packs --images 2200 --packs 600 --seed 1 --val 0.09
packs held-out --images 2000 --packs 400 --seed 1 --first-design 100000 --test 1

# A run to its end: begun, or gone on with.
train() {
  local run="$work/runs/$1"
  if [ -e "$run/done" ]; then return; fi
  if [ -e "$run/weights/last.state" ]; then
    "$sightline" train --resume "$run" || exit
  else
    rm -rf "$run"
    "$sightline" train "$work/packs/data.yaml" --runs "$work/runs" --name "$1" "${@:2}" \
      --origin "drawn packs (dataset synth, seed 1, designs 0 to 599), commit $commit, $machine"
  fi
  # A run that was stopped is not done.
  if [ "$(($(wc -l < "$run/results.csv") - 1))" -lt "$(sed -n 's/^epochs: //p' "$run/args.yaml")" ]; then
    echo "models: stopped; \`make models\` goes on" >&2
    exit 130
  fi
  touch "$run/done"
}
common=(batch=16 nbs=16 optimizer=adamw momentum=0.9 warmup_bias_lr=0 cos_lr=true flipud=0.5 degrees=20 cache_mb=3000 seed=1 amp=auto)
# First small and quick, then at the size that it is used at.
train pack-seg-320 --model yolov8n-seg epochs=24 imgsz=320 lr0=0.001 warmup_epochs=2 "${common[@]}"
train pack-seg --model "$work/runs/pack-seg-320/weights/best.safetensors" epochs=5 imgsz=640 lr0=0.0004 warmup_epochs=0.5 \
  close_mosaic=2 "${common[@]}"

"$sightline" model import "$work/runs/pack-seg/weights/best.safetensors" --name pack-seg --licence "MIT OR Apache-2.0" --force
"$sightline" evaluate "$work/held-out/data.yaml" --split test --model models/pack-seg.safetensors
