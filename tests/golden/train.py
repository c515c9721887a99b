"""What Ultralytics' losses say of fixed weights and a fixed batch, and where 20 steps of SGD lead: `train.json`.

    pip install ultralytics==8.4.190 torch==2.11.0
    python tests/golden/train.py

Pictures are the made-up numbers of `weights.py`, weights such numbers as PyTorch begins with (`learn::train::start`); objects are
ellipses, given by their boxes. Ultralytics is run, not
copied: only what it returns is written down.
"""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from ultralytics.cfg import get_cfg
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel, SegmentationModel

import weights

torch.set_num_threads(1)
SIDE = 160
PICTURES = 4
# Each picture's objects: class, then the box as x1 y1 x2 y2 in pixels. One is smaller than a cell, two lie over each other,
# one picture has nothing. (An object that no box meets would be left to the order in which equals are sorted.)
OBJECTS = [
    [[0, 10, 12, 90, 70], [1, 60, 40, 150, 150], [2, 100.5, 20.25, 130.75, 44.5]],
    [[1, 5, 5, 11, 12], [2, 30, 60, 130, 110]],
    [],
    [[0, 0, 0, 160, 160], [0, 40, 40, 80, 120], [1, 90, 90, 110, 150], [2, 120, 8, 156, 30]],
]
# Objects of each class, for weights by how rare they are.
COUNTS = [40, 0, 5]
# Tensors that are looked at after the steps: one of every kind, from both ends.
LOOKED_AT = [
    "model.0.conv.weight",
    "model.4.m.0.cv1.bn.weight",
    "model.9.cv2.bn.running_mean",
    "model.15.cv1.conv.weight",
    "model.22.cv2.0.2.bias",
    "model.22.cv2.1.0.conv.weight",
    "model.22.cv3.0.2.bias",
    "model.22.cv3.2.2.weight",
]


