"""The figures of pycocotools, Ultralytics, scikit-learn and scipy on drawn data: metrics.json.

    pip install -r tests/golden/requirements.txt && python tests/golden/metrics.py
"""

import contextlib
import io
import json
import pathlib

import numpy as np
import scipy.stats
import torch
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn import metrics
from sklearn.calibration import calibration_curve
from ultralytics.utils.metrics import Metric, ap_per_class, box_iou, mask_iou
from ultralytics.models.yolo.detect import DetectionValidator

random = np.random.default_rng(7)
SIDE, CLASSES = 240, 4
# The confidence at which figures by size are taken.
SURE = 0.4


def ellipse(x, y, w, h):
    """A filled ellipse in a box, as run lengths."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    rle = masks.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def picture():
    """Objects, and answers near most of them, some double, some of the wrong class, some nowhere."""
    truths, found = [], []
    for _ in range(random.integers(0, 9)):
        w, h = random.uniform(8, 120, 2)
        x, y = random.uniform(0, SIDE - w), random.uniform(0, SIDE - h)
        kind = int(random.integers(0, CLASSES))
        crowd = bool(random.random() < 0.1)
        truths.append({"class": kind, "box": [x, y, w, h], "crowd": crowd})
        for _ in range(random.choice([0, 1, 1, 2])):
            shift = random.normal(0, 0.08, 4) * [w, h, w, h]
            said = kind if random.random() < 0.9 else int(random.integers(0, CLASSES))
            near = [x + shift[0], y + shift[1], max(w + shift[2], 2), max(h + shift[3], 2)]
            found.append({"class": said, "box": near, "score": round(random.uniform(0.05, 1), 6)})
    for _ in range(random.integers(0, 3)):
        w, h = random.uniform(8, 100, 2)
        box = [random.uniform(0, SIDE - w), random.uniform(0, SIDE - h), w, h]
        found.append({"class": int(random.integers(0, CLASSES)), "box": box, "score": round(random.uniform(0.01, 0.6), 6)})
    for thing in truths + found:
        thing["box"] = [round(float(v), 2) for v in thing["box"]]
        thing["mask"] = ellipse(*thing["box"])
    return {"truths": truths, "found": found}


def coco(pictures, kind):
    """pycocotools' summary and each class's average precision."""
    images = [{"id": i + 1, "width": SIDE, "height": SIDE} for i in range(len(pictures))]
    annotations, results = [], []
    for i, one in enumerate(pictures):
        for thing in one["truths"]:
            annotation = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": thing["class"] + 1}
            area = float(masks.area(thing["mask"])) if kind == "segm" else thing["box"][2] * thing["box"][3]
            annotation |= {"bbox": thing["box"], "segmentation": thing["mask"], "area": area, "iscrowd": int(thing["crowd"])}
            annotations.append(annotation)
        for thing in one["found"]:
            result = {"image_id": i + 1, "category_id": thing["class"] + 1, "score": thing["score"]}
            results.append(result | ({"segmentation": thing["mask"]} if kind == "segm" else {"bbox": thing["box"]}))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": c + 1} for c in range(CLASSES)]}
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(results), kind)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    precision = judged.eval["precision"][:, :, :, 0, 2]
    classes = [float(precision[:, :, c].mean()) for c in range(CLASSES)]
    return {"stats": judged.stats.tolist(), "classes": classes, "sizes": sizes(judged)}


def sizes(judged):
    """Objects, answers that count and right ones among them by class and size, at an overlap of 0.5 and a confidence of SURE."""
    counts = [[[0, 0, 0] for _ in range(3)] for _ in range(CLASSES)]
    # Pictures lie innermost, then sizes, of which the first is all of them.
    for one in filter(None, judged.evalImgs):
        size = judged.params.areaRng.index(one["aRng"])
        if size > 0:
            given = (np.array(one["dtScores"]) >= SURE) & ~one["dtIgnore"][0].astype(bool)
            count = counts[one["category_id"] - 1][size - 1]
            count[0] += int((~np.array(one["gtIgnore"], dtype=bool)).sum())
            count[1] += int(given.sum())
            count[2] += int((given & (one["dtMatches"][0] > 0)).sum())
    return counts


def ultralytics(pictures, kind):
    """Ultralytics' matching and curves, by boxes or by masks."""
    matcher = DetectionValidator.__new__(DetectionValidator)
    matcher.iouv = torch.linspace(0.5, 0.95, 10)
    right, scores, said, there = [], [], [], []
    corners = lambda things: torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (t["box"] for t in things)]).reshape(-1, 4)
    for one in pictures:
        found = sorted(one["found"], key=lambda thing: -thing["score"])
        truth_classes = torch.tensor([float(t["class"]) for t in one["truths"]])
        found_classes = torch.tensor([float(f["class"]) for f in found])
        there += truth_classes.tolist()
        if not found:
            continue
        if one["truths"]:
            if kind == "segm":
                flat = lambda things: torch.from_numpy(np.stack([masks.decode(t["mask"]).ravel() for t in things])).float()
                overlap = mask_iou(flat(one["truths"]), flat(found))
            else:
                overlap = box_iou(corners(one["truths"]), corners(found))
            matched = matcher.match_predictions(found_classes, truth_classes, overlap)
        else:
            matched = torch.zeros(len(found), 10, dtype=torch.bool)
        right.append(matched.numpy())
        scores += [f["score"] for f in found]
        said += found_classes.tolist()
    outcome = ap_per_class(np.concatenate(right), np.array(scores), np.array(said), np.array(there))
    _, _, p, r, f1, ap, classes = outcome[:7]
    whole = Metric()
    whole.update(outcome[2:])
    means = {name: float(value) for name, value in zip(["precision", "recall", "map50", "map50_95"], whole.mean_results())}
    each = {"precision": p.tolist(), "recall": r.tolist(), "f1": f1.tolist(), "ap": ap.tolist(), "classes": classes.tolist()}
    return each | {"mean": means | {"map75": float(whole.map75)}}


