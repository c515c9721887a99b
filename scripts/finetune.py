#!/usr/bin/env python3
"""Fine-tunes published YOLOv8 weights by sightline and by Ultralytics, with the same settings, and judges both alike.

    pip install ultralytics safetensors
    SIGHTLINE_SAMPLES=… python3 scripts/finetune.py [--epochs 30] [--seeds 1,2,3] [--only face-mask]

SIGHTLINE_SAMPLES holds data/{grocery-seg,face-mask} and models/{yolov8n-seg,yolov8n}.pt. Each set is divided by
`sightline dataset split`; both learn from the same pictures, with Ultralytics' defaults but for what SETTINGS says; both
results are judged on the others by `sightline evaluate` (protocol `ultralytics`) and by Ultralytics' own `val`, which pads
pictures in another way and judges masks more coarsely. A line of JSON for each set and seed: the division
is the same for all, so that seeds tell how far chance goes on so few pictures. Pictures that look alike stay in one part, so that a division
is near a fifth or a quarter, not at it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIGHTLINE = ROOT / "target/release/sightline"
# Few pictures make few steps: no warm-up (which takes 100 batches at least), and a step a batch.
SETTINGS = {"imgsz": 320, "batch": 8, "nbs": 8, "optimizer": "AdamW", "lr0": 0.001, "momentum": 0.9, "warmup_epochs": 0.0}
SETS = [("grocery-seg", "yolov8n-seg.pt", 0.2, "masks"), ("face-mask", "yolov8n.pt", 0.25, "boxes")]


def sightline(*words):
    done = subprocess.run([SIGHTLINE, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"sightline {words}: {done.stderr}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    samples = Path(os.environ["SIGHTLINE_SAMPLES"])
    for name, weights, val, what in SETS:
        for seed in asked.seeds.split(","):
            if asked.only in name:
                settings = {**SETTINGS, "epochs": asked.epochs, "seed": int(seed)}
                print(json.dumps(beside(samples, name, weights, val, what, settings)), flush=True)


def beside(samples, name, weights, val, what, settings):
    """What both made of a set, judged alike."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        data = scratch / "set"
        shares = ["--train", 1 - val, "--val", val, "--test", 0, "--seed", 1]
        sightline("dataset", "split", samples / "data" / name, "--out", data, *shares)
        model, began = samples / "models" / weights, time.time()
        pairs = [f"{key}={str(value).lower()}" for key, value in settings.items()]
        sightline("train", data, *pairs, "--model", model, "--runs", scratch, "--name", "ours", "--json")
        ours = time.time() - began

        # What it prints is no line of JSON; it asks for this once.
        os.environ["YOLO_VERBOSE"] = "False"
        from ultralytics import YOLO

        began = time.time()
        YOLO(model).train(
            data=data / "data.yaml", project=scratch, name="theirs", device="cpu", workers=2, plots=False, verbose=False, **settings
        )
        theirs = time.time() - began

        def judged(weights, pt):
            scores = json.loads(sightline("evaluate", data, "--model", weights, "--imgsz", settings["imgsz"], "--json"))["ultralytics"][what]
            own = YOLO(pt).val(
                data=data / "data.yaml", imgsz=settings["imgsz"], device="cpu", project=scratch, plots=False, verbose=False
            )
            own = own.seg if what == "masks" else own.box
            by = {"map50": scores["map50"], "map50_95": scores["map50_95"], "map50_by_val": own.map50, "map50_95_by_val": own.map}
            return {key: round(float(value), 4) for key, value in by.items()}

        best = scratch / "ours/weights/best.safetensors"
        subprocess.run([sys.executable, ROOT / "scripts/to_ultralytics.py", best, scratch / "ours.pt"], check=True, capture_output=True)
        found = {
            "sightline": judged(best, scratch / "ours.pt"),
            "ultralytics": judged(scratch / "theirs/weights/best.pt", scratch / "theirs/weights/best.pt"),
        }
        seconds = {"sightline": round(ours), "ultralytics": round(theirs)}
        # By either judge no more than 0.02 behind.
        reached = all(found["sightline"][by] >= found["ultralytics"][by] - 0.02 for by in ("map50", "map50_by_val"))
        count = lambda part: sum(1 for file in (data / "images" / part).rglob("*") if file.is_file())
        pictures = {part: count(part) for part in ("train", "val")}
        return {"set": name, "from": weights, "by": what, "pictures": pictures, **found, "reached": reached, "seconds": seconds, **settings}


if __name__ == "__main__":
    main()
