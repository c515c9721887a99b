#!/usr/bin/env bash
# Makes the detector and the embedder that are to ship, from nothing but drawn packs: hours on two cores. Stopped (Ctrl-C) and started
# again, it goes on where it was. Everything lies in target/models; the last step puts the weights into models/.
set -euo pipefail
cd "$(dirname "$0")/.."
sightline="$PWD/target/release/sightline"
work="$PWD/target/models"
mkdir -p "$work"
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
machine="$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores"

# Of the detector designs 0 to 599 are learnt from and chosen by, of the embedder 6000 from 5000 on (the last 204 chosen by), then 9000
# of which none has a look-alike (5000 to 22998, the last 301 chosen by), then 18000 more of those (200000 to 235998, the last 301
# chosen by). Those from 100000 to 199999 are never learnt from: 100000 to
# 100399 are photographed; of the 900 from 101000 on (a tenth in pairs) thresholds are chosen by 600, and judged are the other 300,
# the 400 from 103000 on, all in pairs that differ in the strength alone, and the 300 from 104000 on, of which none has a look-alike.
synth() {
  [ -d "$work/$1" ] || "$sightline" dataset synth --out "$work/$1" --seed 1 "${@:2}"
}

# A run to its end: begun, or gone on with.
train() {
  local run="$work/runs/$1"
  if [ -e "$run/done" ]; then return; fi
  if [ -e "$run/weights/last.state" ]; then
    "$sightline" train --resume "$run" || exit
  else
    rm -rf "$run"
    "$sightline" train "$work/$2" --runs "$work/runs" --name "$1" "${@:3}" \
      --origin "drawn packs (make models: $2 of seed 1), commit $commit, $machine"
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
synth packs --images 2200 --packs 600 --val 0.09
train pack-seg-320 packs --model yolov8n-seg epochs=24 imgsz=320 lr0=0.001 warmup_epochs=2 "${common[@]}"
train pack-seg packs --model "$work/runs/pack-seg-320/weights/best.safetensors" epochs=5 imgsz=640 lr0=0.0004 warmup_epochs=0.5 \
  close_mosaic=2 "${common[@]}"
common=(upright=true labels=32 per_label=4 temperature=0.07 weight_decay=0.05 degrees=6 scale=0.1 blur=0.1 hsv_s=0.3 hsv_v=0.3
  cache_mb=2500 amp=auto)
# First from nothing, by labels at random; then by those that it finds alike itself.
cut=(--side 112 --mask-background --align --stretch)
synth crops --crops 8 "${cut[@]}" --upright --packs 6000 --first-design 5000 --pairs 0.4 --val 0.034
train pack-embed-0 crops --model dinov2_vit256x8_14 epochs=7 imgsz=112 mask_background=true align=true square=false together=2 \
  lr0=0.001 warmup_epochs=0.5 seed=1 "${common[@]}"
synth crops-single --crops 6 "${cut[@]}" --upright --packs 9000 --first-design 5000 --pairs 0 --val 0.0334
train pack-embed-1 crops-single --model "$work/runs/pack-embed-0/weights/best.safetensors" epochs=5 together=8 mine=true \
  lr0=0.0005 warmup_epochs=0.1 seed=1 "${common[@]}"
train pack-embed-2 crops-single --model "$work/runs/pack-embed-1/weights/best.safetensors" epochs=7 together=8 mine=true \
  lr0=0.0004 warmup_epochs=0.1 seed=2 fitness=map "${common[@]}"
# Then by packs that it has never seen.
synth crops-fresh --crops 6 "${cut[@]}" --upright --packs 18000 --first-design 200000 --pairs 0 --val 0.0167
train pack-embed-3 crops-fresh --model "$work/runs/pack-embed-2/weights/best.safetensors" epochs=4 together=8 mine=true \
  lr0=0.0005 warmup_epochs=0.1 seed=3 fitness=map "${common[@]}"

synth held-out --images 2000 --packs 400 --first-design 100000 --test 1
synth held-out-crops --crops 12 "${cut[@]}" --packs 900 --pairs 0.1 --first-design 101000 --val 0.6667 --test 0.3333
synth held-out-pairs --crops 12 "${cut[@]}" --packs 400 --first-design 103000 --val 0.5 --test 0.5
synth held-out-single --crops 12 "${cut[@]}" --packs 300 --pairs 0 --first-design 104000 --test 1
licence="MIT OR Apache-2.0"
"$sightline" model import "$work/runs/pack-seg/weights/best.safetensors" --name pack-seg --licence "$licence" --force
"$sightline" model import "$work/runs/pack-embed-3/weights/best.safetensors" --name pack-embed --licence "$licence" --force
"$sightline" evaluate "$work/held-out" --split test --model models/pack-seg.safetensors --record "2000 pictures of 400 designs never learnt from"
# The first two tell thresholds, for `decision` in config.yaml; the others judge by them.
judge=(--model models/pack-embed.safetensors --enrolled 3)
"$sightline" evaluate "$work/held-out-crops" --split val "${judge[@]}" --strangers 0.667
"$sightline" evaluate "$work/held-out-pairs" --split val "${judge[@]}"
"$sightline" evaluate "$work/held-out-crops" --split test "${judge[@]}" --strangers 0.333 --record "200 designs never learnt from, 20 of them in pairs; 100 strangers"
"$sightline" evaluate "$work/held-out-single" --split test "${judge[@]}" --strangers 0.333 --record "200 designs never learnt from, none in a pair; 100 strangers"
"$sightline" evaluate "$work/held-out-pairs" --split test "${judge[@]}" --record "160 designs never learnt from, all in pairs that differ in the strength alone; 40 strangers"
