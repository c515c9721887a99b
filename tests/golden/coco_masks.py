"""Masks and outlines of parts as pycocotools reads them from COCO files: coco_masks.json.

    python tests/golden/coco_masks.py
"""

import importlib.metadata
import json
import pathlib

import numpy as np
import pycocotools.mask

here = pathlib.Path(__file__).parent


def smooth(seed, height, width, rounds, share):
    """A few large blobs: noise, smoothed, of which the highest share is inside."""
    noise = np.random.default_rng(seed).random((height, width))
    for _ in range(rounds):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, -1, 0) + np.roll(noise, 1, 1) + np.roll(noise, -1, 1)) / 5
    return noise > np.quantile(noise, 1 - share)


def drawn(height, width, *boxes):
    """Boxes (left, top, right, bottom): each further one is turned over, so that one inside another is a hole."""
    mask = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] ^= True
    return mask


def runs(mask):
    """Lengths down the columns, of nothing first."""
    flat = mask.flatten(order="F").astype(np.int8)
    cuts = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], cuts, [flat.size]])).tolist()
    return lengths if flat[0] == 0 else [0, *lengths]


masks = {
    "one box": drawn(30, 40, (5, 4, 25, 20)),
    "the whole picture": drawn(7, 9, (0, 0, 9, 7)),
    "one pixel": drawn(5, 6, (3, 2, 4, 3)),
    "the last pixel": drawn(5, 6, (5, 4, 6, 5)),
    "a line of one pixel": drawn(20, 50, (2, 9, 48, 10)),
    "a hole": drawn(30, 40, (5, 4, 35, 26), (12, 10, 20, 18)),
    "three parts": drawn(30, 60, (2, 2, 10, 12), (20, 5, 33, 28), (45, 15, 58, 20)),
    "parts that touch at a corner": drawn(20, 20, (2, 2, 8, 8), (8, 8, 15, 15)),
    "small and ragged": smooth(1, 24, 33, 1, 0.4),
    "blobs": smooth(2, 120, 160, 12, 0.3),
    "a large blob": smooth(8, 240, 320, 400, 0.25),
}
cases = []
for name, mask in masks.items():
    rle = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    lengths = runs(mask)
    # What is written as a list must be the same to pycocotools.
    listed = pycocotools.mask.frPyObjects({"size": list(mask.shape), "counts": lengths}, *mask.shape)
    assert listed["counts"] == rle["counts"], name
    cases.append(
        {
            "name": name,
            "size": list(mask.shape),
            "counts": rle["counts"].decode(),
            "list": lengths if len(lengths) < 200 else None,
            "area": int(pycocotools.mask.area(rle)),
            "bbox": pycocotools.mask.toBbox(rle).tolist(),
        }
    )

outlines = {
    "apart": [[10, 10, 40, 12, 38, 44, 12, 40], [70, 20, 90, 20, 90, 60, 70, 60], [50, 70, 58, 70, 54, 78]],
    "the second turns the other way": [[10, 10, 40, 10, 40, 40, 10, 40], [60, 50, 60, 80, 90, 80, 90, 50]],
    "they overlap": [[10, 10, 60, 10, 60, 50, 10, 50], [40, 30, 90, 30, 90, 70, 40, 70]],
    "one within the other": [[10, 10, 90, 10, 90, 70, 10, 70], [30, 30, 50, 30, 50, 50, 30, 50]],
    "they share a side": [[10, 10, 40, 10, 40, 40, 10, 40], [40, 10, 80, 10, 80, 40, 40, 40]],
}
parts = []
for name, polygons in outlines.items():
    whole = pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, 80, 100))
    parts.append({"name": name, "polygons": polygons, "size": [80, 100], "counts": whole["counts"].decode()})

version = importlib.metadata.version("pycocotools")
text = json.dumps({"pycocotools": version, "masks": cases, "parts": parts}, separators=(",", ":"))
(here / "coco_masks.json").write_text(text + "\n")
print("coco_masks.json")