def batch(segments):
    pixels = np.floor((weights.uniform("pictures", PICTURES * SIDE * SIDE * 3) + 1.0) * 127.0).astype(np.uint8)
    # [pictures, rows, columns, channels], as files come.
    pixels = torch.from_numpy(pixels.reshape(PICTURES, SIDE, SIDE, 3)).permute(0, 3, 1, 2).contiguous()
    index, classes, boxes = [], [], []
    maps = np.zeros((PICTURES, SIDE // 4, SIDE // 4), np.float32)
    rows, columns = np.mgrid[0 : SIDE // 4, 0 : SIDE // 4] * 4.0 + 2.0
    for picture, objects in enumerate(OBJECTS):
        for place, (cls, x1, y1, x2, y2) in enumerate(objects):
            x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            index.append(picture)
            classes.append(cls)
            boxes.append([x / SIDE, y / SIDE, w / SIDE, h / SIDE])
            inside = ((columns - x) / (w / 2)) ** 2 + ((rows - y) / (h / 2)) ** 2 < 1.0
            maps[picture][inside] = place + 1
    made = {
        "img": pixels.float() / 255.0,
        "batch_idx": torch.tensor(index, dtype=torch.float32),
        "cls": torch.tensor(classes, dtype=torch.float32).view(-1, 1),
        "bboxes": torch.tensor(boxes, dtype=torch.float32),
    }
    if segments:
        made["masks"] = torch.from_numpy(maps)
    return made


def scratch(net):
    """Weights as a run from nothing begins with, the same numbers as `src/learn/train/start.rs` makes."""
    state = net.state_dict()
    for name, value in state.items():
        shape = tuple(value.shape)
        if not value.is_floating_point() or ".dfl" in name:
            continue
        if name.endswith(("bn.weight", "running_var")) or (name.startswith("model.22.cv2.") and name.endswith(".2.bias")):
            made = np.ones(shape)
        elif name.endswith(("bn.bias", "running_mean")):
            made = np.zeros(shape)
        elif name.startswith("model.22.cv3.") and name.endswith(".2.bias"):
            stride = 8 << int(name.split(".")[3])
            made = np.full(shape, math.log(5 / 3 / (640 / stride) ** 2))
        else:
            layer = state[name.removesuffix(".bias") + ".weight" if name.endswith(".bias") else name]
            bound = 1.0 / math.sqrt(math.prod(layer.shape[1:]))
            made = weights.uniform(name, math.prod(shape)).reshape(shape) * bound
        state[name] = torch.from_numpy(made.astype(np.float32))
    net.load_state_dict(state)


def model(segments):
    kind = SegmentationModel if segments else DetectionModel
    net = kind("yolov8n-seg.yaml" if segments else "yolov8n.yaml", nc=3, verbose=False)
    scratch(net)
    net.args = get_cfg(overrides={"overlap_mask": True})
    net.train()
    for name, parameter in net.named_parameters():
        parameter.requires_grad = ".dfl" not in name
    net.criterion = None
    return net


def step_groups(net):
    groups = [[], [], []]
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            groups[2 if name.endswith(".bias") else 1 if parameter.ndim < 2 else 0].append(parameter)
    return groups


def named(parts):
    """Boxes, masks, classes, distances, however this version hands them out."""
    parts = {name: float(value) for name, value in parts.items()} if isinstance(parts, dict) else parts
    return [parts.get(name, 0.0) for name in ("box_loss", "seg_loss", "cls_loss", "dfl_loss")]


def run(segments, method):
    net, made = model(segments), batch(segments)
    loss, parts = net(made)
    loss.sum().backward()
    learning = [p for p in net.parameters() if p.requires_grad]
    norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in learning if p.grad is not None))
    found = {"parts": named(parts), "gradient": norm}

    net = model(segments)
    decayed, norms, biases = step_groups(net)
    if method == "sgd":
        optimiser = torch.optim.SGD(biases, lr=0.0001, momentum=0.9, nesterov=True)
    else:
        optimiser = torch.optim.AdamW(biases, lr=0.00001, betas=(0.9, 0.999), weight_decay=0.0)
    optimiser.add_param_group({"params": decayed, "weight_decay": 0.0005})
    optimiser.add_param_group({"params": norms, "weight_decay": 0.0})
    steps = []
    for _ in range(20):
        loss, parts = net(made)
        optimiser.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), max_norm=10.0)
        optimiser.step()
        steps.append(named(parts))
    state = net.state_dict()
    found["steps"] = steps
    found["weights"] = {name: [float(v) for v in state[name].flatten()[:32]] for name in LOOKED_AT}
    first = model(segments).state_dict()
    found["moved"] = {name: float((state[name] - first[name]).double().norm()) for name in LOOKED_AT}
    return found


class Weighing(DetectionTrainer):
    """The reference's trainer, of which nothing but its weights of classes is wanted."""

    def __init__(self, net, power):
        self.model, self.device, self.args = net, "cpu", SimpleNamespace(cls_pw=power)
        self.data = {"nc": len(COUNTS), "names": dict(enumerate("abc"))}
        labels = [{"cls": np.full((count, 1), float(cls))} for cls, count in enumerate(COUNTS)]
        self.train_loader = SimpleNamespace(dataset=SimpleNamespace(labels=labels))


def weighted(power):
    """Where classes count by how rare they are; one has no object to learn from."""
    net = model(False)
    Weighing(net, power).set_class_weights()
    loss, parts = net(batch(False))
    loss.sum().backward()
    norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in net.parameters() if p.grad is not None))
    found = [float(weight) for weight in net.class_weights]
    return {"counts": COUNTS, "power": power, "weights": found, "parts": named(parts), "gradient": norm}


if __name__ == "__main__":
    found = {"side": SIDE, "objects": OBJECTS, "weighted": [weighted(power) for power in (0.5, 1.0)]}
    print(found["weighted"])
    for name, segments, method in [("detect_sgd", False, "sgd"), ("segment_sgd", True, "sgd"), ("segment_adamw", True, "adamw")]:
        found[name] = run(segments, method)
        print(name, found[name]["parts"], found[name]["gradient"], found[name]["steps"][-1])
    Path(__file__).with_name("train.json").write_text(json.dumps(found) + "\n")
