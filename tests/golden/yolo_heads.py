"""Raw heads of Ultralytics' YOLOv8 n and s, detecting and segmenting, with untrained weights: yolo_heads.safetensors.

    python tests/golden/yolo_heads.py

A checkpoint holds the network object, and with it each convolution's activation; YOLO26 has none after SPPF's
first convolution, and a YOLOv8 may be saved with that. yolov8s is made so, the others as published.
"""

import pathlib

import torch
import ultralytics
from safetensors.numpy import save_file
from ultralytics.nn.tasks import DetectionModel, SegmentationModel

import weights

CASES = [("yolov8n", 3, True), ("yolov8s", 3, False), ("yolov8n-seg", 80, True), ("yolov8s-seg", 80, True)]
HEIGHT, WIDTH = 64, 96

out = {}
picture = (weights.uniform("picture", 3 * HEIGHT * WIDTH) + 1) / 2
picture = torch.from_numpy(picture.astype("float32").reshape(1, 3, HEIGHT, WIDTH))
for name, classes, published in CASES:
    kind = SegmentationModel if name.endswith("seg") else DetectionModel
    model = weights.load(kind(f"{name}.yaml", nc=classes, verbose=False), skip=("dfl.conv.weight",))
    if not published:
        model.model[9].cv1.act = torch.nn.Identity()
    with torch.no_grad():
        raw = model(picture)[1]
    keys = {"boxes": "boxes", "scores": "scores", "mask_coefficient": "coefficients", "proto": "prototypes"}
    for key, ours in keys.items():
        if key in raw:
            out[f"{name}.{ours}"] = raw[key].numpy().copy()
about = {"torch": torch.__version__, "ultralytics": ultralytics.__version__}
path = pathlib.Path(__file__).with_name("yolo_heads.safetensors")
save_file(out, path, metadata=about)
print(path.name, {key: value.shape for key, value in out.items()}, about)
