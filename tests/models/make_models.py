"""Makes small models to load and to refuse: one of each kind that is exported in practice, and some with a single fault.

    python3 tests/models/make_models.py --out DIR --columns-id HEX

Each gets a folder NAME/1 with `model.onnx`, `manifest.json` and `golden.json`. They are trained on made-up numbers, seeded, so
their bytes are the same each time. The last line of stdout is a JSON object: `models` has `name`, `path`, `bytes`, and
`refused`, the step of loading at which the model must be refused, or null.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "fraud"))
import packages

packages.enter("models", Path(__file__).resolve().parent / "requirements.txt")

import numpy as np
import onnx
import onnxmltools
import onnxruntime
from lightgbm import LGBMClassifier
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloatTensorType
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

# Columns of the fraud example's service, and what stands for a missing one.
INPUTS = {
    "amount": 0,
    "customer_spend.nb_tx_1d": 0,
    "customer_spend.avg_amount_7d": 0,
    "terminal_risk.risk_7d": 0,
    "amount_ratio": 1,
}
WIDTH = len(INPUTS)
ROWS, SEED, TOLERANCE = 2_000, 1, 1e-5
OPSETS = {"": 18, "ai.onnx.ml": 3}
# Opset and format of what is put together by hand.
OPSET, IR_VERSION = 18, 8
TENSOR, ZIPMAP = {"output": "probabilities", "column": 1}, {"output": "output_probability", "key": 1}
NAN = "nan"


def main():
    arguments = parse()
    warnings.filterwarnings("ignore")
    maker = Maker(arguments, *world())
    maker.trained()
    maker.broken()
    print(json.dumps({"models": maker.made}))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the models' folders go; old ones are replaced")
    parser.add_argument("--service", default="fraud", help="the service that the manifests name (default: fraud)")
    parser.add_argument("--columns-id", default="0123456789abcdef", metavar="HEX", help="its columns_id (default: 0123456789abcdef)")
    return parser.parse_args()


def world():
    """Made-up inputs, one in twelve missing, and labels that depend on them."""
    chance = np.random.default_rng(SEED)
    amount, average = chance.lognormal(3.5, 0.8, ROWS), chance.lognormal(3.5, 0.5, ROWS)
    risk = np.where(chance.random(ROWS) < 0.1, chance.random(ROWS), 0.0)
    given = np.column_stack([amount, chance.poisson(2.5, ROWS), average, risk, amount / average]).astype(np.float32)
    likely = 1 / (1 + np.exp(4 - 5 * risk - 0.8 * given[:, 4] - 0.1 * given[:, 1]))
    label = (chance.random(ROWS) < likely).astype(np.int64)
    given[chance.random(given.shape) < 1 / 12] = np.nan
    return given, label


def as_model_sees(given, missing=None):
    if missing == NAN:
        return given
    return np.where(np.isnan(given), np.array(list(INPUTS.values()), dtype=np.float32), given)


class Maker:
    """Writes models, and remembers which."""

    def __init__(self, arguments, given, label):
        self.out, self.service, self.columns_id = arguments.out, arguments.service, arguments.columns_id
        self.given, self.label, self.made = given, label, []

    def trained(self):
        """What loads: each kind of model with plain tensors out, those of scikit-learn with a ZipMap as well."""
        inputs = as_model_sees(self.given)
        for name, model in {
            "random_forest": RandomForestClassifier(8, max_depth=4, random_state=SEED),
            "extra_trees": ExtraTreesClassifier(8, max_depth=4, random_state=SEED),
            "gradient_boosting": GradientBoostingClassifier(n_estimators=12, max_depth=3, random_state=SEED),
            "logistic_regression": LogisticRegression(max_iter=1_000, random_state=SEED),
            "scaler_pipeline": make_pipeline(StandardScaler(), LogisticRegression(random_state=SEED)),
        }.items():
            model.fit(inputs, self.label)
            self.loads(name, model, of_sklearn(name, model, zipmap=False), TENSOR)
            self.loads(f"{name}_zipmap", model, of_sklearn(name, model, zipmap=True), ZIPMAP)
        mlp = make_pipeline(StandardScaler(), MLPClassifier((8, 4), max_iter=300, random_state=SEED)).fit(inputs, self.label)
        self.loads("mlp", mlp, of_sklearn("mlp", mlp, zipmap=False), TENSOR)

        for suffix, missing in [("", None), ("_nan", NAN)]:
            inputs = as_model_sees(self.given, missing)
            xgboost = XGBClassifier(n_estimators=12, max_depth=3, n_jobs=1, random_state=SEED).fit(inputs, self.label)
            exported = onnxmltools.convert_xgboost(xgboost, name="xgboost", initial_types=tools_input(), target_opset=15)
            self.loads(f"xgboost{suffix}", xgboost, exported, TENSOR, missing)
            settings = {"n_jobs": 1, "deterministic": True, "force_row_wise": True, "random_state": SEED, "verbose": -1}
            lightgbm = LGBMClassifier(n_estimators=12, num_leaves=8, **settings).fit(inputs, self.label)
            exported = onnxmltools.convert_lightgbm(
                lightgbm, name="lightgbm", initial_types=tools_input(), target_opset=15, zipmap=False
            )
            self.loads(f"lightgbm{suffix}", lightgbm, exported, TENSOR, missing)

    def broken(self):
        """What is refused: the same sound model each time, with one fault."""
        sound = put_together()
        whole = sound.SerializeToString(deterministic=True)
        self.write("hand_made", None, whole, self.manifest(whole, TENSOR), self.golden(whole, TENSOR))
        golden = self.golden(whole, TENSOR)

        def fault(name, refused, model=sound, version="1", score=TENSOR, rows=golden, **changed):
            model = model if isinstance(model, bytes) else model.SerializeToString(deterministic=True)
            return self.write(name, refused, model, {**self.manifest(model, score), **changed}, rows, version)

        fault("leading_zero", "path", version="01")
        fault("unknown_key", "manifest", threshold=0.5)
        fault("truncated", "file", model=whole[: len(whole) // 2])
        fault("custom_domain", "file", model=put_together(steps=["Same"], domain="com.example"))
        inside, weights = outside(sound)
        folder = fault("external_data", "file", model=inside)
        (folder / "weights.bin").write_bytes(weights)
        fault("unknown_operator", "session", model=put_together(steps=["NoSuchOperator"]))
        fault("wrong_width", "inputs", model=put_together(width=WIDTH - 1))
        fault("wrong_type", "inputs", model=put_together(kind=TensorProto.INT64))
        swapped = [*reversed(self.manifest(whole, TENSOR)["inputs"]["features"])]
        fault("wrong_order", "inputs", inputs={"tensor": "X", "features": swapped})
        fault("other_columns", "features", columns_id=f"{~int(self.columns_id, 16) & (1 << 64) - 1:016x}")
        fault("no_such_output", "outputs", score={"output": "probability", "column": 1})
        fault("no_such_column", "outputs", score={"output": "probabilities", "column": 2})
        fault("nan_output", "golden", model=put_together(steps=["Exp", "Neg", "Log"]))
        fault("golden_mismatch", "golden", rows=[{**row, "score": 1 - row["score"]} for row in golden])

    def loads(self, name, model, exported, score, missing=None):
        sort_opsets(exported)
        whole = exported.SerializeToString(deterministic=True)
        inputs = as_model_sees(self.given, missing)
        difference = np.abs(scores(whole, inputs, score) - model.predict_proba(inputs)[:, 1]).max()
        if not difference <= TOLERANCE:
            sys.exit(f"make_models: exported and trained differ. model={name} difference={difference}")
        self.write(name, None, whole, self.manifest(whole, score, missing), self.golden(whole, score, missing))

    def manifest(self, model, score, missing=None):
        policy = lambda default: missing or {"default": default}
        return {
            "format": 1,
            "service": self.service,
            "columns_id": self.columns_id,
            "inputs": {"tensor": "X", "features": [{"column": c, "missing": policy(default)} for c, default in INPUTS.items()]},
            "score": score,
            "golden": "golden.json",
            "sha256": hashlib.sha256(model).hexdigest(),
        }

    def golden(self, model, score, missing=None):
        """Some that are whole, all of nothing, far out, each input missing in turn, every one missing."""
        usual = np.nanmedian(self.given, axis=0)
        far = [np.zeros(WIDTH), usual, np.nanmax(self.given, axis=0), np.full(WIDTH, 1e6), np.full(WIDTH, -1e3)]
        gone = [np.where(np.arange(WIDTH) == at, np.nan, usual) for at in range(WIDTH)]
        whole = self.given[~np.isnan(self.given).any(axis=1)][:16]
        rows = np.vstack([whole, *far, *gone, np.full(WIDTH, np.nan)]).astype(np.float32)
        expected = [scores(model, as_model_sees(row[None], missing), score)[0] for row in rows]
        number = lambda value: None if np.isnan(value) else float(value)
        return [{"inputs": [number(value) for value in row], "score": float(wanted)} for row, wanted in zip(rows, expected)]

    def write(self, name, refused, model, manifest, golden, version="1"):
        shutil.rmtree(self.out / name, ignore_errors=True)
        folder = self.out / name / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        rows = ",\n".join(json.dumps(row) for row in golden)
        (folder / "golden.json").write_text(f'{{"tolerance": {TOLERANCE}, "rows": [\n{rows}\n]}}\n')
        self.made.append({"name": name, "path": f"{name}/{version}", "bytes": len(model), "refused": refused})
        return folder


def of_sklearn(name, model, zipmap):
    tensor = [("X", FloatTensorType([None, WIDTH]))]
    return convert_sklearn(model, name=name, initial_types=tensor, options={id(model): {"zipmap": zipmap}}, target_opset=OPSETS)


def tools_input():
    return [("X", ToolsFloatTensorType([None, WIDTH]))]


def sort_opsets(model):
    """They come out of a set, in any order."""
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(opsets)


def scores(model, inputs, score):
    settings = onnxruntime.SessionOptions()
    # Of models with a label of one row it warns about every batch.
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    output = session.run([score["output"]], {"X": inputs})[0]
    return np.array([row[score["key"]] for row in output], dtype=np.float32) if "key" in score else output[:, score["column"]]


def put_together(width=WIDTH, kind=TensorProto.FLOAT, steps=("Sigmoid",), domain=""):
    """Logistic regression by hand: a sum of weighted inputs, what makes it a score, and the two classes beside each other."""
    weights = np.array([[0.01], [0.1], [-0.01], [5.0], [0.5]], dtype=np.float32)[:width]
    constants = {"weights": weights, "bias": np.array([-3.0], dtype=np.float32), "one": np.array([1.0], dtype=np.float32)}
    between = ["sum", *(f"after_{step}" for step in steps[:-1]), "fraud"]
    nodes = [
        helper.make_node("Cast", ["X"], ["inputs"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["inputs", "weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "bias"], ["sum"]),
        *(helper.make_node(step, [of], [gives], domain=domain) for step, of, gives in zip(steps, between, between[1:])),
        helper.make_node("Sub", ["one", "fraud"], ["genuine"]),
        helper.make_node("Concat", ["genuine", "fraud"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "hand_made",
        [helper.make_tensor_value_info("X", kind, [None, width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets, producer_name="make_models")
    # Libraries write down no columns; who exports with care does.
    helper.set_model_props(model, {"floodmark.columns": json.dumps(list(INPUTS)[:width])})
    return model


def outside(model):
    """The model without its weights, and the weights as a file beside it, `weights.bin`."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save_model(model, f"{folder}/model.onnx")
        return Path(folder, "model.onnx").read_bytes(), Path(folder, "weights.bin").read_bytes()


if __name__ == "__main__":
    main()
