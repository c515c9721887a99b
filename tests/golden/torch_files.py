"""Small files of `torch.save` in the forms that are read, and what is in them: torch_{state,module,run}.pt, torch_files.json.

    python tests/golden/torch_files.py
"""

import json
import pathlib

import torch
from torch import nn

here = pathlib.Path(__file__).parent
torch.manual_seed(0)

# A state dict with every kind of number, views that are turned, offset and shared, and a number without axes.
base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
state = {
    "plain": base.clone(),
    "turned": base.clone().t(),
    "part": base[1:3, 2:5],
    "shared.a": base,
    "shared.b": base[2],
    "half": base.half(),
    "brain": base.bfloat16(),
    "double": base.double(),
    "count": torch.tensor(7),
    "ints": torch.tensor([-1, 2], dtype=torch.int32),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "flags": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
}
torch.save(state, here / "torch_state.pt")


class Net(nn.Module):
    """Stands in for a network class that the reader has never heard of."""

    __module__ = "ultralytics.nn.tasks"

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, eps=1e-3), nn.Identity())
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("dropped", torch.ones(2), persistent=False)
        self.names = {0: "bottle", 1: "strip"}
        self.task = "detect"


# Pickle looks the class up by name when it writes.
import sys
import types

for name in ("ultralytics", "ultralytics.nn", "ultralytics.nn.tasks"):
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["ultralytics.nn.tasks"].Net = Net
net = Net().half()
torch.save(net, here / "torch_module.pt")
run = {"epoch": 3, "ema": None, "model": net, "optimizer": {"state": {}}, "license": "AGPL-3.0 (https://example.org)"}
torch.save(run, here / "torch_run.pt")


def describe(tensors):
    return {
        name: {"dtype": str(value.dtype), "shape": list(value.shape), "values": value.double().flatten().tolist()}
        for name, value in tensors.items()
    }


expected = {"torch": torch.__version__, "state": describe(state), "module": describe(net.state_dict())}
(here / "torch_files.json").write_text(json.dumps(expected) + "\n")
