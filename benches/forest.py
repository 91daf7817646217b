"""A repository of one model, `forest`, around an ONNX file of 15 inputs: for floodmark beside other servers of the same file.

    python benches/forest.py FOREST.onnx COLUMNS_ID OUT_DIR
    python benches/forest.py 1000 COLUMNS_ID OUT_DIR    # makes one of so many trees of depth 8, with scikit-learn and skl2onnx

The model reads the service `fraud_live` of examples/fraud/floodmark.yaml, which has 15 columns; COLUMNS_ID is the columnsId of that service
(`floodmark up --http ADDR`, then GET /v1/services/fraud_live). Needs numpy and onnxruntime.
"""
import hashlib
import json
import pathlib
import sys

import numpy
import onnxruntime

WINDOWS = ("1d", "7d", "30d")
COLUMNS = (
    [f"customer_spend.{feature}_{window}" for feature in ("nb_tx", "avg_amount") for window in WINDOWS]
    + [f"customer_burst.nb_tx_{window}" for window in ("session_30m", "sliding_1h_5m", "tumbling_1d")]
    + [f"terminal_risk.{feature}_{window}" for feature in ("nb_tx", "risk") for window in WINDOWS]
)


def made(trees):
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    chance = numpy.random.default_rng(1)
    rows = chance.uniform(0, 300, (20_000, len(COLUMNS))).astype(numpy.float32)
    fraud = rows[:, 0] * rows[:, 3] + chance.uniform(0, 30_000, len(rows)) > 60_000
    forest = RandomForestClassifier(trees, max_depth=8, n_jobs=-1, random_state=1).fit(rows, fraud)
    onnx = to_onnx(forest, initial_types=[("features", FloatTensorType([None, len(COLUMNS)]))], options={id(forest): {"zipmap": False}})
    return onnx.SerializeToString()


def main(onnx, columns_id, out):
    folder = pathlib.Path(out) / "forest" / "1"
    folder.mkdir(parents=True)
    model = made(int(onnx)) if onnx.isdigit() else pathlib.Path(onnx).read_bytes()
    session = onnxruntime.InferenceSession(model)
    rows = numpy.random.default_rng(1).uniform(0, 300, (15, len(COLUMNS))).astype(numpy.float32)
    rows = numpy.vstack([rows, numpy.zeros((1, len(COLUMNS)), numpy.float32)])
    scores = session.run(["probabilities"], {"features": rows})[0][:, 1]
    listed = [[float(value) for value in row] for row in rows]
    listed[-1] = [None] * len(COLUMNS)  # a row in which all is missing, which is a row of zeros
    golden = {"tolerance": 1e-5, "rows": [{"inputs": row, "score": float(score)} for row, score in zip(listed, scores)]}
    manifest = {
        "format": 1,
        "service": "fraud_live",
        "columns_id": f"{int(columns_id):016x}",
        "inputs": {"tensor": "features", "features": [{"column": column, "missing": {"default": 0}} for column in COLUMNS]},
        "score": {"output": "probabilities", "column": 1},
        "golden": "golden.json",
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    (folder / "golden.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main(*sys.argv[1:])
