"""The whole path as it is commonly put together in Python: decode, detect, crop, four rotations, embed, pickle."""

import argparse
import os
import pathlib
import pickle
import tempfile
import time

import numpy as np
import torch
from common import detector, embedder, serve
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("--way", required=True)
parser.add_argument("--detector", required=True)
parser.add_argument("--embedder", required=True)
parser.add_argument("--pictures", required=True)
arguments = parser.parse_args()

torch.set_num_threads(os.cpu_count())
torch.set_grad_enabled(False)
yolo = detector(arguments.detector)
dino = embedder(arguments.embedder)
mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
files = sorted(pathlib.Path(arguments.pictures).glob("*.jpg"))
half = arguments.way == "torch-bf16"
if half:
    dino = dino.bfloat16()


def tensor(crop):
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None].float() / 255


def embed(crops):
    x = (torch.cat([tensor(crop) for crop in crops]) - mean) / deviation
    vectors = dino(x.bfloat16()).float() if half else dino(x)
    return torch.nn.functional.normalize(vectors).numpy()


def square(picture, box):
    crop = picture.crop(tuple(int(v) for v in box))
    longer = max(crop.size)
    padded = Image.new("RGB", (longer, longer), (124, 116, 104))
    padded.paste(crop, ((longer - crop.width) // 2, (longer - crop.height) // 2))
    return padded.resize((224, 224), Image.BICUBIC)


def one(file, gallery, path):
    picture = Image.open(file).convert("RGB")
    settings = {"conf": 0.001, "max_det": 3, "verbose": False, "device": "cpu"}
    if half:
        with torch.autocast("cpu", torch.bfloat16):
            found = yolo.predict(picture, **settings)[0]
    else:
        found = yolo.predict(picture, **settings)[0]
    crops = [square(picture, box) for box in found.boxes.xyxy.tolist()]
    turned = [[crop.rotate(-angle) for angle in (0, 90, 180, 270)] for crop in crops]
    if half:
        flat = embed([view for views in turned for view in views])
        vectors = [flat[i * 4 : i * 4 + 4] for i in range(len(turned))]
    else:
        vectors = [embed(views) for views in turned]
    gallery[file.name] = vectors
    with open(path, "wb") as out:
        pickle.dump(gallery, out)
        out.flush()
        os.fsync(out.fileno())
    return len(crops)


def one_round():
    gallery, path = {}, pathlib.Path(tempfile.mkdtemp()) / "gallery.pkl"
    began = time.perf_counter()
    for file in files:
        one(file, gallery, path)
    return len(files) / (time.perf_counter() - began)


objects = one(files[0], {}, pathlib.Path(tempfile.mkdtemp()) / "first.pkl")
print(f"{arguments.way}: {objects} objects in the first picture")
serve(one_round)
