#!/usr/bin/env bash
# The acceptance of the main job with real photographs and models, at full size. It says what it does and the counts,
# and ends with an error where anything is lost, done twice, altered, or not found.
#
#   SIGHTLINE_SAMPLES=DIR scripts/acceptance.sh [photographs|turned|kills]
#
# DIR holds data/ (folders of pictures) and models/yolov8n-seg.pt. Without a name all three run, one after another:
#   photographs  300 mixed ones, 20 of them broken in 10 ways, dropped while the engine runs, and 300 while it is down
#   turned       half of each class enrolled; every enrolled picture turned by 90, 180 and 270 degrees is found again
#   kills        SIGKILL at 20 random moments of such work (SIGHTLINE_SEED repeats a run)
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SIGHTLINE_SAMPLES:?name the folder with data/ and models/}"
export SIGHTLINE_SAMPLES SIGHTLINE_FULL=1

declare -A tests=(
    [photographs]=samples::real_photographs_are_accounted_for_dropped_while_it_runs_and_while_it_is_down
    [turned]=samples::turned_packs_are_found_with_their_rotation_and_the_rest_is_answered
    [kills]=samples::kills_at_random_moments_of_real_work_lose_nothing
)
for name in "${@:-photographs turned kills}"; do
    for part in $name; do
        [[ -n "${tests[$part]:-}" ]] || { echo "acceptance: there is no \`$part\`; there are photographs, turned, kills" >&2; exit 2; }
        echo "== $part"
        cargo test --quiet --test it -- --exact "${tests[$part]}" --nocapture
    done
done
