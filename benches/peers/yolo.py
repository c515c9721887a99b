"""YOLOv8n-seg in other runtimes: the forward pass at 640x640, or Ultralytics' predict on a picture."""

import argparse
import os
import pathlib
import tempfile

import numpy as np
import torch
from common import detector, milliseconds, openvino_compiled, serve
from ultralytics.nn.tasks import SegmentationModel

CALLS = 8

parser = argparse.ArgumentParser()
parser.add_argument("--runtime", required=True)
parser.add_argument("--part", required=True)
parser.add_argument("--weights", required=True)
parser.add_argument("--picture", required=True)
arguments = parser.parse_args()

torch.set_num_threads(os.cpu_count())
torch.set_grad_enabled(False)
yolo = detector(arguments.weights)
model = yolo.model.float().eval()

if arguments.part == "predict":
    import cv2

    # The picture is in memory, as it is for us.
    picture = cv2.imread(arguments.picture)
    call = lambda: yolo.predict(picture, conf=0.05, retina_masks=True, verbose=False, device="cpu")  # noqa: E731
else:
    model = model.fuse()
    x = torch.rand(1, 3, 640, 640)
    if not arguments.runtime.startswith("torch"):
        # The head is exported as it is for every runtime, its anchors computed for this size beforehand.
        model.model[-1].export, model.model[-1].format = True, "torchscript"
        model(x)
    match arguments.runtime:
        case "torch":
            call = lambda: model(x)  # noqa: E731
        case "torch-bf16":
            model = model.bfloat16().to(memory_format=torch.channels_last)
            x = x.bfloat16().to(memory_format=torch.channels_last)
            call = lambda: model(x)  # noqa: E731
        case "openvino" | "openvino-bf16":
            compiled = openvino_compiled(model, x, arguments.runtime.endswith("bf16"))
            request, array = compiled.create_infer_request(), x.numpy()
            call = lambda: request.infer([array], share_inputs=True)  # noqa: E731
        case "onnxruntime":
            import onnxruntime

            path = pathlib.Path(tempfile.mkdtemp()) / "model.onnx"
            torch.onnx.export(model, (x,), str(path), opset_version=17, dynamo=False, input_names=["x"])
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = os.cpu_count()
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            array = x.numpy()
            call = lambda: session.run(None, {"x": array})  # noqa: E731
        case "ncnn" | "ncnn-bf16":
            import ncnn
            import pnnx

            folder = pathlib.Path(tempfile.mkdtemp())
            paths = {
                name: str(folder / file)
                for name, file in [
                    ("ncnnparam", "model.param"), ("ncnnbin", "model.bin"), ("ncnnpy", "model.py"),
                    ("pnnxparam", "pnnx.param"), ("pnnxbin", "pnnx.bin"), ("pnnxpy", "pnnx.py"),
                    ("pnnxonnx", "pnnx.onnx"),
                ]
            }
            pnnx.export(model, str(folder / "model.pt"), inputs=x, fp16=False, device="cpu", **paths)
            net = ncnn.Net()
            net.opt.num_threads = os.cpu_count()
            net.opt.use_bf16_storage = arguments.runtime.endswith("bf16")
            net.load_param(paths["ncnnparam"])
            net.load_model(paths["ncnnbin"])
            outputs, array = net.output_names(), np.ascontiguousarray(x.numpy()[0])

            def call():
                extractor = net.create_extractor()
                extractor.input("in0", ncnn.Mat(array))
                return [extractor.extract(name) for name in outputs]

        case other:
            raise SystemExit(f"no runtime {other}")

for _ in range(3):
    call()
serve(lambda: milliseconds(call, CALLS))
