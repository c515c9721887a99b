"""pycocotools: seconds to judge detections that are read already."""

import contextlib
import io
import sys
import time

from common import serve
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

truths, found, kind = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    truths = COCO(truths)
    found = truths.loadRes(found)


def one_round():
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        judged = COCOeval(truths, found, "segm" if kind == "masks" else "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
        return time.perf_counter() - began


serve(one_round)
