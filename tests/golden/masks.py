"""Masks as pycocotools encodes them, and pictures as OpenCV scales them: masks.json, resize.json.

    python tests/golden/masks.py
"""

import hashlib
import importlib.metadata
import json
import pathlib

import cv2
import numpy as np
import pycocotools.mask

import weights

here = pathlib.Path(__file__).parent
sizes = [(1, 1), (3, 5), (17, 9), (40, 60), (64, 64), (101, 37)]
cases = []
for number, (height, width) in enumerate(sizes):
    for level in (-2.0, -0.9, 0.0, 0.7, 2.0):
        noise = weights.uniform(f"mask {number}", height * width).reshape(height, width)
        # Smoothed a little, so that runs have many lengths.
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 2
        mask = np.asfortranarray((noise > level).astype(np.uint8))
        rle = pycocotools.mask.encode(mask)
        rows = ["".join("#" if v else "." for v in row) for row in mask]
        cases.append(
            {
                "size": [height, width],
                "counts": rle["counts"].decode(),
                "area": int(pycocotools.mask.area(rle)),
                "rows": rows,
            }
        )
pairs = []
for a, b in zip(cases, cases[1:]):
    if a["size"] == b["size"]:
        rles = [{"size": c["size"], "counts": c["counts"].encode()} for c in (a, b)]
        pairs.append(float(pycocotools.mask.iou([rles[0]], [rles[1]], [0])[0][0]))
    else:
        pairs.append(None)
version = importlib.metadata.version("pycocotools")
text = json.dumps({"pycocotools": version, "cases": cases, "iou_with_next": pairs}, separators=(",", ":"))
(here / "masks.json").write_text(text + "\n")

cases = []
for width, height, to_width, to_height in [
    (1000, 700, 640, 448), (333, 500, 426, 640), (640, 480, 320, 240), (320, 240, 640, 480), (641, 480, 640, 479),
    (100, 100, 640, 640), (17, 300, 36, 640), (1, 1, 5, 3), (3, 2, 1, 1), (1, 300, 2, 640), (2000, 37, 640, 12),
]:
    noise = (weights.uniform(f"resize {width} {height}", width * height * 3) + 1) * 128
    picture = noise.astype(np.uint8).reshape(height, width, 3)
    scaled = cv2.resize(picture, (to_width, to_height), interpolation=cv2.INTER_LINEAR)
    digest = hashlib.sha256(scaled.tobytes()).hexdigest()
    cases.append({"from": [width, height], "to": [to_width, to_height], "sha256": digest})
(here / "resize.json").write_text(json.dumps({"opencv": cv2.__version__, "cases": cases}) + "\n")
print("masks.json, resize.json")
