#!/usr/bin/env python3
"""Makes a .pt that Ultralytics loads from YOLOv8 weights of sightline.

    pip install ultralytics safetensors
    python3 scripts/to_ultralytics.py runs/train/weights/best.safetensors best.pt
    yolo val model=best.pt data=data.yaml

With --check PICTURES… both programs are asked about these pictures; how far their answers lie apart is told, and an answer that
only one of them gives, or a score that differs by more than 0.01, is an error.

The tensors have Ultralytics' names already; what is missing in a safetensors file is the network that they belong to. It
is built from the architecture in the card beside the weights (`best.card.json`), or from --architecture. A network whose
batch norms were folded into its convolutions cannot be turned back: it has no norms any more.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from ultralytics import YOLO


ROOT = Path(__file__).resolve().parent.parent
# Scores that are this far from the least that counts may be told by one program alone.
APART = 0.01
LEAST = 0.25


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = lambda c: (c[2] - c[0]) * (c[3] - c[1])
    return width * height / (area(a) + area(b) - width * height)


def check(weights, pt, pictures, size):
    """Whether both programs give the same answers."""
    words = [ROOT / "target/release/sightline", "see", "--json", "--model", weights, "--imgsz", str(size), *pictures]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"sightline see: {done.stderr}")
    model, both, alone = YOLO(pt), [], []
    for line in map(json.loads, done.stdout.splitlines()):
        # As sightline does: masks at the picture's own size, and no answer without a pixel in it.
        result = model.predict(line["image"], imgsz=size, conf=LEAST, retina_masks=True, verbose=False, device="cpu")[0]
        theirs = [(int(box.cls), float(box.conf), [float(v) for v in box.xyxy[0]]) for box in result.boxes]
        for ours in line["detections"]:
            same = [one for one in theirs if one[0] == ours["class"] and overlap(one[2], ours["box"]) > 0.9]
            if not same:
                alone.append(ours["confidence"])
                continue
            near = min(same, key=lambda one: abs(one[1] - ours["confidence"]))
            theirs.remove(near)
            corners = max(abs(a - b) for a, b in zip(near[2], ours["box"]))
            both.append((abs(near[1] - ours["confidence"]), corners))
        alone += [one[1] for one in theirs]
    scores, corners = [max((one[place] for one in both), default=0.0) for place in (0, 1)]
    sure = [score for score in alone if score > LEAST + APART]
    print(f"{len(both)} answers of both, scores at most {scores:.5f} apart, corners {corners:.3f} pixels; of one alone: {len(alone)}")
    return bool(both) and scores <= APART and not sure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="a .safetensors file of sightline")
    parser.add_argument("pt", type=Path, help="the .pt to make")
    parser.add_argument("--architecture", help="for example yolov8n-seg, where there is no card")
    parser.add_argument("--check", nargs="+", metavar="PICTURES", help="ask both programs about these pictures")
    asked = parser.parse_args()
    card = asked.weights.with_suffix(".card.json")
    stated = json.loads(card.read_text()) if card.is_file() else {}
    architecture = asked.architecture or stated.get("architecture")
    if not architecture:
        parser.error(f"{card} is not there: name the architecture (--architecture yolov8n-seg)")
    with safe_open(asked.weights, "pt") as file:
        inside = json.loads((file.metadata() or {}).get("sightline", "{}"))
        names = inside.get("names") or stated.get("classes")
        size = int(inside.get("meta", {}).get("input_size", 640))
        epsilon = float(inside.get("meta", {}).get("bn_eps", 1e-3))
        tensors = {key: file.get_tensor(key).float() for key in file.keys()}
    if not names:
        parser.error(f"{asked.weights} does not name its classes")
    model = YOLO(f"{architecture}.yaml").model
    # A network of so many classes: the published description has 80.
    model = type(model)({**model.yaml, "nc": len(names)}, ch=3, verbose=False)
    # A class branch that was taken over from other classes has kept its width.
    for level, branch in enumerate(model.model[-1].cv3):
        shapes = [tuple(tensors.get(f"model.22.cv3.{level}.{layer}.conv.weight", torch.empty(0)).shape) for layer in (0, 1)]
        own = [tuple(branch[layer].conv.weight.shape) for layer in (0, 1)]
        if all(len(shape) == 4 for shape in shapes) and shapes != own:
            first, second = [type(branch[0])(inputs, outputs, side) for outputs, inputs, side, _ in shapes]
            last = torch.nn.Conv2d(shapes[1][0], len(names), 1)
            branch[0], branch[1], branch[2] = first, second, last
    # Those layers begin with PyTorch's numbers, not with Ultralytics'.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps, module.momentum = epsilon, 0.03
    own = model.state_dict()
    # Not kept, for they say nothing: a count of batches, and the numbers 0 to 15 that distances are averaged by.
    constant = ("num_batches_tracked", "dfl.conv.weight")
    missing = [key for key in own if key not in tensors and not key.endswith(constant)]
    foreign = [key for key in tensors if key not in own]
    if missing or foreign:
        parser.error(f"not a {architecture} with its batch norms: missing {missing[:3]}, unknown {foreign[:3]}")
    model.load_state_dict(tensors, strict=False)
    model.names = dict(enumerate(names))
    task = "segment" if architecture.endswith("-seg") else "detect"
    model.args, model.task = {"task": task, "imgsz": size}, task
    torch.save({"epoch": -1, "model": model.half(), "ema": None, "train_args": dict(model.args)}, asked.pt)
    print(f"{asked.pt}: {architecture}, {len(names)} classes")
    if asked.check and not check(asked.weights, asked.pt, asked.check, size):
        sys.exit("their answers differ")


if __name__ == "__main__":
    main()
