"""Untrained weights, the same numbers as `src/vision/random.rs` makes.

A number is splitmix64(fnv1a64(name) + seed + (index + 1) * GOLDEN), its top 24 bits as a uniform value in
[-1, 1), scaled and shifted by what the tensor is for.
"""

import math

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MASK = (1 << 64) - 1


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def uniform(name, count, seed=0):
    """`count` values in [-1, 1), float64, exactly representable in float32."""
    start = np.uint64((fnv1a64(name) + seed) & MASK)
    with np.errstate(over="ignore"):
        z = start + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / float(1 << 23) - 1.0


def spread(name, shape):
    """The shift and the spread of a tensor."""
    inputs = math.prod(shape[1:])
    norms = ("bn.weight", "norm.weight", "norm1.weight", "norm2.weight", "gamma")
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith(norms):
        return 1.0, 0.25
    if name.startswith("model.22.cv3.") and name.endswith(".2.bias"):
        return -4.0, 0.1
    if name.endswith("pos_embed"):
        return 0.0, 1.0
    if name.endswith(("cls_token", "register_tokens")) or len(shape) < 2:
        return 0.0, 0.02
    if name == "patch_embed.proj.weight":
        return 0.0, 0.5 * math.sqrt(6.0 / inputs)
    if name.endswith("qkv.weight"):
        return 0.0, 1.5 * math.sqrt(3.0 / inputs)
    return 0.0, math.sqrt((6.0 if len(shape) == 4 else 3.0) / inputs)


def tensor(name, shape, seed=0):
    shift, scale = spread(name, shape)
    if name == "patch_embed.proj.weight":
        out, inputs, rows, columns = shape
        quarters = (shift + scale * uniform(name, out * inputs * 4, seed)).astype(np.float32)
        quarters = quarters.reshape(out, inputs, 2, 2)
        return quarters.repeat(rows // 2, axis=2).repeat(columns // 2, axis=3)
    values = shift + scale * uniform(name, math.prod(shape), seed)
    return values.astype(np.float32).reshape(shape)


def load(module, seed=0, skip=()):
    """Fills a torch module with these weights."""
    import torch

    state = module.state_dict()
    for name, value in state.items():
        if value.is_floating_point() and not name.endswith(tuple(skip)):
            state[name] = torch.from_numpy(tensor(name, tuple(value.shape), seed))
    module.load_state_dict(state)
    return module.float().eval()
