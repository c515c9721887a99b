#!/bin/sh
# Makes docs/console.svg: the console on a demo workspace, captured from a real terminal (tmux). Needs tmux, python3
# and a built sightline.
set -eu
cd "$(dirname "$0")/.."
sightline=${1:-target/release/sightline}
folder=$(mktemp -d)
tmux="tmux -L sightline-capture"
trap '$tmux kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT

$tmux -f /dev/null new-session -d -x 120 -y 36 \
    "exec env COLORTERM=truecolor TERM=xterm-256color TZ=UTC '$sightline' demo --dir '$folder/packs'"
$tmux set -g status off
# Until some of each have come.
for _ in $(seq 120); do
    sleep 1
    screen=$($tmux capture-pane -p)
    if echo "$screen" | grep -q '[2-9] quarantined' && echo "$screen" | grep -q ' [1-9][0-9]* duplicate'; then break; fi
done
# The newest accepted one.
for _ in $(seq 12); do
    $tmux send-keys j
    sleep 1
    if $tmux capture-pane -p | grep -q 'answer *[A-Z].*margin'; then break; fi
done
sleep 1
mkdir -p docs
$tmux capture-pane -e -p | sed "s|$folder|/srv|g" | scripts/capture.py > docs/console.svg
echo "docs/console.svg: $(wc -c < docs/console.svg) bytes"
