"""What DINOv2's reference code says of fixed weights and a fixed batch, and where 10 steps of AdamW lead: `embed.json`.

    python tests/golden/embed.py --dinov2 CHECKOUT

CHECKOUT is a clone of facebookresearch/dinov2. Pictures and weights are the made-up numbers of `weights.py`. The losses are written
down from their papers (arXiv:2004.11362, equation 2; arXiv:1801.07698, equation 3); the networks and their gradients are the
reference's.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

import weights

parser = argparse.ArgumentParser()
parser.add_argument("--dinov2", required=True, help="a clone of facebookresearch/dinov2")
sys.path.insert(0, parser.parse_args().dinov2)
from dinov2.layers import MemEffAttention  # noqa: E402
from dinov2.models.vision_transformer import DinoVisionTransformer  # noqa: E402
from functools import partial  # noqa: E402
from dinov2.layers import NestedTensorBlock as Block  # noqa: E402

torch.set_num_threads(1)
SIDE = 70
LABELS = [0, 0, 1, 1, 2, 2, 0, 1]
WIDTH, DEPTH, GRID = 128, 3, 4
TEMPERATURE, MARGIN, SCALE = 0.1, 0.5, 30.0
RATE, DECAY = 0.0005, 0.05
LOOKED_AT = [
    "cls_token",
    "pos_embed",
    "patch_embed.proj.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.ls1.gamma",
    "blocks.1.norm1.bias",
    "blocks.2.attn.qkv.weight",
    "norm.weight",
]


def network(registers):
    net = DinoVisionTransformer(
        img_size=GRID * 14,
        patch_size=14,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=WIDTH // 64,
        mlp_ratio=4,
        block_fn=partial(Block, attn_class=MemEffAttention),
        init_values=1.0,
        ffn_layer="swiglufused" if registers else "mlp",
        block_chunks=0,
        num_register_tokens=4 if registers else 0,
        interpolate_antialias=bool(registers),
        interpolate_offset=0.0 if registers else 0.1,
    )
    weights.load(net, skip=("mask_token",))
    return net.train()


def batch():
    count = len(LABELS) * SIDE * SIDE * 3
    pixels = np.floor((weights.uniform("pictures", count) + 1.0) * 127.0).astype(np.uint8)
    pixels = torch.from_numpy(pixels.reshape(len(LABELS), SIDE, SIDE, 3)).permute(0, 3, 1, 2).float() / 255.0
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)


def supcon(vectors, labels):
    total, anchors = 0.0, 0
    for i in range(len(labels)):
        positives = [p for p in range(len(labels)) if p != i and labels[p] == labels[i]]
        others = [a for a in range(len(labels)) if a != i]
        below = torch.logsumexp(torch.stack([vectors[i] @ vectors[a] / TEMPERATURE for a in others]), 0)
        total = total + sum(below - vectors[i] @ vectors[p] / TEMPERATURE for p in positives) / len(positives)
        anchors += 1
    return total / anchors


def arcface(vectors, labels, directions):
    cosine = vectors @ torch.nn.functional.normalize(directions).T
    angle = torch.arccos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))
    rows = torch.arange(len(labels))
    own = angle[rows, labels]
    scores = cosine.clone()
    scores[rows, labels] = torch.cos(own + MARGIN)
    return torch.nn.functional.cross_entropy(scores * SCALE, torch.tensor(labels))


def run(registers, loss_of):
    net = network(registers)
    bound = 0.01 * math.sqrt(3.0)
    directions = weights.uniform("margin_head.weight", 3 * WIDTH).reshape(3, WIDTH) * bound
    directions = torch.nn.Parameter(torch.from_numpy(directions.astype(np.float32)))
    pictures = batch()
    learning = [(n, p) for n, p in net.named_parameters() if n != "mask_token"]
    if loss_of == "arcface":
        learning.append(("margin_head.weight", directions))
    decayed = [p for n, p in learning if p.ndim >= 2 and not n.endswith(".bias")]
    rest = [p for n, p in learning if p.ndim < 2 or n.endswith(".bias")]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999))
    first = {n: p.detach().clone() for n, p in learning}
    found = {"losses": [], "gradients": {}}
    for step in range(10):
        token = net.forward_features(pictures)["x_norm_clstoken"]
        if step == 0:
            found["tokens"] = [[float(v) for v in row[:16]] for row in token]
        vectors = torch.nn.functional.normalize(token)
        loss = supcon(vectors, LABELS) if loss_of == "supcon" else arcface(vectors, LABELS, directions)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in learning], max_norm=10.0)
        if step == 0:
            found["norm"] = float(norm)
            scale = min(1.0, 10.0 / (float(norm) + 1e-6))
            named = dict(learning)
            found["gradients"] = {n: float(named[n].grad.double().norm()) / scale for n in LOOKED_AT}
        optimiser.step()
        found["losses"].append(float(loss.detach()))
    named = dict(learning)
    found["weights"] = {n: [float(v) for v in named[n].detach().flatten()[:16]] for n in LOOKED_AT}
    found["moved"] = {n: float((named[n].detach() - first[n]).double().norm()) for n in LOOKED_AT}
    return found


if __name__ == "__main__":
    found = {"side": SIDE, "labels": LABELS, "width": WIDTH, "depth": DEPTH, "grid": GRID}
    for name, registers, loss in [("plain_supcon", False, "supcon"), ("registers_arcface", True, "arcface")]:
        found[name] = run(registers, loss)
        print(name, found[name]["losses"], found[name]["norm"])
    Path(__file__).with_name("embed.json").write_text(json.dumps(found) + "\n")
