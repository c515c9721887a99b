#!/usr/bin/env python3
"""Puts the lines of `make bench` into docs/benchmarks.md.

    scripts/benchmarks.py target/bench/lines.jsonl          a whole run: the table is made anew
    scripts/benchmarks.py --part target/bench/lines.jsonl   a part (ONLY=...): its rows are replaced, the others stay

Each row has the day and the commit it was measured at. The words around the table are written by people.
"""

import json
import pathlib
import re
import subprocess
import sys
import time

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/benchmarks.md"
BEGIN, END = "<!-- figures: made by scripts/benchmarks.py -->", "<!-- end of figures -->"
# What was aimed at beside a peer: name, peer (its beginning), ratio, whether less is better.
AIMS = [
    ("yolov8n-seg 640x640 forward, fp32", "PyTorch fp32", 0.72, True),
    ("yolov8n-seg 640x640 forward, bf16", "PyTorch fp32", 0.43, True),
    ("yolov8n-seg 640x640 forward, bf16", "OpenVINO bf16", 1.10, True),
    ("dinov2_vits14 224 batch 4, fp32", "PyTorch fp32", 0.85, True),
    ("dinov2_vits14 224 batch 32, fp32", "PyTorch fp32", 0.85, True),
    ("dinov2_vits14 224 batch 4, bf16", "PyTorch fp32", 0.50, True),
    ("dinov2_vits14 224 batch 32, bf16", "PyTorch fp32", 0.50, True),
    ("exact search, 100,000 vectors of 384, top 10, one probe, one thread", "faiss", 1.2, True),
    ("exact search, 100,000 vectors of 384, top 10, 1000 probes, one thread", "faiss", 0.83, False),
    ("exact search, 1,000,000 vectors of 384, top 10, one probe, one thread", "faiss", 1.2, True),
    ("exact search, 1,000,000 vectors of 384, top 10, 1000 probes, one thread", "faiss", 0.83, False),
    ("approximate search, 100,000 vectors of 384, recall@10 0.99, one thread", "", 1.0, False),
    ("approximate search, 1,000,000 vectors of 384, recall@10 0.99, one thread", "", 1.0, False),
    ("decode a JPEG of 4000x3000", "OpenCV", 1.0, True),
    ("whole path, enroll, bf16", "Pillow, Ultralytics", 3.5, False),
    ("whole path, enroll, bf16", "torch bf16", 1.3, False),
    ("whole path, enroll, bf16", "OpenVINO bf16", 1.0, False),
    ("whole path, enroll, bf16: most memory held", "Pillow, Ultralytics", 1.0, True),
    *[
        (f"training yolov8n-seg at {size}, batch 8, {augmented} augmentation, fp32", "Ultralytics", 1.2, False)
        for size in (320, 640)
        for augmented in ("without", "with")
    ],
    ("evaluating 5,000 pictures, 100 boxes each, protocol coco", "pycocotools", 0.1, True),
    ("evaluating 5,000 pictures, 20 masks each, protocol coco", "pycocotools", 0.1, True),
    ("dataset check of 100,000 pictures of 320x240", "reading and decoding", 1.25, True),
]
# What was aimed at without a peer: name, figure, whether less is better.
ALONE = [
    ("whole path, enroll, bf16: time outside the networks", 10, True),
    ("journal, entries appended in synced batches of 500", 20_000, False),
    ("journal, proof of 1,000,000 entries", 10_000, True),
    ("start with 1,000,000 images on record, until the engine answers", 2000, True),
    ("restart with 1,000,000 images and 2,000,000 enrolled sightings on record, until the engine answers", 2000, True),
    ("ingest of 100,000 small duplicates", 2000, False),
    ("console, 1,000,000 rows, files: key to drawn frame, 99th percentile", 16, True),
    ("console, 1,000,000 rows, labels: key to drawn frame, 99th percentile", 16, True),
    ("console, 1,000,000 rows, sightings of a label: key to drawn frame, 99th percentile", 16, True),
    ("console, 1,000,000 rows, entries: key to drawn frame, 99th percentile", 16, True),
    ("console, one changed cell: bytes written", 1024, True),
    ("console, idle: processor", 0.5, True),
    ("console, idle: bytes written in a minute", 0, True),
]

