"""What the tests of stock clients share: arguments, random rows, what Python's ONNX Runtime makes of them."""

import argparse
import json
import pathlib
import random

import numpy as np
import onnxruntime

TOLERANCE = 1e-6


def arguments():
    parser = argparse.ArgumentParser(description="Asks a running server through a stock client.")
    parser.add_argument("--grpc", required=True, help="HOST:PORT")
    parser.add_argument("--http", help="HOST:PORT, if the server answers REST")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the folder of the version that serves")
    parser.add_argument("--asked", type=json.loads, required=True, help="keys, fields and the scores that floodmark.v1 gave for them")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    return given


class Model:
    """The version's file, run by Python's ONNX Runtime."""

    def __init__(self, folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        self.tensor = manifest["inputs"]["tensor"]
        self.features = manifest["inputs"]["features"]
        self.output, self.column = manifest["score"]["output"], manifest["score"]["column"]
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])

    def rows(self, count, seed, missing=0.0):
        """Random rows; a share of the values that may be missing is NaN."""
        chance = np.random.default_rng(seed)
        width = len(self.features)
        rows = np.exp(chance.normal(2, 2, (count, width))).astype(np.float32)
        rows[chance.random((count, width)) < 0.2] = 0
        may_be_missing = np.array([feature["missing"] != "reject" for feature in self.features])
        rows[(chance.random((count, width)) < missing) & may_be_missing] = np.nan
        return rows

    def scores(self, rows):
        """With the manifest's defaults where a value is missing."""
        for at, feature in enumerate(self.features):
            if isinstance(feature["missing"], dict):
                rows = rows.copy()
                rows[np.isnan(rows[:, at]), at] = feature["missing"]["default"]
        return self.session.run([self.output], {self.tensor: rows})[0][:, self.column]


def near(found, expected, what):
    """All scores are there, and near enough."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape} is not {expected.shape}"
    worst = float(np.max(np.abs(found - expected), initial=0.0))
    assert worst <= TOLERANCE, f"{what}: off by {worst}"
    print(f"ok: {what}, {len(found)} scores, off by {worst:.1e} at most")


def same(found, expected, what):
    assert found == expected, f"{what}: {found!r} is not {expected!r}"
    print(f"ok: {what}")


def refused(call, error, words, what):
    """The call fails, with all of these words in its message."""
    try:
        call()
    except error as refusal:
        text = str(refusal)
        lacking = [word for word in words if word not in text]
        assert not lacking, f"{what}: no {lacking} in {text!r}"
        print(f"ok: {what}: {text}")
        return
    raise AssertionError(f"{what}: was not refused")
