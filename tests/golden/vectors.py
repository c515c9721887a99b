"""Pickled dicts of name to vectors in every protocol and form: vectors.{2,3,4,5}.pkl.

    python tests/golden/vectors.py
"""

import pathlib
import pickle

import numpy as np

rows = [[0.5, -1.25, 3.0], [1.0, 2.0, -4.0]]
named = {
    "matrix": np.array(rows, dtype=np.float32),
    "list of arrays": [np.array(row, dtype=np.float32) for row in rows],
    "one array": np.array(rows[0], dtype=np.float32),
    "double": np.array(rows, dtype=np.float64),
    "half": np.array(rows[0], dtype=np.float16),
    "lists": rows,
    "flat list": rows[0],
    "scalars": [np.float32(value) for value in rows[0]],
    "Müsli": [],
}
for protocol in range(2, 6):
    path = pathlib.Path(__file__).with_name(f"vectors.{protocol}.pkl")
    path.write_bytes(pickle.dumps(named, protocol=protocol))
