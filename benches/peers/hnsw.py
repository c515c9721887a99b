"""Approximate search on one thread by hnswlib, faiss or usearch, at the least `ef` that finds 0.99 of the ten nearest.

The index is made once (16 neighbours, 128 candidates, as ours) and kept beside the vectors.
"""

import argparse
import pathlib
import sys

import numpy
from common import milliseconds, serve

DIMENSION, TOP, RECALL = 384, 10, 0.99
NEIGHBOURS, CANDIDATES = 16, 128

parser = argparse.ArgumentParser()
parser.add_argument("--vectors", required=True)
parser.add_argument("--probes", required=True)
parser.add_argument("--library", required=True)
arguments = parser.parse_args()
library = arguments.library
vectors = numpy.fromfile(arguments.vectors, dtype=numpy.float32).reshape(-1, DIMENSION)
probes = numpy.fromfile(arguments.probes, dtype=numpy.float32).reshape(-1, DIMENSION)
kept = pathlib.Path(f"{arguments.vectors}.{library}")


def hnswlib_search():
    """hnswlib in f32; its own call for many probes."""
    import hnswlib

    index = hnswlib.Index("ip", DIMENSION)
    if kept.exists():
        index.load_index(str(kept))
    else:
        index.init_index(len(vectors), M=NEIGHBOURS, ef_construction=CANDIDATES)
        index.add_items(vectors)
        index.save_index(str(kept))

    def search(ef):
        index.set_ef(ef)
        return index.knn_query(probes, TOP, num_threads=1)[0]

    return search


def faiss_search():
    """faiss' HNSW in f32."""
    import faiss

    if kept.exists():
        index = faiss.read_index(str(kept))
    else:
        index = faiss.IndexHNSWFlat(DIMENSION, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CANDIDATES
        index.add(vectors)
        faiss.write_index(index, str(kept))
    faiss.omp_set_num_threads(1)

    def search(ef):
        index.hnsw.efSearch = ef
        return index.search(probes, TOP)[1]

    return search


def usearch_search(kind):
    """usearch in 16 bits (its 8 bits find 0.87 at most)."""
    from usearch.index import Index

    index = Index(
        ndim=DIMENSION, metric="ip", dtype=kind, connectivity=NEIGHBOURS, expansion_add=CANDIDATES
    )
    if kept.exists():
        index.load(str(kept))
    else:
        index.add(numpy.arange(len(vectors)), vectors)
        index.save(str(kept))

    def search(ef):
        index.expansion_search = ef
        return index.search(probes, TOP, threads=1).keys

    return search


def truth():
    """The ten nearest of each probe."""
    import faiss

    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(vectors)
    return flat.search(probes, TOP)[1]


if library == "hnswlib":
    search = hnswlib_search()
elif library == "faiss":
    search = faiss_search()
else:
    search = usearch_search(library.removeprefix("usearch-"))
nearest = truth()


def recall(ef):
    """The share of the nearest that is found."""
    pairs = zip(search(ef), nearest, strict=True)
    return numpy.mean([len(numpy.intersect1d(found, exact)) / TOP for found, exact in pairs])


for ef in [*range(TOP, 64, 2), *range(64, 1000, 16)]:
    if recall(ef) >= RECALL:
        break
else:
    sys.exit(f"{library} does not reach {RECALL}")
print(f"{library}: ef {ef} finds {recall(ef):.4f}", file=sys.stderr)
del vectors
serve(lambda: len(probes) / milliseconds(lambda: search(ef), 1) * 1000)
