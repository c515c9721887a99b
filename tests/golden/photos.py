"""What `yolo predict` finds in real photographs: photos.json. No photograph is kept, only boxes and masks.

    SIGHTLINE_SAMPLES=DIR python tests/golden/photos.py

DIR holds models/yolov8n-seg.pt and data/{grocery-seg,pills-detect}/images. All settings are the defaults of
`yolo predict`, but for `retina_masks`: it is Ultralytics' way to masks at the picture's own resolution.
"""

import json
import os
import pathlib

import cv2
import numpy as np
import pycocotools.mask
import torch
import ultralytics
from ultralytics import YOLO

samples = pathlib.Path(os.environ["SIGHTLINE_SAMPLES"])
model = YOLO(samples / "models/yolov8n-seg.pt")
out = []
for folder, count in [("grocery-seg", 30), ("pills-detect", 20)]:
    # Spread over the folder, in the order of the names.
    files = sorted((samples / "data" / folder / "images").iterdir())
    files = files[:: max(1, len(files) // count)][:count]
    for file in files:
        result = model.predict(file, retina_masks=True, verbose=False, device="cpu")[0]
        detections = []
        for i, box in enumerate(result.boxes):
            mask = result.masks.data[i].numpy().astype(np.uint8)
            rle = pycocotools.mask.encode(np.asfortranarray(mask))
            detections.append(
                {
                    "class": int(box.cls),
                    "confidence": round(float(box.conf), 6),
                    "box": [round(float(v), 3) for v in box.xyxy[0]],
                    "mask": {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode()},
                }
            )
        out.append({"image": f"data/{folder}/images/{file.name}", "detections": detections})
versions = {"torch": torch.__version__, "ultralytics": ultralytics.__version__, "opencv": cv2.__version__}
path = pathlib.Path(__file__).with_name("photos.json")
lines = ",\n".join(json.dumps(image, separators=(",", ":")) for image in out)
path.write_text(f'{{"versions":{json.dumps(versions)},"images":[\n{lines}\n]}}\n')
print(path.name, len(out), "photos,", sum(len(image["detections"]) for image in out), "detections,", path.stat().st_size, "bytes")
