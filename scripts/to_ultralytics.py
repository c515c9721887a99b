#!/usr/bin/env python3
"""Makes a .pt that Ultralytics loads from YOLOv8 weights of sightline.

    pip install ultralytics safetensors
    python3 scripts/to_ultralytics.py runs/train/weights/best.safetensors best.pt
    yolo val model=best.pt data=data.yaml

The tensors have Ultralytics' names already; what is missing in a safetensors file is the network that they belong to. It
is built from the architecture in the card beside the weights (`best.card.json`), or from --architecture. A network whose
batch norms were folded into its convolutions cannot be turned back: it has no norms any more.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from ultralytics import YOLO


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="a .safetensors file of sightline")
    parser.add_argument("pt", type=Path, help="the .pt to make")
    parser.add_argument("--architecture", help="for example yolov8n-seg, where there is no card")
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


if __name__ == "__main__":
    main()
