"""Judges what `sightline evaluate` found by pycocotools, from the files that both write, and holds the figures against each other.

    pip install pycocotools==2.0.11
    python tests/golden/judged.py SET [--split val] [--model models/pack-seg.safetensors] [--imgsz 640]

SET is any set with boxes or outlines: labels are those of the COCO file that it is, or go through `dataset export --format coco`, answers
through `evaluate --out` (`predictions.json`). Boxes there are rounded to thousandths of a pixel and scores to 7 digits, which may move an answer
over an overlap's edge or swap two: figures must agree to 0.002.
"""

import argparse
import contextlib
import io
import json
import subprocess
import tempfile
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["ap", "ap50", "ap75", "small", "medium", "large", "ar1", "ar10", "ar100", "ar small", "ar medium", "ar large"]


def sightline(*words):
    done = subprocess.run([ROOT / "target/release/sightline", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"sightline {words}: {done.stderr}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", type=Path, default=ROOT / "models/pack-seg.safetensors")
    parser.add_argument("--imgsz", type=int)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        # A COCO file is the truth itself.
        truth = asked.set
        if asked.set.suffix != ".json":
            sightline("dataset", "export", asked.set, "--format", "coco", "--out", scratch / "coco")
            truth = scratch / f"coco/annotations/instances_{asked.split}.json"
        size = ["--imgsz", asked.imgsz] if asked.imgsz else []
        words = ["evaluate", asked.set, "--split", asked.split, "--model", asked.model, "--out", scratch / "out", "--json", *size]
        ours = json.loads(sightline(*words))["coco"]
        truth = json.loads(truth.read_text())
        answers = json.loads((scratch / "out/predictions.json").read_text())
    worst = 0.0
    for what, kind in [("boxes", "bbox"), ("masks", "segm")]:
        if not ours[what]:
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            labels = COCO()
            labels.dataset = truth
            labels.createIndex()
            # Of answers with both, pycocotools takes the box's area for a mask's.
            other = "bbox" if kind == "segm" else "segmentation"
            kept = [{key: value for key, value in answer.items() if key != other} for answer in answers]
            judged = COCOeval(labels, labels.loadRes(kept), kind)
            judged.evaluate()
            judged.accumulate()
            judged.summarize()
        figures = [ours[what][name] for name in ("ap", "ap50", "ap75")]
        figures += ours[what]["ap_by_size"] + ours[what]["ar"] + ours[what]["ar_by_size"]
        for name, mine, theirs in zip(NAMES, figures, judged.stats):
            mine = -1.0 if mine is None else mine
            worst = max(worst, abs(mine - theirs))
            print(f"{what} {name:<10} sightline {mine:8.5f}  pycocotools {theirs:8.5f}  {abs(mine - theirs):.1e}")
    print(f"at most {worst:.1e} apart, {len(answers)} answers, {len(truth['annotations'])} objects")
    raise SystemExit(int(worst > 0.002))


if __name__ == "__main__":
    main()
