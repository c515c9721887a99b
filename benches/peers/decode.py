"""A JPEG from bytes to pixels."""

import argparse
import io
import pathlib

from common import milliseconds, serve

CALLS = 5

parser = argparse.ArgumentParser()
parser.add_argument("--way", required=True)
parser.add_argument("--picture", required=True)
arguments = parser.parse_args()
data = pathlib.Path(arguments.picture).read_bytes()
if arguments.way == "pillow":
    import numpy
    from PIL import Image

    call = lambda: numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))  # noqa: E731
else:
    import cv2
    import numpy

    cv2.setNumThreads(1)
    array = numpy.frombuffer(data, numpy.uint8)
    call = lambda: cv2.imdecode(array, cv2.IMREAD_COLOR_RGB)  # noqa: E731
call()
serve(lambda: milliseconds(call, CALLS))
