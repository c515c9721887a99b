"""Exact search by faiss on one thread: one probe at a time, or all together."""

import argparse

import faiss
import numpy
from common import milliseconds, serve

ALONE = 50
DIMENSION = 384

parser = argparse.ArgumentParser()
parser.add_argument("--vectors", required=True)
parser.add_argument("--probes", required=True)
parser.add_argument("--together", action="store_true")
arguments = parser.parse_args()
faiss.omp_set_num_threads(1)
index = faiss.IndexFlatIP(DIMENSION)
index.add(numpy.fromfile(arguments.vectors, dtype=numpy.float32).reshape(-1, DIMENSION))
probes = numpy.fromfile(arguments.probes, dtype=numpy.float32).reshape(-1, DIMENSION)


def alone():
    """Each probe by itself."""
    for n in range(ALONE):
        index.search(probes[n : n + 1], 10)


def together():
    """All in one call."""
    index.search(probes, 10)


if arguments.together:
    together()
    serve(lambda: len(probes) / milliseconds(together, 1) * 1000)
else:
    alone()
    serve(lambda: milliseconds(alone, 1) / ALONE)
