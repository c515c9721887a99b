"""DINOv2 ViT-S/14 at 224 pixels in other runtimes, from a tensor to the class token."""

import argparse
import os

import torch
from common import embedder, milliseconds, openvino_compiled, serve

parser = argparse.ArgumentParser()
parser.add_argument("--runtime", required=True)
parser.add_argument("--weights", required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--calls", type=int, required=True)
arguments = parser.parse_args()

torch.set_num_threads(os.cpu_count())
torch.set_grad_enabled(False)
model = embedder(arguments.weights)
x = torch.rand(arguments.batch, 3, 224, 224)
match arguments.runtime:
    case "torch":
        call = lambda: model(x)  # noqa: E731
    case "torch-bf16":
        model, x = model.bfloat16(), x.bfloat16()
        call = lambda: model(x)  # noqa: E731
    case "openvino" | "openvino-bf16":
        request = openvino_compiled(model, x, arguments.runtime.endswith("bf16")).create_infer_request()
        array = x.numpy()
        call = lambda: request.infer([array], share_inputs=True)  # noqa: E731
    case other:
        raise SystemExit(f"no runtime {other}")
for _ in range(2):
    call()
serve(lambda: milliseconds(call, arguments.calls))
