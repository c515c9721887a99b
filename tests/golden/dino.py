"""Class tokens of the DINOv2 reference code with untrained weights: dino.safetensors.

    python tests/golden/dino.py [--dinov2 CHECKOUT]

CHECKOUT is a clone of facebookresearch/dinov2; without one torch.hub fetches it.
"""

import argparse
import pathlib

import torch
from safetensors.numpy import save_file

import weights

SIZES = [(224, 224), (518, 518), (266, 350)]

parser = argparse.ArgumentParser()
parser.add_argument("--dinov2", help="a clone of facebookresearch/dinov2")
arguments = parser.parse_args()
source = {"source": "local"} if arguments.dinov2 else {}
repository = arguments.dinov2 or "facebookresearch/dinov2"

out = {}
for name in ["dinov2_vits14", "dinov2_vits14_reg", "dinov2_vitb14", "dinov2_vitb14_reg"]:
    model = weights.load(torch.hub.load(repository, name, pretrained=False, **source))
    for height, width in SIZES:
        picture = weights.uniform(f"picture {height} {width}", 3 * height * width) * 2
        picture = torch.from_numpy(picture.astype("float32").reshape(1, 3, height, width))
        with torch.no_grad():
            token = model.forward_features(picture)["x_norm_clstoken"]
        out[f"{name}.{height}x{width}"] = token.numpy().copy()
path = pathlib.Path(__file__).with_name("dino.safetensors")
save_file(out, path, metadata={"torch": torch.__version__})
print(path.name, {key: value[0, :3].tolist() for key, value in out.items()})
