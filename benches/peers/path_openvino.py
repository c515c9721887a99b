"""The whole path as fast as it could be put together in Python: OpenVINO bf16, OpenCV, one process a core."""

import argparse
import multiprocessing
import os
import pathlib
import pickle
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("--detector", required=True)
parser.add_argument("--embedder", required=True)
parser.add_argument("--pictures", required=True)
arguments = parser.parse_args()
OBJECTS = 3


def compiled(model, example):
    import openvino as ov

    converted = ov.convert_model(model, example_input=example)
    converted.reshape({converted.inputs[0]: list(example.shape)})
    # One stream of one thread: the other core is another process's.
    config = {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    return ov.Core().compile_model(converted, "CPU", config).create_infer_request()


def models():
    import torch
    from common import detector, embedder

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    yolo = detector(arguments.detector)
    network = yolo.model.float().eval().fuse()
    network.model[-1].export, network.model[-1].format = True, "torchscript"
    x = torch.rand(1, 3, 640, 640)
    network(x)
    dino = embedder(arguments.embedder)
    return compiled(network, x), compiled(dino, torch.rand(4 * OBJECTS, 3, 224, 224))


def work(tasks, results):
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    detector, embedder = models()
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.array([0.229, 0.224, 0.225], np.float32)

    def one(file):
        picture = cv2.imread(file, cv2.IMREAD_COLOR_RGB)
        height, width = picture.shape[:2]
        scale = 640 / max(height, width)
        small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
        left, top = (640 - small.shape[1]) // 2, (640 - small.shape[0]) // 2
        square = np.full((640, 640, 3), 114, np.uint8)
        square[top : top + small.shape[0], left : left + small.shape[1]] = small
        x = np.ascontiguousarray(square.transpose(2, 0, 1)[None]).astype(np.float32) / 255
        found = detector.infer([x], share_inputs=True)
        heads, prototypes = (np.array(value) for value in list(found.values())[:2])
        boxes, scores, coefficients = heads[0, :4].T, heads[0, 4:84].max(0), heads[0, 84:].T
        likely = np.flatnonzero(scores > 0.001)
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], 1)
        kept = cv2.dnn.NMSBoxes(corners[likely].tolist(), scores[likely].tolist(), 0.001, 0.7)[:OBJECTS]
        kept = likely[np.array(kept, int)]
        # Outlines at the picture's size, as the others make them.
        masks = coefficients[kept] @ prototypes[0].reshape(32, -1)
        for mask in masks.reshape(-1, 160, 160):
            part = mask[top // 4 : (top + small.shape[0]) // 4, left // 4 : (left + small.shape[1]) // 4]
            cv2.resize(part, (width, height)) > 0
        views = []
        for cx, cy, w, h in boxes[kept]:
            x1, y1 = max(int((cx - w / 2 - left) / scale), 0), max(int((cy - h / 2 - top) / scale), 0)
            x2, y2 = min(int((cx + w / 2 - left) / scale) + 1, width), min(int((cy + h / 2 - top) / scale) + 1, height)
            crop = picture[y1:y2, x1:x2]
            side = max(crop.shape[:2])
            padded = np.full((side, side, 3), (124, 116, 104), np.uint8)
            y, x = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
            padded[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
            crop = cv2.resize(padded, (224, 224), interpolation=cv2.INTER_CUBIC)
            views += [np.rot90(crop, turn) for turn in range(4)]
        batch = (np.stack(views).astype(np.float32) / 255 - mean) / deviation
        batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        vectors = np.array(next(iter(embedder.infer([batch], share_inputs=True).values())))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    results.put(None)
    while (file := tasks.get()) is not None:
        results.put((file, one(file)))


def main():
    from common import serve

    files = sorted(str(file) for file in pathlib.Path(arguments.pictures).glob("*.jpg"))
    context = multiprocessing.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    workers = [context.Process(target=work, args=(tasks, results), daemon=True) for _ in range(os.cpu_count())]
    for worker in workers:
        worker.start()
    for _ in workers:
        results.get()

    def one_round():
        gallery, path = {}, pathlib.Path(tempfile.mkdtemp()) / "gallery.pkl"
        began = time.perf_counter()
        for file in files:
            tasks.put(file)
        for _ in files:
            file, vectors = results.get()
            gallery[file] = vectors
            with open(path, "wb") as out:
                pickle.dump(gallery, out)
                out.flush()
                os.fsync(out.fileno())
        return len(files) / (time.perf_counter() - began)

    one_round()
    serve(one_round)


if __name__ == "__main__":
    main()