# The same for figures that are ratios already: name, figure, whether less is better.
LIMITS = [
    ("identify path by enroll path, images a second, fp32", 2.5, False),
    ("identify path by enroll path, images a second, bf16", 2.5, False),
    ("opening the index of 1,000,000 vectors", 1000, True),
    ("index of 100,000 vectors in memory, by the vectors' own bytes", 1.2, True),
    ("index of 1,000,000 vectors in memory, by the vectors' own bytes", 1.2, True),
]


def aim(line):
    for what, figure, less in LIMITS:
        if line["what"] == what:
            reached = line["median"] <= figure if less else line["median"] >= figure
            return f"{'<=' if less else '>='} {figure}", "yes" if reached else "**no**"
    for what, peer, ratio, less in AIMS:
        if "ratio" in line and line["what"] == what and line.get("peer", "").startswith(peer):
            reached = line["ratio"] <= ratio if less else line["ratio"] >= ratio
            return f"{'<=' if less else '>='} {ratio}", "yes" if reached else "**no**"
    for what, most, less in ALONE:
        if line["what"] == what and "peer" not in line:
            reached = line["median"] <= most if less else line["median"] >= most
            return f"{'<=' if less else '>='} {most:,} {line['unit']}", "yes" if reached else "**no**"
    return "", ""


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


HEAD = [
    "| what | ours | spread | rounds | peer | its | ratio | aim | reached | measured |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def row(line, measured):
    """The cells of a line."""
    unit = line["unit"]
    peer = [line["peer"], f"{number(line['peer_median'])} {unit}", f"{line['ratio']:.2f}"] if "peer" in line else ["", "", ""]
    ours = [line["what"], f"{number(line['median'])} {unit}", number(line["spread"]), str(line["rounds"])]
    return [*ours, *peer, *aim(line), measured]


def name(cells):
    """What a row is about: the measurement and the peer."""
    return cells[0], cells[4]


def standing(section):
    """The rows that a page has, and the line that says where they were measured."""
    rows = [[cell.strip() for cell in text[1:-1].split("|")] for text in section.splitlines() if text.startswith("|")]
    about = next((text for text in section.splitlines() if text and not text.startswith("|")), "")
    return [cells for cells in rows[2:] if len(cells) == HEAD[0].count("|") - 1], about


def merged(old, new):
    """The old rows with the new ones in their places; what was not there before comes after its like, or at the end."""
    rows = list(old)
    for cells in new:
        same = [n for n, other in enumerate(rows) if name(other) == name(cells)]
        if same:
            rows[same[0]] = cells
            continue
        like = [n for n, other in enumerate(rows) if other[0] == cells[0]]
        first_words = [n for n, other in enumerate(rows) if other[0].split(",")[0] == cells[0].split(",")[0]]
        rows.insert(max(like or first_words or [len(rows) - 1]) + 1, cells)
    beside = {cells[0] for cells in new if cells[4]}
    # Measured alone before, beside peers now.
    return [cells for cells in rows if cells[4] or cells[0] not in beside]


part = "--part" in sys.argv
(source,) = [argument for argument in sys.argv[1:] if argument != "--part"]
lines = [json.loads(text) for text in pathlib.Path(source).read_text().splitlines() if text.startswith("{")]
if not lines:
    raise SystemExit(f"{source}: no lines")
commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=PAGE.parent).stdout.strip()
measured = f"{time.strftime('%Y-%m-%d', time.gmtime())}, {commit}"
about = f"{lines[0]['machine']}; `make bench`."
rows = [row(line, measured) for line in lines]
page = PAGE.read_text()
found = re.findall(re.escape(BEGIN) + "(.*?)" + re.escape(END), page, flags=re.DOTALL)
if len(found) != 1:
    raise SystemExit(f"{PAGE}: the markers are missing")
if part:
    old, where = standing(found[0])
    if where != about:
        raise SystemExit(f"{PAGE} is of another machine ({where}); figures of two machines are not put into one table")
    rows = merged(old, rows)
table = "\n".join(HEAD + ["| " + " | ".join(cells) + " |" for cells in rows])
PAGE.write_text(page.replace(found[0], f"\n\n{about}\n\n{table}\n\n"))
print(f"{PAGE}: {len(lines)} figures")
