"""What the peers share: one round a line of stdin, its figure as a line of JSON on stdout."""

import json
import os
import statistics
import sys
import time

# Libraries print to stdout; the answers keep a way of their own.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def milliseconds(call, calls):
    """The median time of so many calls."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def serve(one_round):
    """Answers rounds until nobody asks any more."""
    ANSWERS.write(json.dumps({"ready": True}) + "\n")
    for _ in sys.stdin:
        ANSWERS.write(json.dumps({"value": one_round()}) + "\n")


def state(path):
    """The tensors of a .safetensors file."""
    from safetensors.torch import load_file

    return load_file(path)


def detector(path):
    """Ultralytics' YOLOv8n-seg with the weights of a .pt or .safetensors file."""
    from ultralytics import YOLO

    if path.endswith(".pt"):
        return YOLO(path)
    yolo = YOLO("yolov8n-seg.yaml")
    yolo.model.load_state_dict(state(path), strict=False)
    return yolo


def embedder(path):
    """timm's DINOv2 ViT-S/14 at 224 pixels with the weights of a .safetensors file."""
    import timm

    model = timm.create_model("vit_small_patch14_dinov2", pretrained=False, img_size=224, num_classes=0).eval()
    weights = state(path)
    weights.pop("pos_embed")  # of the trained grid; another grid's positions take the same time
    model.load_state_dict(weights, strict=False)
    return model


def openvino_compiled(model, example, bf16):
    """A torch module as OpenVINO runs it for latency, on all cores."""
    import openvino as ov

    converted = ov.convert_model(model, example_input=example)
    for port, shape in zip(converted.inputs, [example.shape], strict=True):
        converted.reshape({port: list(shape)})
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"}
    return ov.Core().compile_model(converted, "CPU", config)
