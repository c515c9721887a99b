"""Ultralytics' trainer on the CPU: pictures a second of an epoch after the first."""

import argparse
import os
import tempfile
import time

import torch
from common import serve
from ultralytics import YOLO, settings

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--imgsz", type=int, required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--augment", choices=["with", "without"], required=True)
arguments = parser.parse_args()
settings.update({"sync": False})
NONE = dict.fromkeys(["mosaic", "hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "erasing"], 0.0)


def one_round():
    times = []
    yolo = YOLO("yolov8n-seg.yaml")
    yolo.add_callback("on_train_batch_end", lambda trainer: times.append((trainer.epoch, time.perf_counter())))
    with tempfile.TemporaryDirectory() as runs:
        yolo.train(
            data=arguments.data,
            imgsz=arguments.imgsz,
            batch=arguments.batch,
            epochs=2,
            device="cpu",
            workers=2,
            optimizer="SGD",
            close_mosaic=0,
            val=False,
            plots=False,
            save=False,
            cache="ram",
            project=runs,
            exist_ok=True,
            verbose=False,
            **(NONE if arguments.augment == "without" else {}),
        )
    second = [at for epoch, at in times if epoch == 1]
    return (len(second) - 1) * arguments.batch / (second[-1] - second[0])


torch.set_num_threads(os.cpu_count())
serve(one_round)
