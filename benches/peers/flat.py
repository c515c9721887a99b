"""Exact search by faiss, one probe at a time, on one thread."""

import argparse

import faiss
import numpy
from common import milliseconds, serve

CALLS = 20
DIMENSION = 384

parser = argparse.ArgumentParser()
parser.add_argument("--vectors", required=True)
arguments = parser.parse_args()
faiss.omp_set_num_threads(1)
vectors = numpy.fromfile(arguments.vectors, dtype=numpy.float32).reshape(-1, DIMENSION)
index = faiss.IndexFlatIP(DIMENSION)
index.add(vectors)
probes = [vectors[n * 37 : n * 37 + 1] for n in range(CALLS)]


def search():
    """One round: each probe alone."""
    for probe in probes:
        index.search(probe, 10)


search()
serve(lambda: milliseconds(search, 1) / CALLS)
