"""scikit-learn's logistic regression on made-up features, solved to the end: `probe.json`.

    python tests/golden/probe.py
"""

import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import weights

FEATURES = 12
found = []
for classes, pictures, c, scaled in [(3, 60, 1.0, False), (2, 40, 1.0, False), (2, 40, 100.0, True), (5, 100, 0.1, True)]:
    name = f"features {classes} {pictures} {scaled}"
    x = weights.uniform(name, pictures * FEATURES).reshape(pictures, FEATURES)
    y = np.arange(pictures) % classes
    # Classes overlap: noise about a centre each. Features have scales of their own.
    x = (x * 1.5 + weights.uniform("centres", classes * FEATURES).reshape(classes, FEATURES)[y]) * (1 + np.arange(FEATURES))
    model = LogisticRegression(C=c, tol=1e-12, max_iter=100000)
    whole = make_pipeline(StandardScaler(), model) if scaled else model
    whole.fit(x, y)
    probabilities = whole.predict_proba(x)
    found.append(
        {
            "classes": classes,
            "pictures": pictures,
            "c": c,
            "scaled": scaled,
            "probabilities": probabilities[:12].tolist(),
        }
    )
Path(__file__).with_name("probe.json").write_text(json.dumps(found) + "\n")