def classification():
    """scikit-learn's figures of a classifier of five classes, one of which is never met."""
    truths = random.choice(5, 120, p=[0.4, 0.3, 0.15, 0.15, 0])
    scores = random.dirichlet(np.ones(5), 120) + 0.6 * np.eye(5)[truths] * (random.random((120, 1)) < 0.7)
    scores = np.round(scores / scores.sum(1, keepdims=True), 3)
    scores /= scores.sum(1, keepdims=True)
    answers = scores[:, :4].argmax(1)
    figures = {"accuracy": metrics.accuracy_score(truths, answers)}
    for average in ["macro", "micro", "weighted"]:
        figures[average] = metrics.precision_recall_fscore_support(truths, answers, average=average, zero_division=0)[:3]
    each = metrics.precision_recall_fscore_support(truths, answers, labels=range(5), zero_division=0)
    met = range(4)
    figures |= {
        "each": np.array(each[:3]).T.tolist(),
        "confusion": metrics.confusion_matrix(truths, answers, labels=range(5)).tolist(),
        "roc_auc": [metrics.roc_auc_score(truths == c, scores[:, c]) for c in met],
        "average_precision": [metrics.average_precision_score(truths == c, scores[:, c]) for c in met],
        "pixel_iou": metrics.jaccard_score(truths, answers, labels=range(5), average=None, zero_division=0).tolist(),
    }
    # scikit-learn has the curve; the error is the mean distance from its diagonal, by how many answers each bin has.
    confidences, figures["calibration_error"] = scores.max(1), {}
    for bins in (10, 15):
        right, sure = calibration_curve(scores.argmax(1) == truths, confidences, n_bins=bins)
        place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidences)
        share = np.bincount(place, minlength=bins) / len(confidences)
        figures["calibration_error"][bins] = float((share[share > 0] * np.abs(right - sure)).sum())
    return {"truths": truths.tolist(), "answers": answers.tolist(), "scores": scores.tolist(), "figures": figures}


def bounds():
    """scipy's one-sided 95% lower bounds."""
    pairs = [(0, 5), (1, 5), (5, 5), (59, 60), (97, 100), (300, 300), (1989, 2000)]
    bound = lambda right, n: scipy.stats.binomtest(right, n, alternative="greater").proportion_ci(0.95, "exact").low
    return [[right, n, float(bound(right, n))] for right, n in pairs]


def polygons():
    """The runs that pycocotools makes of outlines: of one decimal, whole, any, crossing themselves, touching or leaving the picture."""
    draw, cases = np.random.default_rng(11), []
    for number in range(240):
        height, width = (int(side) for side in draw.integers(1, 60, 2))
        out = [0, 0, 0.4][number % 3]
        corners = draw.uniform([-out * width, -out * height], [width * (1 + out), height * (1 + out)], (int(draw.integers(3, 9)), 2))
        if number % 2:
            corners = np.clip(corners * 1.3 - [width * 0.15, height * 0.15], 0 - 2 * out * width, [width + 2 * out * width, height])
        corners = np.round(corners, [0, 1, 4][number % 4 % 3])
        flat = [float(value) for value in corners.ravel()]
        runs = masks.frPyObjects([flat], height, width)[0]
        cases.append({"size": runs["size"], "corners": flat, "counts": runs["counts"].decode()})
    return cases


pictures = [picture() for _ in range(24)]
out = {
    "pictures": pictures,
    "coco": {kind: coco(pictures, kind) for kind in ["bbox", "segm"]},
    "ultralytics": {kind: ultralytics(pictures, kind) for kind in ["bbox", "segm"]},
    "classification": classification(),
    "bounds": bounds(),
    "polygons": polygons(),
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
print(f"{path}: {path.stat().st_size} bytes")
